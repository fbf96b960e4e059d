/* No balancer at all: each container is asked on its own address, and we check its health
 * ourselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include "base/mem.h"
#include "driver/balancer.h"
#include "driver/later.h"
#include "driver/runtime.h"

#define FIRST_WAIT_MS 20
#define LAST_WAIT_MS 1000
#define TARGET_COST_MS 5 /* so that many targets together get at most 200 probes a second */
#define PROBE_TIMEOUT_MS 2000

struct direct_target {
    struct balancer *b;
    char id[KEY_SIZE];
    char ip[46];
    uint16_t port;
    struct told told;
    int64_t passed, failed; /* in a row */
    int64_t wait_ms;        /* before the next probe, while its health was never known */
    struct timer timer;
    struct http_exchange *probe;
    UT_hash_handle hh;
};

struct balancer {
    struct balancer_env env;
    struct http_share *share;
    struct later later;
    struct direct_target *targets;
    size_t healthy;
};

static void set_state(struct direct_target *t, enum target_state state, const char *reason)
{
    t->b->healthy += (state == TARGET_HEALTHY);
    t->b->healthy -= (t->told.state == TARGET_HEALTHY);
    if (later_is_news(&t->told, state, reason))
        later_tell(&t->b->later, &t->b->env, t->id, state, reason);
}

static int64_t next_wait(struct direct_target *t)
{
    int64_t least = (int64_t)HASH_COUNT(t->b->targets) * TARGET_COST_MS;
    if (t->told.state == TARGET_HEALTHY || t->told.state == TARGET_UNHEALTHY) {
        int64_t every = t->b->env.class->check_interval_ms;
        return every > least ? every : least;
    }
    int64_t wait = t->wait_ms;
    t->wait_ms = wait * 3 / 2 < LAST_WAIT_MS ? wait * 3 / 2 : LAST_WAIT_MS;
    return wait;
}

static void judge(struct direct_target *t, bool passed, const char *reason)
{
    const struct class *class = t->b->env.class;
    t->passed = passed ? t->passed + 1 : 0;
    t->failed = passed ? 0 : t->failed + 1;
    if (t->told.state == TARGET_UNHEALTHY) {
        if (t->passed >= class->check_rise)
            set_state(t, TARGET_HEALTHY, reason);
    } else if (passed) {
        set_state(t, TARGET_HEALTHY, reason);
    } else if (t->told.state == TARGET_CHECKING) {
        set_state(t, TARGET_CHECKING, reason);
    } else if (t->failed >= class->check_fall) {
        set_state(t, TARGET_UNHEALTHY, reason);
    }
}

static void probe_done(void *arg, const struct http_answer *answer)
{
    struct direct_target *t = arg;
    char reason[64];
    t->probe = NULL;
    if (answer->error.code != ERR_NONE)
        mem_copy_string(reason, sizeof(reason), error_name(answer->error.code));
    else
        snprintf(reason, sizeof(reason), "HTTP %d", answer->status);
    judge(t, answer->error.code == ERR_NONE && answer->status == 200, reason);
    timer_arm(&t->timer, next_wait(t));
}

static void start_probe(void *arg)
{
    struct direct_target *t = arg;
    bool v6 = strchr(t->ip, ':') != NULL;
    char url[96];
    snprintf(url, sizeof(url), v6 ? "http://[%s]:%u/health" : "http://%s:%u/health", t->ip,
             t->port);
    struct http_request request = {
        .method = "GET",
        .url = url,
        .connect_timeout_ms = PROBE_TIMEOUT_MS,
        .first_byte_timeout_ms = PROBE_TIMEOUT_MS,
        .total_timeout_ms = PROBE_TIMEOUT_MS,
        .max_answer = 65536,
    };
    t->probe = http_start(t->b->share, &request, probe_done, t);
}

static struct direct_target *find(struct balancer *b, const char *id)
{
    struct direct_target *t;
    HASH_FIND_STR(b->targets, id, t);
    return t;
}

static struct direct_target *enter(struct balancer *b, const struct target *target)
{
    struct direct_target *t = mem_alloc(sizeof(*t));
    t->b = b;
    mem_copy_string(t->id, sizeof(t->id), target->id);
    mem_copy_string(t->ip, sizeof(t->ip), target->ip);
    t->port = target->port;
    t->wait_ms = FIRST_WAIT_MS;
    timer_init(&t->timer, b->env.loop, start_probe, t);
    timer_arm(&t->timer, 0);
    HASH_ADD_STR(b->targets, id, t);
    return t;
}

static void forget(struct direct_target *t)
{
    if (t->probe != NULL)
        http_cancel(t->probe);
    timer_stop(&t->timer);
    t->b->healthy -= (t->told.state == TARGET_HEALTHY);
    HASH_DEL(t->b->targets, t);
    free(t);
}

static void direct_add(struct balancer *b, const struct target *target, balancer_done_fn *done,
                       void *arg)
{
    struct error e = {.code = ERR_NONE};
    struct direct_target *t = find(b, target->id);
    if (strlen(target->id) >= KEY_SIZE)
        error_set(&e, ERR_INVALID, "target id is longer than %d characters", KEY_SIZE - 1);
    else if (t == NULL)
        t = enter(b, target);
    else if (t->port != target->port || strcmp(t->ip, target->ip) != 0)
        error_set(&e, ERR_CONFLICT, "target %s is registered with another address", t->id);
    later_finish(&b->later, done, arg, &e);
    if (e.code == ERR_NONE && t->told.state == TARGET_UNKNOWN)
        set_state(t, TARGET_CHECKING, "registered");
}

static void direct_adopt(struct balancer *b, const struct target *target)
{
    if (find(b, target->id) == NULL && strlen(target->id) < KEY_SIZE)
        enter(b, target);
}

static void direct_remove(struct balancer *b, const struct target *target,
                          balancer_done_fn *done, void *arg)
{
    struct direct_target *t = find(b, target->id);
    if (t != NULL)
        forget(t);
    later_finish(&b->later, done, arg, NULL);
    later_tell(&b->later, &b->env, target->id, TARGET_GONE, "removed");
}

struct listing {
    struct balancer *b;
    balancer_each_fn *each;
    balancer_done_fn *done;
    void *arg;
};

static void give_listing(void *payload)
{
    struct listing *l = payload;
    struct direct_target *t, *next;
    HASH_ITER (hh, l->b->targets, t, next) {
        struct target target = {.id = t->id, .ip = t->ip, .port = t->port};
        l->each(l->arg, &target, t->told.state);
    }
    l->done(l->arg, NULL);
}

static void direct_list(struct balancer *b, balancer_each_fn *each, balancer_done_fn *done,
                        void *arg)
{
    struct listing *l = later_call(&b->later, give_listing, sizeof(*l));
    *l = (struct listing){.b = b, .each = each, .done = done, .arg = arg};
}

static struct balancer *direct_open(const struct balancer_env *env, struct error *e)
{
    struct balancer *b = mem_alloc(sizeof(*b));
    (void)e;
    b->env = *env;
    b->share = http_share_new(env->client, 0);
    later_init(&b->later, env->loop);
    return b;
}

static void direct_close(struct balancer *b)
{
    struct direct_target *t, *next;
    HASH_ITER (hh, b->targets, t, next)
        forget(t);
    later_drop(&b->later);
    http_share_free(b->share);
    free(b);
}

static bool direct_sweeps(const struct balancer *b)
{
    (void)b;
    return false;
}

static size_t direct_groups(const struct balancer *b)
{
    (void)b;
    return 1;
}

static size_t direct_group_of(const struct balancer *b, const char *id)
{
    (void)b;
    (void)id;
    return 0;
}

static const char *direct_group_name(const struct balancer *b, size_t group)
{
    (void)b;
    (void)group;
    return "";
}

static size_t direct_nodes(const struct balancer *b, size_t group,
                           const struct balancer_node **nodes)
{
    (void)b;
    (void)group;
    *nodes = NULL;
    return 0;
}

static size_t direct_healthy(const struct balancer *b, size_t group)
{
    (void)group;
    return b->healthy;
}

static json_t *direct_status(struct balancer *b)
{
    return json_pack("{s:s, s:I, s:I}", "name", "direct", "targets",
                     (json_int_t)HASH_COUNT(b->targets), "healthy", (json_int_t)b->healthy);
}

const struct balancer_ops balancer_direct = {
    .name = "direct",
    .sweeps = direct_sweeps,
    .open = direct_open,
    .close = direct_close,
    .add = direct_add,
    .adopt = direct_adopt,
    .remove = direct_remove,
    .list = direct_list,
    .groups = direct_groups,
    .group_of = direct_group_of,
    .group_name = direct_group_name,
    .nodes = direct_nodes,
    .healthy = direct_healthy,
    .status = direct_status,
};
