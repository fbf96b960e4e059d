/* What callers may ask for, checked before anything happens. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "cleat.h"
#include "http/json.h"
#include "session/config.h"
#include "session/input.h"
#include "session/job_request.h"
#include "session/request.h"

#define MAX_NAME 128
#define MAX_INPUT 2048
#define MAX_ENV 256
#define MAX_ENV_BYTES 65536
#define MAX_CODE (4 * 1024 * 1024)
#define MAX_ARGV 1024
#define JOB_MARGIN_S 60 /* from READY to its command, and from its end to its record */
#define MAX_OUTPUT                                                                             \
    (8 * 1024 * 1024) /* of a stream; a record is read in one turn of the loop                 \
                       */

/* What a client sends when it has lost the real value. */
static const char *const placeholders[] = {
    "null", "nil",    "none",    "nan", "undefined", "placeholder", "n/a",  "unknown", "todo",
    "tbd",  "string", "example", "xxx", "id",        "uuid",        "user", "tenant",  NULL};

static void check_name(const char *key, const char *value, struct error *e)
{
    if (!value || e->code != ERR_NONE)
        return;
    size_t len = strlen(value);
    if (len == 0 || len > MAX_NAME) {
        error_set(e, ERR_INVALID, "%s: 1 to %d characters are allowed", key, MAX_NAME);
        return;
    }
    for (const char *p = value; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._:@+=-", *p)) {
            error_set(e, ERR_INVALID, "%s: only letters, digits and . _ : @ + = - are allowed",
                      key);
            return;
        }
    if (strstr(value, "..")) {
        error_set(e, ERR_INVALID, "%s: \"..\" is not allowed", key);
        return;
    }
}

static void check_placeholder(const char *key, const char *value, struct error *e)
{
    if (!value || e->code != ERR_NONE)
        return;
    for (size_t i = 0; placeholders[i]; i++)
        if (strcasecmp(value, placeholders[i]) == 0)
            error_set(e, ERR_INVALID, "%s: \"%s\" is a placeholder, not a name", key, value);
}

bool cleat_tenant_valid(const char *name, char *why, size_t size)
{
    struct error e = {0};
    check_name("tenant", name, &e);
    check_placeholder("tenant", name, &e);
    if (e.code != ERR_NONE)
        mem_copy_string(why, size, e.message);
    return e.code == ERR_NONE;
}

static void check_env(json_t *env, struct error *e)
{
    const char *key;
    json_t *value;
    size_t bytes = 0;
    if (!env || e->code != ERR_NONE)
        return;
    if (json_object_size(env) > MAX_ENV) {
        error_set(e, ERR_INVALID, "env: at most %d variables are allowed", MAX_ENV);
        return;
    }
    json_object_foreach (env, key, value) {
        size_t len = strlen(key);
        bool plain = len > 0 && len <= MAX_NAME && !isdigit((unsigned char)key[0]);
        for (const char *p = key; *p; p++)
            plain = plain && (isalnum((unsigned char)*p) || *p == '_');
        if (!plain) {
            error_set(e, ERR_INVALID,
                      "env: a name has letters, digits and '_' and no digit in front");
            return;
        }
        if (strncmp(key, "CLEAT_", 6) == 0 || strcmp(key, "SESSION_ID") == 0) {
            error_set(e, ERR_INVALID, "env: %s is reserved", key);
            return;
        }
        if (!json_is_string(value)) {
            error_set(e, ERR_INVALID, "env: %s is not a string", key);
            return;
        }
        bytes += len + json_string_length(value);
    }
    if (bytes > MAX_ENV_BYTES)
        error_set(e, ERR_TOO_LARGE, "env: over %d bytes", MAX_ENV_BYTES);
}

void request_take_option(const json_t *o, const char *key, int64_t *out, struct error *e)
{
    const struct option *option = option_find(class_options, key);
    js_int(o, key, false, option->min, option->max, out, e);
}

/* The same for requests that mean the same. */
static char *canonical(const struct create_request *r)
{
    json_t *copy = json_copy(r->json);
    json_object_del(copy, "request_id");
    json_object_del(copy, "no_queue");
    if (!r->env || json_object_size(r->env) == 0)
        json_object_del(copy, "env");
    if (json_object_size(json_object_get(copy, "resources")) == 0)
        json_object_del(copy, "resources");
    json_object_set_new(copy, "class", json_string(r->class_name));
    json_object_set_new(copy, "tenant", json_string(r->tenant));
    char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    return text;
}

char *request_without_env(const char *parameters)
{
    json_t *o = js_parse_object(parameters, strlen(parameters), NULL);
    json_object_del(o, "env");
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    return text;
}

/* What does not fit is the caller's to judge: a row of the journal was asked for when it did.
 */
static const struct class *find_class(const struct cleat_config *config,
                                      struct create_request *r, struct error *e)
{
    const struct class *class = NULL;
    r->any_class = !r->class_name && r->resources.given;
    if (r->any_class)
        class = choice_pick(config, &r->resources, &r->misfit);
    else if (r->class_name && !(class = config_class(config, r->class_name)))
        error_set(e, ERR_INVALID, "class: there is no class \"%s\"", r->class_name);
    else if (class)
        choice_fits(class, &r->resources, &r->misfit);
    return class || e->code != ERR_NONE ? class : config_class(config, "default");
}

static void take_class(const struct cleat_config *config, struct create_request *r,
                       struct error *e)
{
    const struct class *class = find_class(config, r, e);
    if (!class)
        return;
    r->class_name = class->name;
    r->create_timeout_s = class->create_timeout_s;
    r->idle_timeout_s = class->idle_timeout_s;
    r->max_lifetime_s = class->max_lifetime_s;
    r->exec_timeout_s = class->exec_timeout_s;
    if (class->proof == PROOF_NONE && r->env && json_object_size(r->env) > 0)
        error_set(r->misfit.code == ERR_NONE ? e : &r->misfit, ERR_INVALID,
                  "env: containers of class %s take no environment", class->name);
}

static void take_names(const json_t *o, struct create_request *r, struct error *e)
{
    const struct {
        const char *key;
        const char **out;
    } names[] = {{"request_id", &r->request_id}, {"tenant", &r->tenant}, {"user", &r->user},
                 {"thread", &r->thread},         {"run", &r->run},       {"parent", &r->parent},
                 {"class", &r->class_name}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        js_string(o, names[i].key, false, 1024, names[i].out, e);
        check_name(names[i].key, *names[i].out, e);
        if (names[i].out != &r->class_name)
            check_placeholder(names[i].key, *names[i].out, e);
    }
}

/* The time that a job asks for is its own, also where its class gives sessions less. */
static void outlive_job(struct create_request *r)
{
    int64_t timeout_s = json_integer_value(json_object_get(r->job, "timeout_s"));
    if (timeout_s > 0 && r->max_lifetime_s < timeout_s + JOB_MARGIN_S)
        r->max_lifetime_s = timeout_s + JOB_MARGIN_S;
}

bool create_request_parse(const struct cleat_config *config, const char *tenant,
                          const char *text, size_t len, struct create_request *r,
                          struct error *e)
{
    static const char *const keys[] = {"request_id",
                                       "tenant",
                                       "user",
                                       "thread",
                                       "run",
                                       "parent",
                                       "class",
                                       "env",
                                       "create_timeout_s",
                                       "idle_timeout_s",
                                       "max_lifetime_s",
                                       "exec_timeout_s",
                                       "input",
                                       "resources",
                                       "job",
                                       "no_queue",
                                       NULL};
    *r = (struct create_request){.tenant = tenant ? tenant : "default"};
    *e = (struct error){0};
    json_t *o = r->json = js_parse_object(text, len, e);
    if (!o)
        return false;
    js_only(o, keys, e);
    take_names(o, r, e);
    r->any_tenant = !tenant && r->parent && !json_object_get(o, "tenant");
    if (e->code == ERR_NONE && tenant && strcmp(tenant, r->tenant) != 0)
        error_set(e, ERR_FORBIDDEN, "tenant: a session of another tenant cannot be made");
    js_object(o, "env", false, &r->env, e);
    check_env(r->env, e);
    js_object(o, "job", false, &r->job, e);
    job_spec_check(r->job, e);
    js_string(o, "input", false, MAX_INPUT, &r->input, e);
    js_bool(o, "no_queue", false, &r->no_queue, e);
    if (r->input && e->code == ERR_NONE)
        input_check(r->input, e);
    resources_read(o, &r->resources, e);
    if (e->code == ERR_NONE)
        take_class(config, r, e);
    request_take_option(o, "create_timeout_s", &r->create_timeout_s, e);
    request_take_option(o, "idle_timeout_s", &r->idle_timeout_s, e);
    request_take_option(o, "max_lifetime_s", &r->max_lifetime_s, e);
    request_take_option(o, "exec_timeout_s", &r->exec_timeout_s, e);
    if (r->job && !json_object_get(o, "max_lifetime_s"))
        outlive_job(r);
    if (e->code != ERR_NONE) {
        create_request_release(r);
        return false;
    }
    r->parameters = canonical(r);
    return true;
}

void create_request_set(struct create_request *r, const char *key, const char *value)
{
    json_object_set_new(r->json, key, json_string(value));
    const char *kept = json_string_value(json_object_get(r->json, key));
    struct {
        const char *key, **field;
    } names[] = {{"tenant", &r->tenant},
                 {"user", &r->user},
                 {"thread", &r->thread},
                 {"run", &r->run},
                 {"class", &r->class_name}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].key, key) == 0)
            *names[i].field = kept;
    free(r->parameters);
    r->parameters = canonical(r);
}

void create_request_release(struct create_request *r)
{
    json_decref(r->json);
    json_decref(r->command);
    free(r->parameters);
    *r = (struct create_request){0};
}

static void check_argv(const json_t *argv, struct error *e)
{
    size_t i;
    json_t *word;
    if (!argv || e->code != ERR_NONE)
        return;
    if (json_array_size(argv) == 0)
        error_set(e, ERR_INVALID, "argv: at least one word is needed");
    json_array_foreach (argv, i, word)
        if (!json_is_string(word))
            error_set(e, ERR_INVALID, "argv: word %zu is not a string", i);
        else if (i == 0 && json_string_length(word) == 0)
            error_set(e, ERR_INVALID, "argv: the first word is empty");
}

void execute_check_command(const json_t *o, struct error *e)
{
    const char *code = NULL;
    json_t *argv = NULL;
    js_string(o, "code", false, MAX_CODE, &code, e);
    js_array(o, "argv", false, MAX_ARGV, &argv, e);
    check_argv(argv, e);
    if (e->code == ERR_NONE && (code != NULL) == (argv != NULL))
        error_set(e, ERR_INVALID, "either code or argv is needed");
}

/* The body for the container, without the fields that the coordinator adds. New reference. */
json_t *execute_request_parse(const struct session *s, const char *text, size_t len,
                              int64_t *timeout_s, int64_t *output_limit, struct error *e)
{
    static const char *const keys[] = {"code",      "argv",         "execution_id",
                                       "timeout_s", "output_limit", NULL};
    const char *id = NULL;
    *e = (struct error){0};
    json_t *o = js_parse_object(text, len, e);
    if (!o)
        return NULL;
    *timeout_s = s->exec_timeout_s;
    *output_limit = s->group->class->output_limit_kb * 1024;
    js_only(o, keys, e);
    execute_check_command(o, e);
    js_string(o, "execution_id", false, 64, &id, e);
    check_name("execution_id", id, e);
    check_placeholder("execution_id", id, e);
    js_int(o, "timeout_s", false, 1, 86400, timeout_s, e);
    js_int(o, "output_limit", false, 1, MAX_OUTPUT, output_limit, e);
    if (e->code == ERR_NONE && json_object_get(o, "argv") &&
        s->group->class->proof == PROOF_NONE)
        error_set(e, ERR_INVALID, "argv: containers of class %s run code only",
                  s->group->class->name);
    if (e->code != ERR_NONE) {
        json_decref(o);
        return NULL;
    }
    return o;
}
