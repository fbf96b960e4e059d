/* What hosts are asked and what they say. */
#include "driver/static_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/mem.h"
#include "http/json.h"
#include "http/lease.h"

#define CONNECT_MS 2000
#define CALL_MS 5000
#define RETRY_BASE_MS 100
#define RETRY_CAP_MS 10000
#define POLL_MS 100 /* of a host that releases itself */
#define POLLS 50
#define ANSWER_MAX 65536

static void answered(void *arg, const struct http_answer *answer);

/* ---- the table */

struct static_host *static_host_at(struct runtime *rt, const char *ip, uint16_t port)
{
    struct static_host *h;
    TAILQ_FOREACH (h, &rt->hosts, entry)
        if (h->port == port && strcmp(h->ip, ip) == 0)
            return h;
    h = mem_alloc(sizeof(*h));
    h->rt = rt;
    h->port = port;
    mem_copy_string(h->ip, sizeof(h->ip), ip);
    snprintf(h->name, sizeof(h->name), strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
    TAILQ_INIT(&h->leases);
    timer_init(&h->next, rt->env.loop, static_host_step, h);
    TAILQ_INSERT_TAIL(&rt->hosts, h, entry);
    return h;
}

void static_host_free(struct static_host *h)
{
    if (h->call != NULL)
        http_cancel(h->call);
    timer_stop(&h->next);
    TAILQ_REMOVE(&h->rt->hosts, h, entry);
    free(h->label);
    free(h);
}

bool static_host_answered(const struct static_host *h)
{
    return h->state != STATIC_UNKNOWN && h->state != STATIC_SILENT &&
           h->state != STATIC_REFUSING;
}

/* ---- asking */

static void send(struct static_host *h, const char *path, json_t *message)
{
    struct runtime *rt = h->rt;
    uint8_t random[PROOF_SEAL_RANDOM + 16];
    struct http_header type = {"Content-Type", "application/json"};
    loop_random(rt->env.loop, random, sizeof(random));
    proof_nonce(h->nonce, random + PROOF_SEAL_RANDOM);
    json_object_set_new(message, "path", json_string(path));
    json_object_set_new(message, "nonce", json_string(h->nonce));
    char *body = lease_seal(rt->key, random, message);
    char *url = mem_printf("http://%s%s", h->name, path);
    struct http_request request = {.method = "POST",
                                   .url = url,
                                   .headers = &type,
                                   .header_count = 1,
                                   .body = body,
                                   .body_len = strlen(body),
                                   .connect_timeout_ms = CONNECT_MS,
                                   .first_byte_timeout_ms = CALL_MS,
                                   .total_timeout_ms = CALL_MS,
                                   .max_answer = ANSWER_MAX};
    h->call = http_start(rt->share, &request, answered, h);
    json_decref(message);
    free(url);
    free(body);
}

static void ask_lease(struct static_host *h, struct static_lease *l)
{
    json_t *terms = json_copy(l->terms);
    json_object_set_new(terms, "challenge", json_string(h->challenge));
    h->asker = l;
    send(h, LEASE_PATH, terms);
}

static void ask_release(struct static_host *h, struct static_lease *l)
{
    h->asker = l;
    send(h, LEASE_RELEASE_PATH,
         json_pack("{s:s, s:b}", "key", l->container.key, "keep", (int)l->keep));
}

static void ask_state(struct static_host *h, struct static_lease *l)
{
    h->asker = l;
    h->asks_state = true;
    h->wanted = false;
    send(h, LEASE_STATE_PATH, json_object());
}

void static_host_step(void *host)
{
    struct static_host *h = host;
    struct static_lease *l;
    if (h->call != NULL || timer_armed(&h->next))
        return;
    TAILQ_FOREACH (l, &h->leases, host_entry)
        if (l->phase == STATIC_ASKING || l->phase == STATIC_STOPPING)
            break;
    if (l != NULL && l->phase == STATIC_STOPPING)
        ask_release(h, l);
    else if (l != NULL && h->challenge[0] != '\0')
        ask_lease(h, l);
    else if (l != NULL || h->wanted)
        ask_state(h, l);
}

void static_host_want(struct static_host *h)
{
    h->wanted = true;
    timer_stop(&h->next);
    static_host_step(h);
}

/* ---- hearing */

static bool read_state(struct static_host *h, const char *state)
{
    if (strcmp(state, LEASE_FREE) == 0)
        h->state = STATIC_FREE;
    else if (strcmp(state, LEASE_LEASED) == 0)
        h->state = STATIC_LEASED;
    else if (strcmp(state, LEASE_RELEASING) == 0)
        h->state = STATIC_RELEASING;
    else
        return false;
    return true;
}

/* False: it makes no sense, and nothing is changed. */
static bool read_message(struct static_host *h, const json_t *m, struct error *why)
{
    const char *answers = NULL, *state = NULL, *challenge = "", *key = "", *label = NULL,
               *ended = "", *error = NULL;
    struct error e = {0};
    bool in_order = false;
    js_string(m, "answers", true, PROOF_NONCE_SIZE, &answers, &e);
    js_string(m, "state", true, 16, &state, &e);
    js_string(m, "challenge", false, PROOF_NONCE_SIZE - 1, &challenge, &e);
    js_string(m, "key", false, KEY_SIZE - 1, &key, &e);
    js_string(m, "label", false, LABEL_MAX, &label, &e);
    js_string(m, "ended", false, KEY_SIZE - 1, &ended, &e);
    js_bool(m, "in_order", true, &in_order, &e);
    js_string(m, "error", false, 1024, &error, &e);
    if (e.code != ERR_NONE || strcmp(answers, h->nonce) != 0 || !read_state(h, state))
        return false;
    mem_copy_string(h->challenge, sizeof(h->challenge), challenge);
    mem_copy_string(h->holder, sizeof(h->holder), key);
    mem_copy_string(h->ended, sizeof(h->ended), ended);
    free(h->label);
    h->label = mem_strdup(label);
    h->in_order = in_order;
    if (error != NULL)
        error_set(why, ERR_LAUNCH, "host %s: %.200s", h->name, error);
    return true;
}

static void explain(struct static_host *h, const struct http_answer *answer)
{
    bool silent = answer->error.code != ERR_NONE;
    h->state = silent ? STATIC_SILENT : STATIC_REFUSING;
    if (silent)
        error_set(&h->error, answer->error.code, "host %s: %.200s", h->name,
                  answer->error.message);
    else if (answer->status == 403)
        error_set(&h->error, ERR_FORBIDDEN,
                  "host %s has another claim key, or is no static host", h->name);
    else
        error_set(&h->error, ERR_PROTOCOL, "host %s gave no answer of a static host (HTTP %d)",
                  h->name, answer->status);
}

static void tell_leases(struct static_host *h, const struct static_lease *asker,
                        const struct error *why)
{
    struct static_lease *l, *next;
    for (l = TAILQ_FIRST(&h->leases); l != NULL; l = next) {
        next = TAILQ_NEXT(l, host_entry);
        static_lease_heard(l, l == asker, why->code != ERR_NONE ? why : NULL);
    }
}

/* One that releases itself does not listen for a moment. */
static int64_t pause_ms(struct static_host *h)
{
    const struct static_lease *l;
    h->failures++;
    TAILQ_FOREACH (l, &h->leases, host_entry)
        if (l->phase == STATIC_STOPPING && h->failures < POLLS)
            return POLL_MS;
    return backoff_ms(RETRY_BASE_MS, h->failures, RETRY_CAP_MS);
}

static void answered(void *arg, const struct http_answer *answer)
{
    struct static_host *h = arg;
    struct static_lease *asker = h->asker;
    bool asks_state = h->asks_state;
    struct error why = {0}, e = {0};
    json_t *m = NULL;
    h->call = NULL;
    h->asker = NULL;
    h->asks_state = false;
    h->answered = ++h->rt->tick;
    h->known_at = loop_now_ms(h->rt->env.loop);
    if (answer->error.code == ERR_NONE && answer->status == 200)
        m = lease_open(h->rt->key, answer->body, answer->body_len, &e);
    if (m != NULL && read_message(h, m, &why)) {
        h->failures = 0;
        h->heard_at = h->known_at;
        h->wanted = h->state == STATIC_RELEASING;
        h->error = why;
        if (h->wanted)
            timer_arm(&h->next, POLL_MS);
        tell_leases(h, asks_state ? NULL : asker, &why);
    } else {
        h->wanted = true;
        explain(h, answer);
        timer_arm(&h->next, pause_ms(h));
        if (asker != NULL)
            static_lease_unheard(asker, answer);
    }
    json_decref(m);
    static_host_step(h);
    task_wake(&h->rt->step);
}
