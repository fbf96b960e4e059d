#include "cleatd/api.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/buf.h"
#include "base/mem.h"
#include "cleatd/exchange.h"

#define WAIT_DEFAULT_S 300
#define WAIT_MAX_S 3600

struct api {
    struct loop *loop;
    struct cleat *cleat;
    struct server *server;
    struct exchange_list exchanges;
};

/* Whoever can write to the socket. */
#define OPERATOR NULL

/* ---- the query ---- */

static bool read_timeout(const char *text, int64_t *ms)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 4 || text[digits])
        return false;
    int64_t s = strtol(text, NULL, 10);
    *ms = s * 1000;
    return s >= 1 && s <= WAIT_MAX_S;
}

/* allowed: "ready", "closed" or both; NULL: the route never waits. False: the exchange is
 * refused. */
static bool read_wait(struct exchange *x, bool ready, bool closed)
{
    const char *wait = server_query(x->request, "wait");
    const char *timeout = server_query(x->request, "timeout_s");
    x->wait_ms = WAIT_DEFAULT_S * 1000;
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
    if (timeout && !wait) {
        exchange_refuse(x, ERR_INVALID, 0, "timeout_s needs wait");
        return false;
    }
    if (timeout && !read_timeout(timeout, &x->wait_ms)) {
        exchange_refuse(x, ERR_INVALID, 0, "timeout_s is a whole number within 1..3600");
        return false;
    }
    return true;
}

/* ---- what a call of libcleat ends in ---- */

static void on_document(void *arg, const struct cleat_error *error, const char *document)
{
    struct exchange *x = arg;
    x->call = NULL;
    if (error)
        exchange_fail(x, error);
    else
        exchange_answer(x, x->status, document);
}

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
    x->call =
        cleat_wait(x->cleat, OPERATOR, x->session, x->wait == WAIT_CLOSED, x->wait_ms, done, x);
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
        on_document(x, error, document);
        return;
    }
    x->status = 200;
    start_wait(x, on_document);
}

/* ---- routes ---- */

static void post_sessions(struct exchange *x)
{
    size_t len;
    const char *body = server_body(x->request, &len);
    x->creates = true;
    if (read_wait(x, true, false))
        x->call =
            cleat_create(x->cleat, OPERATOR, len ? body : "{}", len ? len : 2, on_created, x);
}

static void get_sessions(struct exchange *x)
{
    exchange_answer_owned(x, cleat_sessions(x->cleat, OPERATOR));
}

static void get_session(struct exchange *x)
{
    if (!read_wait(x, true, true))
        return;
    if (x->wait == WAIT_NONE)
        exchange_answer_owned(x, cleat_session(x->cleat, OPERATOR, x->session));
    else
        start_wait(x, on_document);
}

static void delete_session(struct exchange *x)
{
    x->status = 202;
    if (read_wait(x, false, true))
        x->call = cleat_close(x->cleat, OPERATOR, x->session, on_closing, x);
}

static void post_execute(struct exchange *x)
{
    size_t len;
    const char *body = server_body(x->request, &len);
    x->call =
        cleat_execute(x->cleat, OPERATOR, x->session, len ? body : "", len, on_document, x);
}

static void post_keepalive(struct exchange *x)
{
    x->call = cleat_keepalive(x->cleat, OPERATOR, x->session, on_document, x);
}

static void post_reap(struct exchange *x)
{
    size_t len;
    const char *body = server_body(x->request, &len);
    x->call = cleat_reap(x->cleat, len ? body : "{}", len ? len : 2, on_document, x);
}

static void get_route(struct exchange *x)
{
    exchange_answer_owned(x, cleat_route(x->cleat, OPERATOR, x->session));
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

static void post_drain(struct exchange *x)
{
    json_t *body;
    const char *tenant;
    bool now;
    if (read_drain(x, &body, &tenant, &now))
        x->call = cleat_drain(x->cleat, tenant, now, on_document, x);
    json_decref(body);
}

static void delete_drain(struct exchange *x)
{
    const char *tenant = server_query(x->request, "tenant");
    if (strchr(server_target(x->request), '?') && (!tenant || !*tenant))
        exchange_refuse(x, ERR_INVALID, 0, "the query is tenant=NAME, or there is none");
    else
        x->call = cleat_undrain(x->cleat, tenant, on_document, x);
}

static void get_drain(struct exchange *x)
{
    exchange_answer_owned(x, cleat_draining(x->cleat));
}

static void get_status(struct exchange *x)
{
    exchange_answer_owned(x, cleat_status(x->cleat));
}

static void get_isolation(struct exchange *x)
{
    exchange_answer_owned(x, cleat_isolation(x->cleat, OPERATOR));
}

static void get_healthz(struct exchange *x)
{
    exchange_answer(x, 200, "{\"status\":\"ok\"}");
}

static void get_readyz(struct exchange *x)
{
    char *why = NULL;
    bool ready = cleat_ready(x->cleat, &why);
    json_t *o = ready ? json_pack("{s:s}", "status", "ready")
                      : json_pack("{s:s, s:s}", "status", "not_ready", "reason",
                                  why ? why : "starting");
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    exchange_answer(x, ready ? 200 : 503, text ? text : "{\"status\":\"not_ready\"}");
    json_decref(o);
    free(text);
    free(why);
}

static const struct route {
    const char *method, *pattern; /* '*': a session id */
    void (*handle)(struct exchange *);
    bool has_body;
} routes[] = {
    {"POST", "/v1/sessions", post_sessions, true},
    {"GET", "/v1/sessions", get_sessions, false},
    {"GET", "/v1/sessions/*", get_session, false},
    {"DELETE", "/v1/sessions/*", delete_session, false},
    {"POST", "/v1/sessions/*/execute", post_execute, true},
    {"POST", "/v1/sessions/*/keepalive", post_keepalive, false},
    {"GET", "/v1/sessions/*/route", get_route, false},
    {"GET", "/v1/drain", get_drain, false},
    {"POST", "/v1/drain", post_drain, true},
    {"DELETE", "/v1/drain", delete_drain, false},
    {"POST", "/v1/reap", post_reap, true},
    {"GET", "/v1/status", get_status, false},
    {"GET", "/v1/isolation", get_isolation, false},
    {"GET", "/healthz", get_healthz, false},
    {"GET", "/readyz", get_readyz, false},
};
#define ROUTE_COUNT (sizeof routes / sizeof routes[0])

/* The segment under the star is copied to id, cut at its size: then no id is as long. */
static bool path_matches(const char *pattern, const char *path, char id[ID_SIZE + 1])
{
    size_t before = strcspn(pattern, "*");
    if (strncmp(pattern, path, before) != 0)
        return false;
    if (!pattern[before])
        return path[before] == '\0';
    size_t len = strcspn(path + before, "/");
    snprintf(id, ID_SIZE + 1, "%.*s", (int)len, path + before);
    return len > 0 && strcmp(pattern + before + 1, path + before + len) == 0;
}

static bool method_matches(const struct route *r, const char *method)
{
    return strcmp(method, r->method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(r->method, "GET") == 0);
}

/* A body must say that it is JSON; charset and other parameters do not matter. */
static bool body_is_json(struct server_request *request)
{
    size_t len;
    const char *type = server_header(request, "Content-Type");
    server_body(request, &len);
    if (len == 0)
        return true;
    if (!type)
        return false;
    size_t name = strcspn(type, "; \t");
    return name == strlen("application/json") &&
           strncasecmp(type, "application/json", name) == 0;
}

static void refuse_method(struct exchange *x, const char *allow)
{
    char *message = mem_printf("this path takes %s", allow);
    server_add_header(x->request, "Allow", allow);
    exchange_refuse(x, ERR_INVALID, 405, message);
    free(message);
}

static void dispatch(struct exchange *x, const struct route *r, const char *id)
{
    if (strchr(r->pattern, '*')) {
        if (!id_valid(id)) {
            exchange_refuse(x, ERR_NOT_FOUND, 0, "no such session");
            return;
        }
        mem_copy_string(x->session, sizeof x->session, id);
    }
    if (r->has_body && !body_is_json(x->request))
        exchange_refuse(x, ERR_INVALID, 415, "a body needs Content-Type: application/json");
    else
        r->handle(x);
}

static void on_request(void *arg, struct server_request *request)
{
    struct api *api = arg;
    struct exchange *x = exchange_new(&api->exchanges, api->loop, api->cleat, request);
    const char *path = server_path(request), *method = server_method(request);
    char id[ID_SIZE + 1] = "";
    struct buf allow = {0};
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!path_matches(routes[i].pattern, path, id))
            continue;
        if (method_matches(&routes[i], method)) {
            buf_free(&allow);
            dispatch(x, &routes[i], id);
            return;
        }
        buf_printf(&allow, "%s%s%s", allow.len ? ", " : "", routes[i].method,
                   strcmp(routes[i].method, "GET") == 0 ? ", HEAD" : "");
    }
    if (allow.len)
        refuse_method(x, allow.data);
    else
        exchange_refuse(x, ERR_NOT_FOUND, 0, "no such path");
    buf_free(&allow);
}

struct api *api_new(struct loop *loop, struct cleat *cleat,
                    const struct server_options *options, struct error *e)
{
    struct api *api = mem_alloc(sizeof *api);
    api->loop = loop;
    api->cleat = cleat;
    TAILQ_INIT(&api->exchanges);
    api->server = server_new(loop, options, on_request, api, e);
    if (!api->server) {
        free(api);
        return NULL;
    }
    return api;
}

void api_free(struct api *api)
{
    struct exchange *x, *next;
    server_free(api->server);
    for (x = TAILQ_FIRST(&api->exchanges); x; x = next) {
        next = TAILQ_NEXT(x, entry);
        exchange_drop(x);
    }
    free(api);
}
