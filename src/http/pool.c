#include "http/pool.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "base/mem.h"

#define RECENT_MAX 16

/* One generation of connections; retired: takes no new request. */
struct generation {
    struct http_share *share;
    unsigned busy;
    bool retired;
};

struct pool_request {
    struct pool *pool;
    struct generation *generation; /* NULL: waiting, or refused */
    struct http_exchange *exchange;
    struct http_request request; /* owned copies while it waits */
    http_done_fn *done;
    void *arg;
    int64_t asked_ms;
    struct timer deadline; /* while waiting */
    struct task refusal;   /* queue full */
    TAILQ_ENTRY(pool_request) entry;
};

TAILQ_HEAD(request_list, pool_request);

struct pool {
    struct http_client *client;
    struct loop *loop;
    struct pool_limits limits;
    struct generation *current; /* NULL: no connection */
    unsigned in_flight, waiting_count, retired_count;
    struct request_list waiting, flying, refused;
    struct timer idle;
    char *recent[RECENT_MAX]; /* the most recently used last */
    size_t recent_count;
    uint64_t connection_total;
};

/* ---- generations */

#ifdef CLEAT_MUTANT_SHARED_POOL
/* A deliberate defect, to prove that the isolation tests can fail. */
static struct http_share *share_open(struct pool *p)
{
    static struct http_share *everybodys;
    if (!everybodys)
        everybodys = http_share_new(p->client, p->limits.max_connections);
    return everybodys;
}

static void share_close(struct http_share *share)
{
    (void)share;
}
#else
static struct http_share *share_open(struct pool *p)
{
    return http_share_new(p->client, p->limits.max_connections);
}

static void share_close(struct http_share *share)
{
    http_share_free(share);
}
#endif

static struct generation *current_generation(struct pool *p)
{
    if (!p->current) {
        p->current = mem_alloc(sizeof *p->current);
        p->current->share = share_open(p);
    }
    return p->current;
}

static void close_generation(struct generation *g)
{
    share_close(g->share);
    free(g);
}

static void leave_generation(struct pool_request *r)
{
    struct generation *g = r->generation;
    r->generation = NULL;
    g->busy--;
    if (g->retired && g->busy == 0) {
        r->pool->retired_count--;
        close_generation(g);
    }
}

void pool_retire_connections(struct pool *p)
{
    struct generation *g = p->current;
    p->current = NULL;
    if (!g)
        return;
    if (g->busy == 0) {
        close_generation(g);
        return;
    }
    g->retired = true;
    p->retired_count++;
}

static void idle_passed(void *arg)
{
    pool_retire_connections(arg);
}

bool pool_has_share(const struct pool *p)
{
    return p->current || p->retired_count > 0;
}

/* ---- which connections were used */

static void note_connection(struct pool *p, const char *name)
{
    if (!name[0])
        return;
    size_t i = 0;
    while (i < p->recent_count && strcmp(p->recent[i], name) != 0)
        i++;
    char *used;
    if (i < p->recent_count) {
        used = p->recent[i];
    } else {
        used = mem_strdup(name);
        p->connection_total++;
        if (p->recent_count < RECENT_MAX) {
            p->recent[p->recent_count++] = used;
            return;
        }
        i = 0;
        free(p->recent[0]);
    }
    memmove(p->recent + i, p->recent + i + 1, (p->recent_count - 1 - i) * sizeof *p->recent);
    p->recent[p->recent_count - 1] = used;
}

size_t pool_connections(const struct pool *p, const char *out[16], uint64_t *total)
{
    for (size_t i = 0; i < p->recent_count; i++)
        out[i] = p->recent[i];
    *total = p->connection_total;
    return p->recent_count;
}

/* ---- requests */

static struct http_sign *copy_sign(const struct http_sign *from)
{
    struct http_sign *to = mem_alloc(sizeof *to);
    to->region = mem_strdup(from->region);
    to->service = mem_strdup(from->service);
    to->access_key = mem_strdup(from->access_key);
    to->secret_key = mem_strdup(from->secret_key);
    to->session_token = mem_strdup(from->session_token);
    return to;
}

static void release_secret(const char *s)
{
    char *secret = (char *)(uintptr_t)s;
    if (secret)
        mem_wipe(secret, strlen(secret));
    free(secret);
}

static void release_sign(const struct http_sign *sign)
{
    if (!sign)
        return;
    free((void *)(uintptr_t)sign->region);
    free((void *)(uintptr_t)sign->service);
    release_secret(sign->access_key);
    release_secret(sign->secret_key);
    release_secret(sign->session_token);
    free((void *)(uintptr_t)sign);
}

static void copy_request(struct http_request *to, const struct http_request *from)
{
    struct http_header *headers = mem_array(from->header_count, sizeof *headers);
    for (size_t i = 0; i < from->header_count; i++) {
        headers[i].name = mem_strdup(from->headers[i].name);
        headers[i].value = mem_strdup(from->headers[i].value);
    }
    *to = *from;
    to->method = mem_strdup(from->method);
    to->url = mem_strdup(from->url);
    to->unix_socket = mem_strdup(from->unix_socket);
    to->headers = headers;
    if (from->sign)
        to->sign = copy_sign(from->sign);
    if (from->body) {
        void *body = mem_alloc(from->body_len);
        if (from->body_len > 0)
            memcpy(body, from->body, from->body_len);
        to->body = body;
    }
}

static void release_request(struct http_request *r)
{
    for (size_t i = 0; i < r->header_count; i++) {
        free((void *)(uintptr_t)r->headers[i].name);
        free((void *)(uintptr_t)r->headers[i].value);
    }
    free((void *)(uintptr_t)r->headers);
    free((void *)(uintptr_t)r->method);
    free((void *)(uintptr_t)r->url);
    free((void *)(uintptr_t)r->unix_socket);
    free((void *)(uintptr_t)r->body);
    release_sign(r->sign);
    *r = (struct http_request){0};
}

static void free_request(struct pool_request *r)
{
    timer_stop(&r->deadline);
    task_stop(&r->refusal);
    release_request(&r->request);
    free(r);
}

static void exchange_done(void *arg, const struct http_answer *answer);

static void send_now(struct pool_request *r, const struct http_request *request)
{
    struct pool *p = r->pool;
    timer_stop(&p->idle);
    r->generation = current_generation(p);
    r->generation->busy++;
    p->in_flight++;
    TAILQ_INSERT_TAIL(&p->flying, r, entry);
    r->exchange = http_start(r->generation->share, request, exchange_done, r);
}

static void leave_queue(struct pool_request *r)
{
    TAILQ_REMOVE(&r->pool->waiting, r, entry);
    r->pool->waiting_count--;
    timer_stop(&r->deadline);
}

static void send_waiting(struct pool *p)
{
    struct pool_request *r;
    while (p->in_flight < p->limits.max_connections && (r = TAILQ_FIRST(&p->waiting))) {
        int64_t left_ms = r->deadline.at_ms - loop_now_ms(p->loop);
        r->request.total_timeout_ms = left_ms > 1 ? left_ms : 1;
        leave_queue(r);
        send_now(r, &r->request);
        release_request(&r->request);
    }
    if (p->in_flight == 0 && p->current)
        timer_arm(&p->idle, p->limits.idle_ms);
}

static void land(struct pool_request *r)
{
    struct pool *p = r->pool;
    TAILQ_REMOVE(&p->flying, r, entry);
    p->in_flight--;
    leave_generation(r);
}

/* The pool's own books first: done may free the pool. */
static void exchange_done(void *arg, const struct http_answer *answer)
{
    struct pool_request *r = arg;
    struct pool *p = r->pool;
    struct http_answer total = *answer;
    http_done_fn *done = r->done;
    void *done_arg = r->arg;
    total.elapsed_ms = loop_now_ms(p->loop) - r->asked_ms;
    note_connection(p, answer->connection);
    land(r);
    free_request(r);
    send_waiting(p);
    done(done_arg, &total);
}

/* For a request that never left the pool; r is out of its list. */
static void refuse(struct pool_request *r, enum error_code code, const char *why)
{
    struct http_answer answer = {.body = ""};
    http_done_fn *done = r->done;
    void *arg = r->arg;
    answer.elapsed_ms = loop_now_ms(r->pool->loop) - r->asked_ms;
    error_set(&answer.error, code, "%s", why);
    free_request(r);
    done(arg, &answer);
}

static void queue_deadline_passed(void *arg)
{
    struct pool_request *r = arg;
    leave_queue(r);
    refuse(r, ERR_TIMEOUT, "the request's time ended while it waited for a connection");
}

static void refuse_full(void *arg)
{
    struct pool_request *r = arg;
    TAILQ_REMOVE(&r->pool->refused, r, entry);
    refuse(r, ERR_FULL, "too many requests of this session are waiting");
}

struct pool_request *pool_send(struct pool *p, const struct http_request *request,
                               http_done_fn *done, void *arg)
{
    struct pool_request *r = mem_alloc(sizeof *r);
    r->pool = p;
    r->done = done;
    r->arg = arg;
    r->asked_ms = loop_now_ms(p->loop);
    timer_init(&r->deadline, p->loop, queue_deadline_passed, r);
    task_init(&r->refusal, p->loop, refuse_full, r);
    if (p->in_flight < p->limits.max_connections) {
        send_now(r, request);
    } else if (p->waiting_count < p->limits.max_queue) {
        copy_request(&r->request, request);
        TAILQ_INSERT_TAIL(&p->waiting, r, entry);
        p->waiting_count++;
        timer_arm(&r->deadline, request->total_timeout_ms);
    } else {
        TAILQ_INSERT_TAIL(&p->refused, r, entry);
        task_wake(&r->refusal);
    }
    return r;
}

void pool_cancel(struct pool_request *r)
{
    struct pool *p = r->pool;
    if (r->generation) {
        http_cancel(r->exchange);
        land(r);
    } else if (r->refusal.queued) {
        TAILQ_REMOVE(&p->refused, r, entry);
    } else {
        leave_queue(r);
    }
    free_request(r);
    send_waiting(p);
}

/* ---- the pool */

struct pool *pool_new(struct http_client *client, struct loop *loop,
                      const struct pool_limits *limits)
{
    struct pool *p = mem_alloc(sizeof *p);
    p->client = client;
    p->loop = loop;
    p->limits = *limits;
    TAILQ_INIT(&p->waiting);
    TAILQ_INIT(&p->flying);
    TAILQ_INIT(&p->refused);
    timer_init(&p->idle, loop, idle_passed, p);
    return p;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    struct pool_request *r;
    while ((r = TAILQ_FIRST(&p->waiting)))
        pool_cancel(r);
    while ((r = TAILQ_FIRST(&p->refused)))
        pool_cancel(r);
    while ((r = TAILQ_FIRST(&p->flying)))
        pool_cancel(r);
    timer_stop(&p->idle);
    pool_retire_connections(p);
    for (size_t i = 0; i < p->recent_count; i++)
        free(p->recent[i]);
    free(p);
}
