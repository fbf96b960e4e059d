#include "cleatd/api_sessions.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleatd/query.h"

/* ---- the query ---- */

/* What may be waited for. False: the exchange is refused. */
static bool read_wait(struct exchange *x, bool ready, bool closed)
{
    const char *wait = server_query(x->request, "wait");
    if (wait && ready && strcmp(wait, "ready") == 0)
        x->wait = WAIT_READY;
    else if (wait && closed && strcmp(wait, "closed") == 0)
        x->wait = WAIT_CLOSED;
    else if (wait) {
        exchange_refuse(x, ERR_INVALID, 0,
                        ready && closed ? "wait is ready or closed"
                        : ready         ? "wait is ready"
                                        : "wait is closed");
        return false;
    }
    return query_timeout(x, wait != NULL, "timeout_s needs wait");
}

/* False: the exchange is refused. */
static bool read_on_disconnect(struct exchange *x)
{
    const char *what = server_query(x->request, "on_disconnect");
    x->cancels = what && strcmp(what, "cancel") == 0;
    if (what && !x->cancels)
        exchange_refuse(x, ERR_INVALID, 0, "on_disconnect is cancel");
    else if (what && x->wait != WAIT_READY)
        exchange_refuse(x, ERR_INVALID, 0, "on_disconnect needs wait=ready");
    else
        return true;
    return false;
}

/* ---- what a call of libcleat ends in ---- */

/* A session after a wait does not say whether this request made it; we know. */
static void on_ready(void *arg, const struct cleat_error *error, const char *document)
{
    struct exchange *x = arg;
    x->call = NULL;
    if (error) {
        exchange_fail(x, error);
        return;
    }
    json_t *session = json_loads(document, JSON_REJECT_DUPLICATES, NULL);
    if (session)
        json_object_set_new(session, "created", json_boolean(x->created));
    char *text = session ? json_dumps(session, JSON_COMPACT) : NULL;
    json_decref(session);
    exchange_answer(x, x->status, text ? text : document);
    free(text);
}

static void start_wait(struct exchange *x, cleat_done_fn *done)
{
    x->call = cleat_wait(x->cleat, x->tenant, x->session, x->wait == WAIT_CLOSED, x->wait_ms,
                         done, x);
}

static void on_created(void *arg, const struct cleat_error *error, const char *document)
{
    struct exchange *x = arg;
    x->call = NULL;
    if (error) {
        exchange_fail(x, error);
        return;
    }
    json_t *session = json_loads(document, 0, NULL);
    const char *id = json_string_value(json_object_get(session, "session_id"));
    x->created = json_is_true(json_object_get(session, "created"));
    x->status = x->created ? 201 : 200;
    mem_copy_string(x->session, sizeof x->session, id ? id : "");
    json_decref(session);
    if (x->wait == WAIT_NONE)
        exchange_answer(x, x->status, document);
    else
        start_wait(x, on_ready);
}

static void on_closing(void *arg, const struct cleat_error *error, const char *document)
{
    struct exchange *x = arg;
    if (error || x->wait == WAIT_NONE) {
        exchange_done(x, error, document);
        return;
    }
    x->status = 200;
    start_wait(x, exchange_done);
}

/* ---- routes ---- */

void api_post_sessions(struct exchange *x)
{
    size_t len;
    const char *body = server_body(x->request, &len);
    x->creates = true;
    if (read_wait(x, true, false) && read_on_disconnect(x))
        x->call =
            cleat_create(x->cleat, x->tenant, len ? body : "{}", len ? len : 2, on_created, x);
}

void api_get_sessions(struct exchange *x)
{
    const char *tenant;
    if (query_tenant(x, &tenant))
        exchange_answer_owned(x, cleat_sessions(x->cleat, tenant));
}

void api_get_session(struct exchange *x)
{
    if (!read_wait(x, true, true))
        return;
    if (x->wait == WAIT_NONE)
        exchange_answer_owned(x, cleat_session(x->cleat, x->tenant, x->session));
    else
        start_wait(x, exchange_done);
}

void api_delete_session(struct exchange *x)
{
    x->status = 202;
    if (read_wait(x, false, true))
        x->call = cleat_close(x->cleat, x->tenant, x->session, on_closing, x);
}

void api_post_execute(struct exchange *x)
{
    size_t len;
    const char *body = server_body(x->request, &len);
    x->call =
        cleat_execute(x->cleat, x->tenant, x->session, len ? body : "", len, exchange_done, x);
}

void api_post_keepalive(struct exchange *x)
{
    x->call = cleat_keepalive(x->cleat, x->tenant, x->session, exchange_done, x);
}

void api_get_route(struct exchange *x)
{
    struct cleat_error why;
    char *document = cleat_route(x->cleat, x->tenant, x->session, &why);
    exchange_done(x, document ? NULL : &why, document);
    free(document);
}

void api_get_isolation(struct exchange *x)
{
    exchange_answer_owned(x, cleat_isolation(x->cleat, x->tenant));
}
