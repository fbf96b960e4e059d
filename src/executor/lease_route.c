/* What coordinators ask of a static host (http/lease.h). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/executor.h"
#include "executor/settings.h"
#include "http/json.h"

#define KEY_MAX 64
#define LABEL_TEXT_MAX 4096
#define VALUE_MAX 4096

bool lease_is_free(const struct executor *x)
{
    return config_is_static(&x->config) && !x->lease.holder;
}

void lease_challenge(struct executor *x)
{
    uint8_t random[16];
    loop_random(x->loop, random, sizeof random);
    proof_nonce(x->lease.challenge, random);
}

static bool is_leaving(const struct executor *x)
{
    return x->lease.leaving || (x->stopping && !x->lease.holder);
}

/* ---- answers */

static void answer(struct executor *x, struct server_request *r, const char *nonce,
                   const struct error *why)
{
    const struct lease *l = &x->lease;
    bool is_free = !l->holder && !is_leaving(x);
    uint8_t random[PROOF_SEAL_RANDOM];
    loop_random(x->loop, random, sizeof random);
    json_t *o = json_pack(
        "{s:s, s:s, s:s*, s:s*, s:s*, s:s*, s:b, s:s*}", "answers", nonce, "state",
        is_leaving(x) ? LEASE_RELEASING
        : is_free     ? LEASE_FREE
                      : LEASE_LEASED,
        "challenge", is_free ? l->challenge : NULL, "key", l->holder, "label", l->label,
        "ended", l->ended, "in_order", (int)l->in_order, "error", why ? why->message : NULL);
    char *body = lease_seal(l->key, random, o);
    server_answer(r, 200, NULL, body, strlen(body));
    free(body);
    json_decref(o);
}

/* What was asked, when it was sealed for this path. NULL: it has been refused. New reference.
 */
static json_t *open_ask(struct executor *x, struct server_request *r, const char **nonce)
{
    struct error e = {0};
    size_t len;
    const char *path = NULL;
    const void *body = server_body(r, &len);
    json_t *ask = lease_open(x->lease.key, body, len, &e);
    if (ask) {
        js_string(ask, "path", true, 64, &path, &e);
        js_string(ask, "nonce", true, PROOF_NONCE_SIZE, nonce, &e);
    }
    if (!e.code && (strcmp(path, server_path(r)) != 0 || !proof_nonce_valid(*nonce)))
        error_set(&e, ERR_FORBIDDEN, "it was sealed for another request");
    if (!e.code)
        return ask;
    log_warn("lease.refused", KV("path", server_path(r)), KV("error", e.message));
    json_decref(ask);
    contract_refuse(x, r, &e);
    return NULL;
}

void route_lease_state(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    const char *nonce = NULL;
    json_t *ask = open_ask(x, r, &nonce);
    if (ask)
        answer(x, r, nonce, NULL);
    json_decref(ask);
}

/* ---- lease */

/* The host's own limits stay, unless the lease's are stricter; 0: none. */
static int64_t stricter(int64_t host, int64_t lease)
{
    return host > 0 && (lease == 0 || lease > host) ? host : lease;
}

static void take_artifacts(struct config *c, const char *url, struct error *e)
{
    if (c->artifacts[0] && strcmp(c->artifacts, url) != 0)
        error_set(e, ERR_CONFIG, "this host keeps artifacts at %.80s only, not at %.80s",
                  c->artifacts, url);
    else if (!option_set(config_options, c, "CLEAT_ARTIFACTS", url, e))
        config_settle_artifacts(c, e);
}

/* Those that a launch would have put into the environment. */
static void take_setting(struct config *c, const char *name, const char *value, struct error *e)
{
    static const char *const limits[] = {
        "CLEAT_MEMORY_MB", "CLEAT_CPU_S",          "CLEAT_OPEN_FILES", "CLEAT_FILE_SIZE_MB",
        "CLEAT_PROCESSES", "CLEAT_IDLE_TIMEOUT_S", "CLEAT_LIFETIME_S", "CLEAT_NETWORK"};
    if (strcmp(name, "CLEAT_ARTIFACTS") == 0) {
        take_artifacts(c, value, e);
    } else if (strcmp(name, "CLEAT_SANDBOX") == 0) {
        if (strcmp(value, "bwrap") == 0 && c->sandbox != SANDBOX_BWRAP)
            error_set(e, ERR_CONFIG, "bubblewrap does not work on this host");
    } else if (strcmp(name, "AWS_REGION") == 0) {
        json_object_set_new(c->helper_env, name, json_string(value));
    } else {
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
            if (strcmp(name, limits[i]) == 0) {
                option_set(config_options, c, name, value, e);
                return;
            }
        error_set(e, ERR_INVALID, "%.64s is no setting of a lease", name);
    }
}

static void take_settings(struct config *c, const json_t *settings, struct error *e)
{
    const struct config host = *c;
    const char *name;
    json_t *value, *given = (json_t *)settings;
    json_t *env = json_copy(c->helper_env); /* the host's own stays as it is */
    json_decref(c->helper_env);
    c->helper_env = env;
    json_object_foreach (given, name, value) {
        if (!e->code && json_is_string(value) && json_string_length(value) <= VALUE_MAX)
            take_setting(c, name, json_string_value(value), e);
        else if (!e->code)
            error_set(e, ERR_INVALID, "setting %.64s is no text", name);
    }
    c->memory_mb = stricter(host.memory_mb, c->memory_mb);
    c->cpu_s = stricter(host.cpu_s, c->cpu_s);
    c->open_files = stricter(host.open_files, c->open_files);
    c->file_size_mb = stricter(host.file_size_mb, c->file_size_mb);
    c->processes = stricter(host.processes, c->processes);
}

/* A workspace that somebody may look for after a crash has a name. */
static void write_holder(const struct config *c, const char *key, struct error *e)
{
    char *path = mem_printf("%s/holder", c->host_dir);
    file_replace(path, key, e);
    free(path);
}

static void take_identity(struct config *c, const char *session, int64_t attempt,
                          const char *owner, const char *secret, struct error *e)
{
    c->attempt = attempt;
    if (!option_set(config_options, c, "SESSION_ID", session, e) &&
        !option_set(config_options, c, "CLEAT_OWNER", owner, e) &&
        !config_check_session(c, e) && !hex_decode(c->secret, sizeof c->secret, secret))
        error_set(e, ERR_INVALID, "the secret is not 64 hexadecimal digits");
}

struct terms {
    const char *challenge, *key, *session, *owner, *secret, *label;
    int64_t attempt;
    json_t *settings;
};

static enum error_code read_terms(const json_t *ask, struct terms *t, struct error *e)
{
    static const char *const keys[] = {"path",    "nonce",    "challenge", "key",
                                       "session", "attempt",  "owner",     "secret",
                                       "label",   "settings", NULL};
    js_only(ask, keys, e);
    js_string(ask, "challenge", true, PROOF_NONCE_SIZE, &t->challenge, e);
    js_string(ask, "key", true, KEY_MAX, &t->key, e);
    js_string(ask, "session", true, KEY_MAX, &t->session, e);
    js_int(ask, "attempt", true, 1, INT32_MAX, &t->attempt, e);
    js_string(ask, "owner", true, 256, &t->owner, e);
    js_string(ask, "secret", true, PROOF_HEX_SIZE, &t->secret, e);
    js_string(ask, "label", false, LABEL_TEXT_MAX, &t->label, e);
    js_object(ask, "settings", true, &t->settings, e);
    if (!e->code && !*t->key)
        error_set(e, ERR_INVALID, "a lease needs a key");
    return e->code;
}

static void take(struct executor *x, const struct terms *t, struct error *e)
{
    struct config *c = &x->config;
    take_identity(c, t->session, t->attempt, t->owner, t->secret, e);
    if (!e->code)
        take_settings(c, t->settings, e);
    if (!e->code)
        write_holder(c, t->key, e);
    x->lease.holder = mem_strdup(t->key);
    x->lease.label = mem_strdup(t->label);
    if (e->code) {
        log_error("lease.impossible", KV("lease", t->key), KV("error", e->message));
        x->lease.end = LEASE_ENDED_WIPE;
        x->lease.leaving = true; /* half of it is taken: what serves next is a fresh image */
        return;
    }
    helper_settings(settings_line(c->helper_env, NULL));
    executor_begin(x);
    log_info("lease.taken", KV("lease", t->key), KV("session", t->session),
             KI("attempt", t->attempt));
}

void route_lease(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    struct error e = {0};
    struct terms t = {0};
    const char *nonce = NULL;
    json_t *ask = open_ask(x, r, &nonce);
    if (!ask)
        return;
    if (!read_terms(ask, &t, &e) && lease_is_free(x) && !is_leaving(x)) {
        if (proof_equal(t.challenge, x->lease.challenge))
            take(x, &t, &e);
        else
            error_set(&e, ERR_CONFLICT, "the challenge is not of this life of the host");
    }
    answer(x, r, nonce, e.code ? &e : NULL);
    if (x->lease.leaving)
        executor_leave(x, 0);
    json_decref(ask);
}

/* ---- release */

void route_release(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    struct lease *l = &x->lease;
    struct error e = {0};
    const char *nonce = NULL, *key = NULL;
    bool keep = false, begins = false;
    json_t *ask = open_ask(x, r, &nonce);
    if (!ask)
        return;
    js_string(ask, "key", true, KEY_MAX, &key, &e);
    js_bool(ask, "keep", true, &keep, &e);
    if (!e.code && !l->holder) {
        lease_challenge(x);
    } else if (!e.code && !l->leaving && strcmp(key, l->holder) == 0) {
        l->end = keep ? LEASE_ENDED_KEEP : LEASE_ENDED_WIPE;
        l->leaving = begins = true;
        log_info("lease.released", KV("lease", key), KV("files", keep ? "kept" : "wiped"));
    }
    answer(x, r, nonce, e.code ? &e : NULL);
    if (begins)
        executor_leave(x, 0);
    json_decref(ask);
}

/* ---- a free host */

static void answer_plain(struct server_request *r, json_t *body)
{
    char *text = js_text(body);
    server_answer(r, 200, NULL, text, strlen(text));
    free(text);
    json_decref(body);
}

bool lease_answer_free(struct server_request *r)
{
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    if (strcmp(server_method(r), "GET") != 0)
        return false;
    if (strcmp(server_path(r), "/health") == 0)
        answer_plain(r, json_pack("{s:s}", "status", LEASE_FREE));
    else if (strcmp(server_path(r), "/container-info") == 0)
        answer_plain(r, json_pack("{s:s,s:s,s:[]}", "hostname", host, "lease", LEASE_FREE,
                                  "known_sessions"));
    else
        return false;
    return true;
}
