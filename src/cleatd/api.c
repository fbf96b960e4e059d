#include "cleatd/api.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/buf.h"
#include "base/mem.h"
#include "cleatd/api_events.h"
#include "cleatd/api_jobs.h"
#include "cleatd/api_operator.h"
#include "cleatd/api_sessions.h"
#include "cleatd/exchange.h"
#include "cleatd/metrics.h"

struct api {
    struct loop *loop;
    struct cleat *cleat;
    const struct peers *peers;
    struct server *server;
    struct exchange_list exchanges;
    size_t max_streams; /* connections are left for all else */
};

/* Who may use a route. A tenant only ever reaches sessions of its own: dispatch sees to that
 * for the id of a path, libcleat for the rest, given x->tenant. */
enum access { FOR_OPERATORS, FOR_TENANTS, FOR_ALL };

static const struct route {
    const char *method, *pattern; /* '*': a session id */
    void (*handle)(struct exchange *);
    bool has_body;
    enum access access;
} routes[] = {
    {"POST", "/v1/sessions", api_post_sessions, true, FOR_TENANTS},
    {"GET", "/v1/sessions", api_get_sessions, false, FOR_TENANTS},
    {"GET", "/v1/sessions/*", api_get_session, false, FOR_TENANTS},
    {"DELETE", "/v1/sessions/*", api_delete_session, false, FOR_TENANTS},
    {"POST", "/v1/sessions/*/execute", api_post_execute, true, FOR_TENANTS},
    {"POST", "/v1/sessions/*/keepalive", api_post_keepalive, false, FOR_TENANTS},
    {"GET", "/v1/sessions/*/route", api_get_route, false, FOR_TENANTS},
    {"GET", "/v1/sessions/*/events", api_get_session_events, false, FOR_TENANTS},
    {"GET", "/v1/events", api_get_events, false, FOR_TENANTS},
    {"POST", "/v1/jobs", api_post_jobs, true, FOR_TENANTS},
    {"GET", "/v1/jobs", api_get_jobs, false, FOR_TENANTS},
    {"GET", "/v1/jobs/*", api_get_job, false, FOR_TENANTS},
    {"DELETE", "/v1/jobs/*", api_delete_job, false, FOR_TENANTS},
    {"GET", "/v1/jobs/*/logs", api_get_job_logs, false, FOR_TENANTS},
    {"GET", "/v1/isolation", api_get_isolation, false, FOR_TENANTS},
    {"GET", "/v1/drain", api_get_drain, false, FOR_OPERATORS},
    {"POST", "/v1/drain", api_post_drain, true, FOR_OPERATORS},
    {"DELETE", "/v1/drain", api_delete_drain, false, FOR_OPERATORS},
    {"POST", "/v1/reap", api_post_reap, true, FOR_OPERATORS},
    {"GET", "/v1/status", api_get_status, false, FOR_OPERATORS},
    {"GET", "/metrics", api_get_metrics, false, FOR_OPERATORS},
    {"GET", "/healthz", api_get_healthz, false, FOR_ALL},
    {"GET", "/readyz", api_get_readyz, false, FOR_ALL},
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

static bool may_use(const struct exchange *x, enum access access)
{
    return access == FOR_ALL || x->role == ROLE_OPERATOR ||
           (access == FOR_TENANTS && x->role == ROLE_TENANT);
}

/* An id of another tenant is answered as one that never was, whatever else the request has. */
static void dispatch(struct exchange *x, const struct route *r, const char *id)
{
    bool named = strchr(r->pattern, '*') != NULL;
    if (!may_use(x, r->access)) {
        exchange_refuse(x, ERR_FORBIDDEN, 0,
                        x->role == ROLE_TENANT ? "this is for operators only"
                                               : "nothing in `peers` gives you a role");
        return;
    }
    if (named && !(id_valid(id) && cleat_sees(x->cleat, x->tenant, id))) {
        exchange_refuse(x, ERR_NOT_FOUND, 0, "no such session");
        return;
    }
    if (named)
        mem_copy_string(x->session, sizeof x->session, id);
    if (r->has_body && !body_is_json(x->request))
        exchange_refuse(x, ERR_INVALID, 415, "a body needs Content-Type: application/json");
    else
        r->handle(x);
}

static void on_request(void *arg, struct server_request *request)
{
    struct api *api = arg;
    struct exchange *x = exchange_new(&api->exchanges, api->loop, api->cleat, request);
    const char *tenant;
    x->role = peers_role(api->peers, request, &tenant);
    x->tenant = mem_strdup(tenant);
    x->max_streams = api->max_streams;
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

struct api *api_new(struct loop *loop, struct cleat *cleat, const struct peers *peers,
                    const struct server_options *options, struct error *e)
{
    struct api *api = mem_alloc(sizeof *api);
    api->loop = loop;
    api->cleat = cleat;
    api->peers = peers;
    api->max_streams = options->max_connections / 2;
    TAILQ_INIT(&api->exchanges);
    api->server = server_new(loop, options, on_request, api, e);
    if (!api->server) {
        free(api);
        return NULL;
    }
    return api;
}

static bool is_still(const struct exchange *x, const struct peers *peers)
{
    const char *tenant;
    return peers_role(peers, x->request, &tenant) == x->role &&
           (!tenant || strcmp(tenant, x->tenant) == 0);
}

void api_set_peers(struct api *api, const struct peers *peers)
{
    struct exchange *x, *next;
    api->peers = peers;
    for (x = TAILQ_FIRST(&api->exchanges); x; x = next) {
        next = TAILQ_NEXT(x, entry);
        if (x->gone || is_still(x, peers))
            continue;
        if (x->call)
            cleat_call_cancel(x->call);
        x->call = NULL;
        if (x->stream)
            exchange_cut(x); /* its answer has begun */
        else
            exchange_refuse(x, ERR_FORBIDDEN, 0, "your role is another now");
    }
}

void api_print_routes(void)
{
    static const char *const accesses[] = {
        [FOR_OPERATORS] = "operators", [FOR_TENANTS] = "tenants", [FOR_ALL] = "all"};
    for (size_t i = 0; i < ROUTE_COUNT; i++)
        printf("%s\t%s\t%s\n", routes[i].method, routes[i].pattern, accesses[routes[i].access]);
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
