#include "session/label.h"

#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "base/mem.h"
#include "http/json.h"

#define VERSION '1'
#define MAC_SIZE 32 /* hex digits: 128 bits */
#define MAX_TEXT 1024

static void make_mac(char mac[MAC_SIZE + 1], const struct cleat *core, const char *session,
                     const char *text)
{
    char whole[PROOF_HEX_SIZE];
    proof_label(whole, core->master, session, text);
    mem_copy_string(mac, MAC_SIZE + 1, whole);
}

/* What is said elsewhere in the label, or never: see label_read. */
static json_t *parameters_of(const struct session *s)
{
    json_t *o = js_parse_object(s->parameters, strlen(s->parameters), NULL);
    json_object_del(o, "env");
    json_object_del(o, "tenant");
    json_object_del(o, "class");
    return o;
}

static char *wrap(const struct session *s, const json_t *o)
{
    char mac[MAC_SIZE + 1];
    char *json = js_text(o), *text = base64url_encode(json, strlen(json));
    make_mac(mac, s->core, s->id, text);
    char *label = mem_printf("%c%s%s", VERSION, mac, text);
    free(text);
    free(json);
    return label;
}

char *label_make(const struct session *s)
{
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:b}", "tenant", s->context.tenant, "request_id",
                  s->request_id, "class", s->class_name, "created", (json_int_t)s->created,
                  "env", s->env_lost || (s->env && json_object_size(s->env) > 0));
    json_object_set_new(o, "parameters", parameters_of(s));
    char *label = wrap(s, o);
    if (strlen(label) > LABEL_MAX) {
        free(label);
        json_object_del(o, "parameters");
        label = wrap(s, o);
    }
    json_decref(o);
    return label;
}

/* ---- reading ---- */

static bool check_form(const char *text, struct error *e)
{
    if (!text)
        error_set(e, ERR_INVALID, "it has no label");
    else if (strlen(text) > LABEL_MAX)
        error_set(e, ERR_INVALID, "its label is longer than %d characters", LABEL_MAX);
    else if (*text >= '0' && *text <= '9' && *text != VERSION)
        error_set(e, ERR_INVALID, "its label is of version %c, known is %c", *text, VERSION);
    else if (*text != VERSION || strlen(text) < 1 + MAC_SIZE)
        error_set(e, ERR_INVALID, "its label is damaged");
    else
        return true;
    return false;
}

static bool check_mac(const struct cleat *core, const char *session, const char *text,
                      struct error *e)
{
    char wanted[MAC_SIZE + 1], given[MAC_SIZE + 1];
    mem_copy_string(given, sizeof(given), text + 1);
    make_mac(wanted, core, session, text + 1 + MAC_SIZE);
    if (proof_equal(given, wanted))
        return true;
    error_set(e, ERR_FORBIDDEN,
              "its label was changed, or made with another master key or for another session");
    return false;
}

/* The same text as of the request that was made, but for its env (session/request.h). */
static char *canonical(json_t *parameters, const struct label *l)
{
    json_object_set_new(parameters, "tenant", json_string(l->tenant));
    json_object_set_new(parameters, "class", json_string(l->class_name));
    return json_dumps(parameters, JSON_COMPACT | JSON_SORT_KEYS);
}

static void read_fields(const json_t *o, struct label *l, struct error *e)
{
    static const char *const keys[] = {"tenant", "request_id", "class", "created",
                                       "env",    "parameters", NULL};
    const char *tenant = NULL, *request_id = NULL, *class_name = NULL;
    json_t *parameters = NULL;
    js_only(o, keys, e);
    js_string(o, "tenant", true, MAX_TEXT, &tenant, e);
    js_string(o, "request_id", true, MAX_TEXT, &request_id, e);
    js_string(o, "class", true, MAX_TEXT, &class_name, e);
    js_int(o, "created", true, 1, INT64_MAX, &l->created, e);
    js_bool(o, "env", true, &l->env, e);
    js_object(o, "parameters", false, &parameters, e);
    if (e->code != ERR_NONE)
        return;
    l->tenant = mem_strdup(tenant);
    l->request_id = mem_strdup(request_id);
    l->class_name = mem_strdup(class_name);
    if (parameters)
        l->parameters = canonical(parameters, l);
}

bool label_read(const struct cleat *core, const char *session, const char *text,
                struct label *l, struct error *e)
{
    char *json = NULL;
    size_t len = 0;
    *l = (struct label){0};
    *e = (struct error){0};
    if (!check_form(text, e) || !check_mac(core, session, text, e))
        return false;
    json_t *o = NULL;
    if (base64url_decode(text + 1 + MAC_SIZE, &json, &len))
        o = js_parse_object(json, len, e);
    if (o)
        read_fields(o, l, e);
    if (!o || e->code != ERR_NONE)
        error_set(e, ERR_INVALID, "its label makes no sense");
    json_decref(o);
    free(json);
    return e->code == ERR_NONE;
}

void label_release(struct label *l)
{
    free(l->tenant);
    free(l->request_id);
    free(l->class_name);
    free(l->parameters);
    *l = (struct label){0};
}
