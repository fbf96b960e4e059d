/* HAProxy's Runtime API (management guide 9.3; `add server` needs HAProxy 2.4 or later).
 *
 * Nothing here waits for the answer to one command. Each node is asked in turn; the question
 * carries whatever brings the node, as its last listing showed it, one step closer to what we
 * want, and ends with a fresh listing. So a lost answer, a repeated command and a HAProxy that
 * restarted and forgot its servers are all the same case: the next listing shows what is
 * missing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/balancer.h"
#include "driver/haproxy_node.h"
#include "driver/haproxy_step.h"
#include "driver/later.h"
#include "driver/runtime.h"

#define BUSY_MS 200 /* between questions while something changes */
#define HURRY_MS 10 /* when a listing shows that the next step can be taken */

/* Somebody who waits for add or remove to be accepted. */
struct waiter {
    balancer_done_fn *done;
    void *arg;
    int64_t deadline_ms;
    STAILQ_ENTRY(waiter) entry;
};

/* What was asked of one node, and whether its listing is newer than the wish. */
struct mark {
    enum haproxy_step step;
    bool asked, fresh;
};

struct haproxy_target {
    char id[KEY_SIZE];
    char ip[46];
    uint16_t port;
    bool leaving, quiet; /* quiet: its add failed; what is left of it goes without a word */
    int64_t leaving_ms;
    struct told told;
    STAILQ_HEAD(, waiter) waiters;
    UT_hash_handle hh;
    struct mark at[]; /* by node */
};

struct listing {
    struct balancer *b;
    balancer_each_fn *each;
    balancer_done_fn *done;
    void *arg;
    int64_t deadline_ms;
    TAILQ_ENTRY(listing) entry;
    struct mark at[];
};

struct balancer {
    struct balancer_env env;
    char *prefix, *group_name; /* prefix: "OWNER." */
    struct balancer_node *ways;
    size_t node_count;
    struct haproxy_node *nodes;
    struct haproxy_target *targets;
    TAILQ_HEAD(, listing) listings;
    struct later later;
};

/* ---- targets ---- */

static void set_state(struct balancer *b, struct haproxy_target *t, enum target_state state,
                      const char *reason)
{
    if (later_is_news(&t->told, state, reason))
        later_tell(&b->later, &b->env, t->id, state, reason);
}

static void finish_waiters(struct balancer *b, struct haproxy_target *t, const struct error *e)
{
    struct waiter *w;
    while ((w = STAILQ_FIRST(&t->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&t->waiters, entry);
        later_finish(&b->later, w->done, w->arg, e);
        free(w);
    }
}

static struct haproxy_target *find(struct balancer *b, const char *id)
{
    struct haproxy_target *t;
    HASH_FIND_STR(b->targets, id, t);
    return t;
}

static struct haproxy_target *enter(struct balancer *b, const char *id)
{
    struct haproxy_target *t = mem_alloc(sizeof(*t) + b->node_count * sizeof(t->at[0]));
    mem_copy_string(t->id, sizeof(t->id), id);
    STAILQ_INIT(&t->waiters);
    HASH_ADD_STR(b->targets, id, t);
    return t;
}

static void forget(struct balancer *b, struct haproxy_target *t)
{
    struct waiter *w;
    while ((w = STAILQ_FIRST(&t->waiters)) != NULL) {
        STAILQ_REMOVE_HEAD(&t->waiters, entry);
        free(w);
    }
    HASH_DEL(b->targets, t);
    free(t);
}

static void hurry(struct balancer *b)
{
    for (size_t i = 0; i < b->node_count; i++)
        haproxy_node_hurry(&b->nodes[i], 0);
}

/* The wish for it changed: what was asked and seen before says nothing about the new one. */
static void start_over(struct balancer *b, struct haproxy_target *t)
{
    memset(t->at, 0, b->node_count * sizeof(t->at[0]));
    hurry(b);
}

static void await(struct balancer *b, struct haproxy_target *t, balancer_done_fn *done,
                  void *arg)
{
    struct waiter *w = mem_alloc(sizeof(*w));
    w->done = done;
    w->arg = arg;
    w->deadline_ms = loop_now_ms(b->env.loop) + b->env.class->step_timeout_s * 1000;
    STAILQ_INSERT_TAIL(&t->waiters, w, entry);
}

static bool same_address(const struct haproxy_target *t, const char *ip, uint16_t port)
{
    return t->port == port && strcmp(t->ip, ip) == 0;
}

static void leave(struct balancer *b, struct haproxy_target *t)
{
    t->leaving = true;
    t->leaving_ms = loop_now_ms(b->env.loop);
    start_over(b, t);
}

/* ---- commands to one node ---- */

static struct haproxy_wish wish_for(struct balancer *b, const struct haproxy_target *t)
{
    return (struct haproxy_wish){
        .id = t->id,
        .ip = t->ip,
        .port = t->port,
        .leaving = t->leaving,
        .leaving_for_ms = t->leaving ? loop_now_ms(b->env.loop) - t->leaving_ms : 0,
    };
}

static enum haproxy_step next_step(struct balancer *b, const struct haproxy_node *n,
                                   const struct haproxy_target *t)
{
    if (!n->known)
        return STEP_NONE; /* its first listing tells */
    struct haproxy_wish wish = wish_for(b, t);
    return haproxy_step_next(b->env.class, &wish, haproxy_state_find(&n->state, t->id));
}

/* Fills the question; what finds no room stays for the next one. */
static void write_commands(void *arg, struct haproxy_node *n, struct buf *out)
{
    struct balancer *b = arg;
    const char *key = b->env.class->dynamic_cookie_key, *be = b->env.class->haproxy_backend;
    struct haproxy_target *t, *next;
    struct listing *l;
    bool added = false;
    int64_t last_id = n->state.largest_id;
    TAILQ_FOREACH (l, &b->listings, entry)
        l->at[n->index].asked = true;
    HASH_ITER (hh, b->targets, t, next) {
        struct mark *m = &t->at[n->index];
        m->asked =
            out->len < HAPROXY_QUESTION_MAX - 2048; /* room for a pair of long commands */
        m->step = m->asked ? next_step(b, n, t) : STEP_NONE;
        added |= m->step == STEP_ADD;
        struct haproxy_wish wish = wish_for(b, t);
        haproxy_step_write(b->env.class, &wish, m->step, &last_id, out);
    }
    if (added && *key != '\0') /* a new server has no cookie before the key is set again */
        buf_printf(out,
                   "set dynamic-cookie-key backend %s %s;enable dynamic-cookie backend %s;", be,
                   key, be);
}

/* ---- what the listings mean ---- */

struct view {
    size_t looked, listed, rotating,
        waiting; /* nodes; waiting: checks go on, not enabled yet */
    bool unknown, conflict;
    const char *reason;
};

static void view_server(const struct haproxy_target *t, const struct haproxy_server *s,
                        struct view *v)
{
    if (s == NULL) {
        v->reason = "missing";
    } else if (!same_address(t, s->ip, s->port)) {
        v->conflict = true;
        v->reason = "other address";
    } else {
        v->listed++;
        v->rotating += s->rotating;
        v->waiting += s->maint && !s->paused;
        if (!s->rotating)
            v->reason = s->maint && s->paused ? "maintenance" : s->check;
        else if (v->reason == NULL)
            v->reason = s->check;
    }
}

static struct view view_target(struct balancer *b, const struct haproxy_target *t)
{
    struct view v = {0};
    for (size_t i = 0; i < b->node_count; i++) {
        const struct haproxy_node *n = &b->nodes[i];
        v.unknown |= !n->away && !n->known;
        if (!n->known)
            continue;
        v.looked++;
        view_server(t, haproxy_state_find(&n->state, t->id), &v);
    }
    if (v.reason == NULL)
        v.reason = "no answer";
    return v;
}

static enum target_state state_of(const struct haproxy_target *t, const struct view *v)
{
    if (v->looked > 0 && v->rotating == v->looked)
        return TARGET_HEALTHY;
    bool put_in = v->looked > 0 && v->rotating + v->waiting == v->looked;
    if (t->told.state == TARGET_CHECKING || put_in)
        return TARGET_CHECKING;
    return TARGET_UNHEALTHY;
}

/* Who waited too long is told the problem of a node that has one. */
static void expire_waiters(struct balancer *b, struct haproxy_target *t, const char *what)
{
    struct waiter *w;
    struct error e;
    const char *why = "";
    for (size_t i = 0; i < b->node_count; i++) {
        if (b->nodes[i].problem.code != ERR_NONE)
            why = b->nodes[i].problem.message;
    }
    while ((w = STAILQ_FIRST(&t->waiters)) != NULL &&
           loop_now_ms(b->env.loop) >= w->deadline_ms) {
        STAILQ_REMOVE_HEAD(&t->waiters, entry);
        error_set(&e, ERR_TIMEOUT, "HAProxy did not %s the server in time%s%s", what,
                  *why == '\0' ? "" : ": ", why);
        e.of_engine = true;
        later_finish(&b->later, w->done, w->arg, &e);
        free(w);
    }
}

/* The add failed: whatever some node may hold of it is taken away again. */
static void give_up(struct balancer *b, struct haproxy_target *t, const struct error *e)
{
    finish_waiters(b, t, e);
    t->quiet = true;
    leave(b, t);
}

static void look_wanted(struct balancer *b, struct haproxy_target *t)
{
    struct view v = view_target(b, t);
    struct error e;
    if (!STAILQ_EMPTY(&t->waiters) && v.conflict) {
        error_set(&e, ERR_CONFLICT, "HAProxy lists server %s with another address", t->id);
        finish_waiters(b, t, &e);
        forget(b, t); /* it is not what we added: nothing of it is touched */
        return;
    }
    bool accepted = !v.unknown && v.looked > 0 && v.listed == v.looked;
    if (!STAILQ_EMPTY(&t->waiters) && !accepted) {
        expire_waiters(b, t, "add");
        if (STAILQ_EMPTY(&t->waiters))
            give_up(b, t, NULL);
        return;
    }
    if (!STAILQ_EMPTY(&t->waiters)) {
        finish_waiters(b, t, NULL);
        if (t->told.state == TARGET_UNKNOWN)
            set_state(b, t, TARGET_CHECKING, "registered");
    }
    if (!v.unknown)
        set_state(b, t, state_of(t, &v), v.reason);
}

static void look_leaving(struct balancer *b, struct haproxy_target *t)
{
    bool unknown = false, serving = false, listed = false;
    for (size_t i = 0; i < b->node_count; i++) {
        const struct haproxy_node *n = &b->nodes[i];
        if (n->dead)
            continue;
        unknown |= !n->known || !t->at[i].fresh;
        const struct haproxy_server *s = n->known ? haproxy_state_find(&n->state, t->id) : NULL;
        listed |= s != NULL;
        serving |= s != NULL && !s->maint;
    }
    if (unknown || serving) {
        expire_waiters(b, t, "take out");
        return;
    }
    finish_waiters(b, t, NULL);
    if (listed)
        return;
    if (!t->quiet)
        set_state(b, t, TARGET_GONE, "deleted");
    forget(b, t);
}

static bool ours(const struct balancer *b, const char *name)
{
    return strncmp(name, b->prefix, strlen(b->prefix)) == 0 && strlen(name) < KEY_SIZE;
}

/* ---- listing ---- */

static enum target_state stranger_state(const struct haproxy_server *s)
{
    if (s->rotating)
        return TARGET_HEALTHY;
    return s->maint && !s->paused ? TARGET_CHECKING : TARGET_UNHEALTHY;
}

static bool listed_before(const struct balancer *b, size_t node, const char *name)
{
    for (size_t i = 0; i < node; i++) {
        if (haproxy_state_find(&b->nodes[i].state, name) != NULL)
            return true;
    }
    return false;
}

static void give_listing(void *payload)
{
    struct listing *l = payload;
    struct balancer *b = l->b;
    for (size_t i = 0; i < b->node_count; i++) {
        const struct haproxy_state *state = &b->nodes[i].state;
        for (size_t k = 0; k < state->count; k++) {
            const struct haproxy_server *s = &state->servers[k];
            if (!ours(b, s->name) || listed_before(b, i, s->name))
                continue;
            const struct haproxy_target *t = find(b, s->name);
            struct target target = {.id = s->name, .ip = s->ip, .port = s->port};
            l->each(l->arg, &target,
                    t != NULL && t->told.state != TARGET_UNKNOWN ? t->told.state
                                                                 : stranger_state(s));
        }
    }
    l->done(l->arg, NULL);
}

static void end_listing(struct balancer *b, struct listing *l, const struct error *e)
{
    if (e != NULL) {
        later_finish(&b->later, l->done, l->arg, e);
    } else {
        struct listing *copy = later_call(&b->later, give_listing, sizeof(*copy));
        copy->b = b;
        copy->each = l->each;
        copy->done = l->done;
        copy->arg = l->arg;
    }
    TAILQ_REMOVE(&b->listings, l, entry);
    free(l);
}

static void look_listing(struct balancer *b, struct listing *l)
{
    struct error e;
    const struct haproxy_node *silent = NULL;
    size_t dead = 0;
    for (size_t i = 0; i < b->node_count; i++) {
        const struct haproxy_node *n = &b->nodes[i];
        dead += n->dead;
        if (!n->dead && !(n->known && l->at[i].fresh))
            silent = n;
    }
    if (dead == b->node_count)
        error_set(&e, ERR_CONNECT, "no HAProxy answers: %s", b->nodes[0].problem.message);
    else if (silent != NULL && loop_now_ms(b->env.loop) >= l->deadline_ms)
        error_set(&e, ERR_TIMEOUT, "HAProxy at %s did not answer: %s", silent->socket,
                  silent->problem.message);
    else if (silent != NULL)
        return;
    else
        e.code = ERR_NONE;
    end_listing(b, l, e.code == ERR_NONE ? NULL : &e);
}

/* ---- after each answer ---- */

static void fail_refused_adds(struct balancer *b, const struct haproxy_node *n,
                              const struct error *refusal)
{
    struct haproxy_target *t, *next;
    HASH_ITER (hh, b->targets, t, next) {
        if (!t->leaving && !STAILQ_EMPTY(&t->waiters) && t->at[n->index].asked &&
            t->at[n->index].step == STEP_ADD && haproxy_state_find(&n->state, t->id) == NULL)
            give_up(b, t, refusal);
    }
}

static void note_answer(struct balancer *b, const struct haproxy_node *n, bool answered)
{
    struct haproxy_target *t, *next;
    struct listing *l;
    size_t i = n->index;
    HASH_ITER (hh, b->targets, t, next) {
        t->at[i].fresh |= answered && t->at[i].asked;
        t->at[i].asked = false;
    }
    TAILQ_FOREACH (l, &b->listings, entry) {
        l->at[i].fresh |= answered && l->at[i].asked;
        l->at[i].asked = false;
    }
}

static void look(struct balancer *b)
{
    struct haproxy_target *t, *next;
    struct listing *l, *following;
    HASH_ITER (hh, b->targets, t, next) {
        if (t->leaving)
            look_leaving(b, t);
        else
            look_wanted(b, t);
    }
    for (l = TAILQ_FIRST(&b->listings); l != NULL; l = following) {
        following = TAILQ_NEXT(l, entry);
        look_listing(b, l);
    }
}

/* A step that was not asked yet goes out at once; while things change, questions come often. */
static int64_t next_wait(struct balancer *b, const struct haproxy_node *n)
{
    struct haproxy_target *t, *next;
    int64_t calm = b->env.class->check_interval_ms;
    int64_t busy = calm < BUSY_MS ? calm : BUSY_MS;
    bool changing = !TAILQ_EMPTY(&b->listings);
    HASH_ITER (hh, b->targets, t, next) {
        enum haproxy_step step = next_step(b, n, t);
        bool anew = t->leaving && !t->at[n->index].fresh;
        if (n->known && (anew || (step != STEP_NONE && step != t->at[n->index].step)))
            return HURRY_MS;
        changing |= t->leaving || step != STEP_NONE || t->told.state == TARGET_CHECKING ||
                    t->told.state == TARGET_UNKNOWN;
    }
    return changing ? busy : calm;
}

static int64_t node_answered(void *arg, struct haproxy_node *n, bool answered,
                             const struct error *refusal)
{
    struct balancer *b = arg;
    if (answered && refusal->code != ERR_NONE)
        fail_refused_adds(b, n, refusal);
    note_answer(b, n, answered);
    look(b);
    return next_wait(b, n);
}

/* ---- ops ---- */

/* Only our owner's names, and only what is safe as words of a command. */
static bool check_id(struct balancer *b, const char *id, struct error *e)
{
    if (ours(b, id) && haproxy_name_valid(id))
        return true;
    error_set(e, ERR_INVALID, "\"%s\" is no server name of ours", id);
    return false;
}

static void haproxy_add(struct balancer *b, const struct target *target, balancer_done_fn *done,
                        void *arg)
{
    struct error e = {.code = ERR_NONE};
    if (check_id(b, target->id, &e) && !haproxy_name_valid(target->ip))
        error_set(&e, ERR_INVALID, "\"%s\" is no address", target->ip);
    struct haproxy_target *t = e.code == ERR_NONE ? find(b, target->id) : NULL;
    if (t != NULL && t->leaving && !t->quiet)
        error_set(&e, ERR_CONFLICT, "target %s is being removed", t->id);
    else if (t != NULL && !t->leaving && !same_address(t, target->ip, target->port))
        error_set(&e, ERR_CONFLICT, "target %s is registered with another address", t->id);
    if (e.code != ERR_NONE) {
        later_finish(&b->later, done, arg, &e);
        return;
    }
    if (t == NULL)
        t = enter(b, target->id);
    t->leaving = t->quiet = false;
    mem_copy_string(t->ip, sizeof(t->ip), target->ip);
    t->port = target->port;
    await(b, t, done, arg);
    start_over(b, t);
}

static void haproxy_adopt(struct balancer *b, const struct target *target)
{
    struct error e;
    if (!check_id(b, target->id, &e)) {
        log_error("haproxy.adopt", KV("target", target->id), KV("reason", e.message));
        return;
    }
    if (find(b, target->id) != NULL)
        return;
    struct haproxy_target *t = enter(b, target->id);
    mem_copy_string(t->ip, sizeof(t->ip), target->ip);
    t->port = target->port;
    hurry(b);
}

static void haproxy_remove(struct balancer *b, const struct target *target,
                           balancer_done_fn *done, void *arg)
{
    const char *id = target->id;
    struct error e = {.code = ERR_NONE};
    if (!check_id(b, id, &e)) {
        later_finish(&b->later, done, arg, &e);
        return;
    }
    struct haproxy_target *t = find(b, id);
    if (t == NULL)
        t = enter(b, id);
    if (!t->leaving) {
        error_set(&e, ERR_CANCELLED, "the target was removed meanwhile");
        finish_waiters(b, t, &e);
        leave(b, t);
    }
    t->quiet = false;
    await(b, t, done, arg);
}

static void haproxy_list(struct balancer *b, balancer_each_fn *each, balancer_done_fn *done,
                         void *arg)
{
    struct listing *l = mem_alloc(sizeof(*l) + b->node_count * sizeof(l->at[0]));
    l->each = each;
    l->done = done;
    l->arg = arg;
    l->deadline_ms = loop_now_ms(b->env.loop) + b->env.class->step_timeout_s * 1000;
    TAILQ_INSERT_TAIL(&b->listings, l, entry);
    hurry(b);
}

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

static bool check_class(const struct class *c, struct error *e)
{
    size_t sockets = count(c->haproxy_sockets);
    if (sockets == 0)
        error_set(e, ERR_CONFIG, "balancer haproxy needs haproxy_sockets");
    else if (count(c->haproxy_urls) != sockets)
        error_set(e, ERR_CONFIG, "haproxy_urls must name one URL for each of haproxy_sockets");
    else if (!haproxy_name_valid(c->haproxy_backend))
        error_set(e, ERR_CONFIG, "haproxy_backend \"%s\" is no name of a backend",
                  c->haproxy_backend);
    else if (*c->dynamic_cookie_key != '\0' && !haproxy_name_valid(c->dynamic_cookie_key))
        error_set(e, ERR_CONFIG,
                  "dynamic_cookie_key may consist of letters, digits and ._:- only");
    else
        return true;
    return false;
}

static struct balancer *haproxy_open(const struct balancer_env *env, struct error *e)
{
    if (!check_class(env->class, e))
        return NULL;
    struct balancer *b = mem_alloc(sizeof(*b));
    b->env = *env;
    b->prefix = mem_printf("%s.", env->owner);
    b->node_count = count(env->class->haproxy_sockets);
    b->nodes = mem_array(b->node_count, sizeof(*b->nodes));
    b->ways = mem_array(b->node_count, sizeof(*b->ways));
    for (size_t i = 0; i < b->node_count; i++)
        b->ways[i].url = env->class->haproxy_urls[i];
    b->group_name =
        mem_printf("haproxy %s %s", b->node_count > 0 ? env->class->haproxy_sockets[0] : "",
                   env->class->haproxy_backend);
    TAILQ_INIT(&b->listings);
    later_init(&b->later, env->loop);
    for (size_t i = 0; i < b->node_count; i++) {
        b->nodes[i] = (struct haproxy_node){
            .loop = env->loop,
            .socket = env->class->haproxy_sockets[i],
            .backend = env->class->haproxy_backend,
            .write = write_commands,
            .read = node_answered,
            .arg = b,
            .index = i,
        };
        haproxy_node_start(&b->nodes[i]);
    }
    return b;
}

static void haproxy_close(struct balancer *b)
{
    struct haproxy_target *t, *next;
    struct listing *l;
    for (size_t i = 0; i < b->node_count; i++)
        haproxy_node_stop(&b->nodes[i]);
    HASH_ITER (hh, b->targets, t, next)
        forget(b, t);
    while ((l = TAILQ_FIRST(&b->listings)) != NULL) {
        TAILQ_REMOVE(&b->listings, l, entry);
        free(l);
    }
    later_drop(&b->later);
    free(b->nodes);
    free(b->ways);
    free(b->group_name);
    free(b->prefix);
    free(b);
}

static bool haproxy_sweeps(const struct balancer *b)
{
    (void)b;
    return true;
}

static size_t haproxy_groups(const struct balancer *b)
{
    (void)b;
    return 1;
}

static size_t haproxy_group_of(const struct balancer *b, const char *id)
{
    (void)b;
    (void)id;
    return 0;
}

static const char *haproxy_group_name(const struct balancer *b, size_t group)
{
    (void)group;
    return b->group_name;
}

static size_t haproxy_nodes(const struct balancer *b, size_t group,
                            const struct balancer_node **ways)
{
    (void)group;
    *ways = b->ways;
    return b->node_count;
}

static size_t haproxy_healthy(const struct balancer *b, size_t group)
{
    (void)group;
    size_t most = 0;
    for (size_t i = 0; i < b->node_count; i++) {
        if (b->nodes[i].state.rotating > most)
            most = b->nodes[i].state.rotating;
    }
    return most;
}

static json_t *node_status(const struct haproxy_node *n)
{
    json_t *o =
        json_pack("{s:s, s:b, s:I}", "socket", n->socket, "answers",
                  n->known && n->failing_since_ms == 0, "servers", (json_int_t)n->state.count);
    if (n->problem.code != ERR_NONE)
        json_object_set_new(o, "problem", json_string(n->problem.message));
    if (n->state.shallow_checks)
        json_object_set_new(
            o, "warning",
            json_string("checks only connect: the backend has no option httpchk"));
    return o;
}

static json_t *haproxy_status(struct balancer *b)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < b->node_count; i++)
        json_array_append_new(nodes, node_status(&b->nodes[i]));
    return json_pack("{s:s, s:s, s:I, s:I, s:o}", "name", "haproxy", "backend",
                     b->env.class->haproxy_backend, "targets",
                     (json_int_t)HASH_COUNT(b->targets), "healthy",
                     (json_int_t)haproxy_healthy(b, 0), "nodes", nodes);
}

const struct balancer_ops balancer_haproxy = {
    .name = "haproxy",
    .sweeps = haproxy_sweeps,
    .open = haproxy_open,
    .close = haproxy_close,
    .add = haproxy_add,
    .adopt = haproxy_adopt,
    .remove = haproxy_remove,
    .list = haproxy_list,
    .groups = haproxy_groups,
    .group_of = haproxy_group_of,
    .group_name = haproxy_group_name,
    .nodes = haproxy_nodes,
    .healthy = haproxy_healthy,
    .status = haproxy_status,
};
