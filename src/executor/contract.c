#include <config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "executor/executor.h"
#include "http/json.h"
#include "http/proof.h"

/* ---- answers */

static void add_proof(struct executor *x, struct server_request *r, int status)
{
    const struct config *c = &x->config;
    if (lease_is_free(x))
        return; /* there is no secret to prove anything with */
    const char *nonce = server_header(r, PROOF_HEADER_NONCE);
    const char *address = server_local_address(r);
    char attempt[24], proof[PROOF_HEX_SIZE];
    snprintf(attempt, sizeof attempt, "%lld", (long long)c->attempt);
    server_add_header(r, PROOF_HEADER_SESSION, c->session);
    server_add_header(r, PROOF_HEADER_ATTEMPT, attempt);
    server_add_header(r, PROOF_HEADER_ADDRESS, address);
    if (!nonce || !proof_nonce_valid(nonce))
        return;
    proof_answer(proof, c->secret, nonce, c->session, (unsigned)c->attempt, address, status);
    server_add_header(r, PROOF_HEADER_PROOF, proof);
}

void contract_answer(struct executor *x, struct server_request *r, int status, json_t *body)
{
    char *text = js_text(body);
    add_proof(x, r, status);
    server_answer(r, status, NULL, text, strlen(text));
    free(text);
    json_decref(body);
}

void contract_answer_bytes(struct executor *x, struct server_request *r, const void *data,
                           size_t len)
{
    add_proof(x, r, 200);
    server_answer(r, 200, "application/octet-stream", data ? data : "", len);
}

void contract_refuse(struct executor *x, struct server_request *r, const struct error *e)
{
    add_proof(x, r, error_http_status(e->code));
    server_answer_error(r, e);
}

static void refuse(struct executor *x, struct server_request *r, enum error_code code,
                   const char *message)
{
    struct error e;
    error_set(&e, code, "%s", message);
    contract_refuse(x, r, &e);
}

json_t *contract_body(struct executor *x, struct server_request *r)
{
    struct error e = {0};
    size_t len;
    const void *text = server_body(r, &len);
    const char *session = NULL;
    json_t *body = js_parse_object(text, len, &e);
    if (body)
        js_string(body, "session_id", true, 64, &session, &e);
    if (!e.code && strcmp(session, x->config.session) != 0)
        error_set(&e, ERR_FORBIDDEN, "this container serves another session");
    if (!e.code)
        return body;
    json_decref(body);
    contract_refuse(x, r, &e);
    return NULL;
}

/* ---- who asks */

static const char *reason_to_forbid(struct executor *x, struct server_request *r)
{
    const struct config *c = &x->config;
    const char *session = server_header(r, PROOF_HEADER_SESSION);
    const char *attempt = server_header(r, PROOF_HEADER_ATTEMPT);
    const char *nonce = server_header(r, PROOF_HEADER_NONCE);
    char ours[24], proof[PROOF_HEX_SIZE];
    size_t len;
    const void *body = server_body(r, &len);
    if (!session || !attempt || !nonce || !proof_nonce_valid(nonce))
        return "a proof of identity is required";
    if (strcmp(session, c->session) != 0)
        return "this container serves another session";
    snprintf(ours, sizeof ours, "%lld", (long long)c->attempt);
    if (strcmp(attempt, ours) != 0)
        return "this container serves another attempt";
    proof_request(proof, c->secret, server_method(r), server_target(r), session,
                  (unsigned)c->attempt, nonce, body, len);
    return proof_equal(proof, server_header(r, PROOF_HEADER_PROOF)) ? NULL
                                                                    : "the proof is wrong";
}

/* A replayed request must not do anything twice; reading twice is harmless. */
static bool check_replay(struct executor *x, struct server_request *r)
{
    if (strcmp(server_method(r), "GET") == 0)
        return true;
    enum nonce_result result = nonces_add(&x->nonces, server_header(r, PROOF_HEADER_NONCE));
    if (result == NONCE_SEEN)
        refuse(x, r, ERR_FORBIDDEN, "the nonce was used before");
    else if (result == NONCE_FULL)
        refuse(x, r, ERR_FULL, "this container took too many requests");
    return result == NONCE_NEW;
}

static bool check_identity(struct executor *x, struct server_request *r, bool is_public)
{
    if (lease_is_free(x)) {
        if (!lease_answer_free(r))
            refuse(x, r, ERR_FORBIDDEN, "this host is not leased");
        return false;
    }
    if (is_public && !server_header(r, PROOF_HEADER_SESSION) &&
        !server_header(r, PROOF_HEADER_PROOF))
        return true;
    const char *why = reason_to_forbid(x, r);
    if (!why)
        return check_replay(x, r);
    log_warn("request.forbidden", KV("path", server_path(r)), KV("reason", why));
    refuse(x, r, ERR_FORBIDDEN, why);
    return false;
}

/* ---- the two public routes */

static void route_health(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    contract_answer(x, r, x->confirmed ? 503 : 200,
                    json_pack("{s:s,s:s,s:i}", "status", x->confirmed ? "complete" : "healthy",
                              "session_id", x->config.session, "executions_completed",
                              (int)x->executions.ended));
}

static char *ip_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return colon ? mem_strndup(address, (size_t)(colon - address)) : mem_strdup(address);
}

static void route_info(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    const struct config *c = &x->config;
    char host[256] = "";
    char *ip = ip_of(server_local_address(r));
    gethostname(host, sizeof host - 1);
    contract_answer(
        x, r, 200,
        json_pack("{s:s,s:s,s:s,s:I,s:[s],s:i,s:b,s:b,s:b,s:s,s:s,s:s}", "private_ip", ip,
                  "hostname", host, "session_id", c->session, "attempt", (json_int_t)c->attempt,
                  "known_sessions", c->session, "executions_completed",
                  (int)x->executions.ended, "busy", x->executions.current != NULL, "claimed",
                  x->claim_state == CLAIM_DONE, "synced", x->synced, "executor",
                  "cleat-executor/" PACKAGE_VERSION, "sandbox",
                  c->sandbox == SANDBOX_BWRAP ? "bwrap" : "none", "network",
                  c->sandbox == SANDBOX_BWRAP && c->network == NETWORK_NONE ? "none" : "host"));
    free(ip);
}

/* ---- routing */

struct route {
    const char *method, *path; /* '*' stands for one part, which the route gets as rest */
    route_fn *fn;
    enum { OF_SESSION, OF_ANYBODY, OF_CLAIM_KEY } whose;
};

static const struct route routes[] = {
    {"GET", "/health", route_health, OF_ANYBODY},
    {"GET", "/container-info", route_info, OF_ANYBODY},
    {"POST", "/execute", route_execute, OF_SESSION},
    {"GET", "/executions/*", route_execution, OF_SESSION},
    {"GET", "/executions/*/output", route_output, OF_SESSION},
    {"POST", "/executions/*/cancel", route_cancel, OF_SESSION},
    {"POST", "/session/complete", route_complete, OF_SESSION},
    {"GET", "/session/complete", route_complete_state, OF_SESSION},
    {"POST", "/session/claim", route_claim, OF_SESSION},
    {"POST", "/session/credentials", route_credentials, OF_SESSION},
    {"POST", "/file-sync", route_file_sync, OF_SESSION},
    {"POST", LEASE_PATH, route_lease, OF_CLAIM_KEY},
    {"POST", LEASE_STATE_PATH, route_lease_state, OF_CLAIM_KEY},
    {"POST", LEASE_RELEASE_PATH, route_release, OF_CLAIM_KEY},
};

/* True when path fits the pattern; *part is what the star stands for, free(). */
static bool match(const char *pattern, const char *path, char **part)
{
    size_t head = strcspn(pattern, "*");
    if (!pattern[head])
        return strcmp(pattern, path) == 0;
    if (strncmp(pattern, path, head) != 0)
        return false;
    size_t len = strcspn(path + head, "/");
    if (len == 0 || strcmp(path + head + len, pattern + head + 1) != 0)
        return false;
    *part = mem_strndup(path + head, len);
    return true;
}

static const struct route *find_route(struct server_request *r, char **part)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].method, server_method(r)) == 0 &&
            match(routes[i].path, server_path(r), part))
            return &routes[i];
    return NULL;
}

void contract_request(void *arg, struct server_request *r)
{
    struct executor *x = arg;
    char *part = NULL;
    const struct route *route = find_route(r, &part);
    bool by_key = route && route->whose == OF_CLAIM_KEY;
    if (by_key && config_is_static(&x->config)) {
        route->fn(x, r, part);
    } else if (check_identity(x, r, route && route->whose == OF_ANYBODY)) {
        if (server_header(r, PROOF_HEADER_PROOF)) /* the coordinator's, not a health check */
            executor_touch(x);
        if (route && !by_key)
            route->fn(x, r, part);
        else
            refuse(x, r, ERR_NOT_FOUND, "no such route");
    }
    free(part);
}
