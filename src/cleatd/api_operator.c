#include "cleatd/api_operator.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

void api_post_reap(struct exchange *x)
{
    size_t len;
    const char *body = server_body(x->request, &len);
    x->call = cleat_reap(x->cleat, len ? body : "{}", len ? len : 2, exchange_done, x);
}

/* ---- drain ---- */

/* False: the exchange is refused. tenant is borrowed from *body, which may be NULL. */
static bool read_drain(struct exchange *x, json_t **body, const char **tenant, bool *now)
{
    size_t len;
    const char *text = server_body(x->request, &len);
    *body = len ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : json_object();
    const json_t *name = json_object_get(*body, "tenant"),
                 *at_once = json_object_get(*body, "now");
    *tenant = json_string_value(name);
    *now = json_is_true(at_once);
    bool fine = json_is_object(*body) && (!name || (*tenant && **tenant)) &&
                (!at_once || json_is_boolean(at_once)) &&
                json_object_size(*body) == (size_t)(name != NULL) + (size_t)(at_once != NULL);
    if (!fine)
        exchange_refuse(x, ERR_INVALID, 0, "a drain is {\"tenant\": NAME, \"now\": BOOLEAN}");
    return fine;
}

void api_post_drain(struct exchange *x)
{
    json_t *body;
    const char *tenant;
    bool now;
    if (read_drain(x, &body, &tenant, &now))
        x->call = cleat_drain(x->cleat, tenant, now, exchange_done, x);
    json_decref(body);
}

void api_delete_drain(struct exchange *x)
{
    const char *tenant = server_query(x->request, "tenant");
    if (strchr(server_target(x->request), '?') && (!tenant || !*tenant))
        exchange_refuse(x, ERR_INVALID, 0, "the query is tenant=NAME, or there is none");
    else
        x->call = cleat_undrain(x->cleat, tenant, exchange_done, x);
}

void api_get_drain(struct exchange *x)
{
    exchange_answer_owned(x, cleat_draining(x->cleat));
}

void api_get_status(struct exchange *x)
{
    exchange_answer_owned(x, cleat_status(x->cleat));
}

void api_get_healthz(struct exchange *x)
{
    exchange_answer(x, 200, "{\"status\":\"ok\"}");
}

void api_get_readyz(struct exchange *x)
{
    char *why = NULL;
    bool ready = cleat_ready(x->cleat, &why);
    json_t *o = json_pack("{s:s}", "status", ready ? "ready" : "not_ready");
    if (!ready && x->role == ROLE_OPERATOR) /* it names classes and engines */
        json_object_set_new(o, "reason", json_string(why ? why : "starting"));
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    exchange_answer(x, ready ? 200 : 503, text ? text : "{\"status\":\"not_ready\"}");
    json_decref(o);
    free(text);
    free(why);
}
