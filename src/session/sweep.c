/* A sweep asks the balancer without a cookie, on behalf of all who wait for a route to a target
 * of the group: an answer that is wrong for one waiter is right for another. */

#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/session.h"
#include "session/sweep.h"

#define PROBE_TIMEOUT_MS 5000
#define PROBE_MAX_ANSWER 65536
#define SWEEP_BACKOFF_CAP_MS (5 * 60 * 1000)

struct probe {
    TAILQ_ENTRY(probe) entry;
    struct sweep *sweep;
    struct http_exchange *exchange;
    char nonce[PROOF_NONCE_SIZE];
    size_t node;
};

struct sweep {
    struct group *group;
    size_t index; /* of the target group */
    TAILQ_HEAD(, attempt) waiters;
    unsigned waiting;
    struct timer timer;
    /* of the round under way */
    struct http_share *share; /* NULL: none is */
    bool over;                /* its share is about to be freed */
    int64_t began;
    TAILQ_HEAD(, probe) probes;
    unsigned in_flight, limit;
    uint64_t sent, budget;
    size_t next_node;
    uint64_t sweeps, total_probes;
};

static void pump(struct sweep *);
static void consider(struct sweep *);

/* A round's connections end with it, but not inside a callback of one of them. */
static void on_timer(void *arg)
{
    struct sweep *w = arg;
    if (w->over) {
        http_share_free(w->share);
        w->share = NULL;
        w->over = false;
    }
    consider(w);
}

struct sweep *sweep_new(struct group *g, size_t target_group)
{
    struct sweep *w = mem_alloc(sizeof(*w));
    w->group = g;
    w->index = target_group;
    TAILQ_INIT(&w->waiters);
    TAILQ_INIT(&w->probes);
    timer_init(&w->timer, g->core->loop, on_timer, w);
    return w;
}

static void probe_free(struct probe *p)
{
    struct sweep *w = p->sweep;
    TAILQ_REMOVE(&w->probes, p, entry);
    w->in_flight--;
    free(p);
}

static void cancel_probes(struct sweep *w)
{
    while (!TAILQ_EMPTY(&w->probes)) {
        struct probe *p = TAILQ_FIRST(&w->probes);
        http_cancel(p->exchange);
        probe_free(p);
    }
}

void sweep_free(struct sweep *w)
{
    cancel_probes(w);
    timer_stop(&w->timer);
    if (w->share)
        http_share_free(w->share);
    free(w);
}

struct sweep_counts sweeps_count(const struct group *g)
{
    struct sweep_counts sum = {0};
    for (size_t i = 0; i < g->sweep_count; i++) {
        sum.waiting += g->sweeps[i]->waiting;
        sum.sweeps += g->sweeps[i]->sweeps;
        sum.probes += g->sweeps[i]->total_probes;
    }
    return sum;
}

/* Who waited through the whole round in vain tries again after 3^n back-off. */
static void end_round(struct sweep *w)
{
    struct group *g = w->group;
    int64_t now = core_now(g->core);
    struct attempt *a;
    log_info("sweep.end", KV("class", g->class->name), KI("probes", w->sent),
             KI("without_route", w->waiting));
    cancel_probes(w);
    w->over = true;
    timer_arm(&w->timer, 0);
    TAILQ_FOREACH (a, &w->waiters, sweep_entry) {
        if (a->sweep_at > w->began)
            continue;
        a->route.rounds++;
        a->sweep_at = a->route.retry_at =
            now + backoff_ms(g->class->backoff_base_ms, a->route.rounds, SWEEP_BACKOFF_CAP_MS);
        log_info("sweep.backoff", KV("session", a->session->id), KI("round", a->route.rounds),
                 KI("wait_ms", a->sweep_at - now));
        event_emit(a->session, "route.backoff", KI("attempt", a->number),
                   KI("round", a->route.rounds), KI("wait_ms", a->sweep_at - now));
    }
}

static void hand_over(struct sweep *w, struct attempt *a, size_t node,
                      struct cookie_set *cookies)
{
    a->route.node = node;
    a->route.retry_at = 0;
    cookie_set_move(&a->route.cookies, cookies);
    log_debug("sweep.cookie", KV("session", a->session->id), KI("probes", w->sent),
              KPREFIX("cookie", cookie_set_value(&a->route.cookies)));
    sweep_leave(a);
    session_wake(a->session);
}

/* True when the answer proves that a's own container gave it. */
static bool is_from(const struct attempt *a, const struct probe *p,
                    const struct http_answer *answer)
{
    char proof[PROOF_HEX_SIZE];
    const char *address = http_answer_header(answer, PROOF_HEADER_ADDRESS);
    if (!address)
        return false;
    proof_answer(proof, a->secret, p->nonce, a->identity.session, a->identity.number, address,
                 answer->status);
    return proof_equal(http_answer_header(answer, PROOF_HEADER_PROOF), proof);
}

static struct attempt *find_waiter(struct sweep *w, const char *session)
{
    struct attempt *a;
    TAILQ_FOREACH (a, &w->waiters, sweep_entry)
        if (strcmp(a->identity.session, session) == 0)
            return a;
    return NULL;
}

static struct attempt *whose(struct sweep *w, const struct probe *p,
                             const struct http_answer *answer)
{
    const char *session = http_answer_header(answer, PROOF_HEADER_SESSION);
    struct attempt *a = NULL;
    if (w->group->class->proof == PROOF_REQUIRED) {
        a = session ? find_waiter(w, session) : NULL;
        if (a && !is_from(a, p, answer)) {
            attempt_misrouted(a, "probe");
            a = NULL;
        }
        return a;
    }
    json_t *body = js_parse_object(answer->body, answer->body_len, NULL);
    const char *id = json_string_value(json_object_get(body, "session_id"));
    const char *ip = json_string_value(json_object_get(body, "private_ip"));
    if (id && ip)
        a = find_waiter(w, id);
    if (a && strcmp(ip, a->container.ip) != 0)
        a = NULL;
    json_decref(body);
    return a;
}

static void take_answer(struct sweep *w, const struct probe *p,
                        const struct http_answer *answer)
{
    if (answer->error.code != ERR_NONE || answer->status != 200)
        return;
    struct attempt *a = whose(w, p, answer);
    struct cookie_set cookies = {0};
    if (a &&
        cookie_set_read(&cookies, answer, w->group->class->cookies,
                        loop_wall_ms(w->group->core->loop)) &&
        cookies.header)
        hand_over(w, a, p->node, &cookies);
    cookie_set_clear(&cookies);
}

static void probe_done(void *arg, const struct http_answer *answer)
{
    struct probe *p = arg;
    struct sweep *w = p->sweep;
    take_answer(w, p, answer);
    probe_free(p);
    pump(w);
}

static void send_probe(struct sweep *w)
{
    struct group *g = w->group;
    const struct balancer_node *ways;
    size_t nodes = g->balancer_ops->nodes(g->balancer, w->index, &ways);
    struct probe *p = mem_alloc(sizeof(*p));
    uint8_t random[16];
    p->sweep = w;
    p->node = w->next_node++ % nodes;
    loop_random(g->core->loop, random, sizeof(random));
    proof_nonce(p->nonce, random);
    const char *base = ways[p->node].url;
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    char *url = mem_printf("%.*s/container-info", (int)len, base);
    struct http_header headers[2] = {{PROOF_HEADER_NONCE, p->nonce}, ways[p->node].header};
    struct http_request request = {.method = "GET",
                                   .url = url,
                                   .headers = headers,
                                   .header_count = headers[1].name ? 2 : 1,
                                   .connect_timeout_ms = PROBE_TIMEOUT_MS,
                                   .first_byte_timeout_ms = PROBE_TIMEOUT_MS,
                                   .total_timeout_ms = PROBE_TIMEOUT_MS,
                                   .max_answer = PROBE_MAX_ANSWER};
    TAILQ_INSERT_TAIL(&w->probes, p, entry);
    w->in_flight++;
    w->sent++;
    w->total_probes++;
    p->exchange = http_start(w->share, &request, probe_done, p);
    free(url);
}

static void pump(struct sweep *w)
{
    if (w->over)
        return;
    while (w->waiting > 0 && w->in_flight < w->limit && w->sent < w->budget)
        send_probe(w);
    if (w->waiting == 0 || (w->in_flight == 0 && w->sent >= w->budget))
        end_round(w);
}

static void begin_round(struct sweep *w)
{
    struct group *g = w->group;
    size_t healthy = g->balancer_ops->healthy(g->balancer, w->index);
    if (healthy == 0)
        healthy = 1;
    w->limit = (unsigned)g->class->probes_in_flight;
    if (healthy < w->limit)
        w->limit = (unsigned)healthy;
    w->budget = (uint64_t)g->class->probe_budget * healthy;
    w->sent = 0;
    w->began = core_now(g->core);
    w->sweeps++;
    w->share = http_share_new(g->core->client, w->limit);
    log_info("sweep.begin", KV("class", g->class->name), KI("target_group", w->index),
             KI("waiting", w->waiting), KI("healthy", healthy));
    pump(w);
}

/* Starts a round when it pays: somebody has waited the gather interval, and nobody is about to
 * arrive, or has been for too long. */
static void consider(struct sweep *w)
{
    const struct class *class = w->group->class;
    int64_t now = core_now(w->group->core), oldest = INT64_MAX, next = INT64_MAX;
    struct attempt *a;
    if (w->share)
        return;
    timer_stop(&w->timer);
    if (w->waiting == 0)
        return;
    TAILQ_FOREACH (a, &w->waiters, sweep_entry) {
        if (a->sweep_at > now) {
            next = a->sweep_at < next ? a->sweep_at : next;
            continue;
        }
        int64_t from = a->sweep_joined > a->sweep_at ? a->sweep_joined : a->sweep_at;
        oldest = from < oldest ? from : oldest;
    }
    if (oldest != INT64_MAX) {
        int64_t gather = w->group->arriving > 0 ? class->gather_max_ms : class->gather_ms;
        if (now >= oldest + gather) {
            begin_round(w);
            return;
        }
        next = oldest + gather < next ? oldest + gather : next;
    }
    timer_arm(&w->timer, next - now);
}

void sweeps_consider(struct group *g)
{
    for (size_t i = 0; i < g->sweep_count; i++)
        consider(g->sweeps[i]);
}

void sweep_join(struct attempt *a)
{
    const struct group *g = a->session->group;
    int64_t now = core_now(a->session->core);
    if (a->sweep)
        return;
    struct sweep *w = a->sweep = g->sweeps[g->balancer_ops->group_of(g->balancer, a->key)];
    a->sweep_joined = now;
    a->probes_before = w->total_probes;
    a->sweep_at = a->route.retry_at > now ? a->route.retry_at : now;
    TAILQ_INSERT_TAIL(&w->waiters, a, sweep_entry);
    w->waiting++;
    consider(w);
}

void sweep_leave(struct attempt *a)
{
    struct sweep *w = a->sweep;
    if (!w)
        return;
    a->sweep = NULL;
    a->session->probes += w->total_probes - a->probes_before; /* sent while it waited */
    TAILQ_REMOVE(&w->waiters, a, sweep_entry);
    w->waiting--;
}
