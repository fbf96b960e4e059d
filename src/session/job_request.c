#include "session/job_request.h"

#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "http/json.h"
#include "http/proof.h"
#include "session/config.h"

#define MAX_NAME 128
#define MAX_INPUT (4 * 1024 * 1024)
#define MAX_TIMEOUT_S 86400

/* Free text, but of one line. */
static void check_name(const char *name, struct error *e)
{
    if (!name || e->code != ERR_NONE)
        return;
    if (!*name)
        error_set(e, ERR_INVALID, "name: it is empty");
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            error_set(e, ERR_INVALID, "name: control characters are not allowed");
}

/* Takes the input out of the request, as base64 into the command. */
static void take_input(json_t *o, json_t *command, struct error *e)
{
    const char *text = NULL, *encoded = NULL;
    char *bytes = NULL;
    size_t len = 0;
    js_string(o, "stdin", false, MAX_INPUT, &text, e);
    js_string(o, "stdin_base64", false, MAX_INPUT / 3 * 4 + 4, &encoded, e);
    if (e->code != ERR_NONE || (!text && !encoded))
        return;
    if (text && encoded)
        error_set(e, ERR_INVALID, "stdin and stdin_base64: only one of them is allowed");
    else if (encoded && !base64_decode(encoded, &bytes, &len))
        error_set(e, ERR_INVALID, "stdin_base64: it is not base64");
    else if (len > MAX_INPUT)
        error_set(e, ERR_TOO_LARGE, "stdin_base64: over %d bytes", MAX_INPUT);
    free(bytes);
    if (e->code != ERR_NONE)
        return;
    char *made = text ? base64_encode(text, strlen(text)) : NULL;
    json_object_set_new(command, "stdin_base64", json_string(made ? made : encoded));
    free(made);
}

/* Moves what is run from the request into a command; new reference. */
static json_t *take_command(json_t *o, struct error *e)
{
    static const char *const keys[] = {"code", "argv", "stdin", "stdin_base64"};
    json_t *command = json_object();
    execute_check_command(o, e);
    for (size_t i = 0; i < 2; i++)
        if (json_object_get(o, keys[i]))
            json_object_set(command, keys[i], json_object_get(o, keys[i]));
    take_input(o, command, e);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        json_object_del(o, keys[i]);
    return command;
}

/* Moves the rest of what makes a job into its spec. */
static void take_spec(json_t *o, const json_t *command, struct error *e)
{
    const char *name = NULL;
    int64_t timeout_s = 0;
    char digest[PROOF_HEX_SIZE];
    if (json_object_get(o, "job"))
        error_set(e, ERR_INVALID, "unknown field \"job\"");
    js_string(o, "name", false, MAX_NAME, &name, e);
    check_name(name, e);
    js_int(o, "timeout_s", false, 1, MAX_TIMEOUT_S, &timeout_s, e);
    if (e->code != ERR_NONE)
        return;
    char *text = json_dumps(command, JSON_COMPACT | JSON_SORT_KEYS);
    proof_digest(digest, text, strlen(text));
    free(text);
    json_t *spec = json_pack("{s:s}", "command", digest);
    if (name)
        json_object_set_new(spec, "name", json_string(name));
    if (timeout_s > 0)
        json_object_set_new(spec, "timeout_s", json_integer(timeout_s));
    json_object_del(o, "name");
    json_object_del(o, "timeout_s");
    json_object_set_new(o, "job", spec);
}

/* A container of the plain contract runs code, and that is all. */
static void check_plain(const struct cleat_config *config, const struct create_request *r,
                        struct error *e)
{
    const struct class *class = config_class(config, r->class_name);
    if (!class || class->proof != PROOF_NONE)
        return;
    if (json_object_get(r->command, "argv"))
        error_set(e, ERR_INVALID, "argv: containers of class %s run code only", class->name);
    else if (json_object_get(r->command, "stdin_base64"))
        error_set(e, ERR_INVALID, "stdin: containers of class %s take none", class->name);
}

bool job_request_parse(const struct cleat_config *config, const char *tenant, const char *text,
                       size_t len, struct create_request *r, struct error *e)
{
    *e = (struct error){0};
    *r = (struct create_request){0};
    json_t *o = js_parse_object(text, len, e), *command = NULL;
    if (o)
        command = take_command(o, e);
    if (o && e->code == ERR_NONE)
        take_spec(o, command, e);
    char *create = e->code == ERR_NONE ? js_text(o) : NULL;
    json_decref(o);
    bool good = create && create_request_parse(config, tenant, create, strlen(create), r, e);
    free(create);
    if (good)
        r->command = command;
    else
        json_decref(command);
    if (good)
        check_plain(config, r, e);
    if (good && e->code != ERR_NONE)
        create_request_release(r);
    return good && e->code == ERR_NONE;
}

void job_spec_check(const json_t *spec, struct error *e)
{
    static const char *const keys[] = {"command", "name", "timeout_s", NULL};
    const char *digest = NULL, *name = NULL;
    int64_t timeout_s;
    if (!spec || e->code != ERR_NONE)
        return;
    js_only(spec, keys, e);
    js_string(spec, "command", true, PROOF_HEX_SIZE, &digest, e);
    js_string(spec, "name", false, MAX_NAME, &name, e);
    js_int(spec, "timeout_s", false, 1, MAX_TIMEOUT_S, &timeout_s, e);
}
