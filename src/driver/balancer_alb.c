/* Target groups of an AWS Application Load Balancer. Targets there carry no names, only
 * addresses: who holds which is known here, and after a restart from the rows of the caller;
 * what nobody holds in a target group of ours is an orphan. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "driver/alb_balancer.h"

/* ---- add, adopt, remove ---- */

static bool check_target(const struct target *target, struct error *e)
{
    struct in6_addr address;
    if (strlen(target->id) >= KEY_SIZE)
        error_set(e, ERR_INVALID, "target id is longer than %d characters", KEY_SIZE - 1);
    else if (target->port == 0 || (inet_pton(AF_INET, target->ip, &address) != 1 &&
                                   inet_pton(AF_INET6, target->ip, &address) != 1))
        error_set(e, ERR_INVALID, "target %s has no address: %s port %u", target->id,
                  target->ip, target->port);
    else
        return true;
    return false;
}

static void set_address(struct alb_holder *h, const struct target *target)
{
    mem_copy_string(h->ip, sizeof(h->ip), target->ip);
    h->port = target->port;
}

static bool may_add(const struct alb_holder *h, const struct target *target, struct error *e)
{
    if (!check_target(target, e))
        return false;
    if (h != NULL && h->leaving)
        error_set(e, ERR_CONFLICT, "target %s is being removed", h->id);
    else if (h != NULL && *h->ip != '\0' &&
             (h->port != target->port || strcmp(h->ip, target->ip) != 0))
        error_set(e, ERR_CONFLICT, "target %s is registered with another address", h->id);
    else
        return true;
    return false;
}

static void alb_add(struct balancer *b, const struct target *target, balancer_done_fn *done,
                    void *arg)
{
    struct error e;
    struct alb_holder *h = alb_holder_find(b, target->id);
    if (!may_add(h, target, &e)) {
        later_finish(&b->later, done, arg, &e);
        return;
    }
    if (h != NULL && h->wanted) {
        later_finish(&b->later, done, arg, NULL);
        return;
    }
    if (h == NULL)
        h = alb_holder_new(b, target->id);
    set_address(h, target);
    alb_bind(b, h, target);
    alb_holder_await(h, done, arg);
    if (h->target == NULL)
        alb_place(b, h);
    else
        alb_change_want(h->target, ALB_REGISTER);
}

static void alb_adopt(struct balancer *b, const struct target *target)
{
    struct error e;
    struct alb_holder *h = alb_holder_find(b, target->id);
    if (!may_add(h, target, &e)) {
        log_error("alb.adopt", KV("target", target->id), KV("error", e.message));
        return;
    }
    if (h != NULL && *h->ip != '\0')
        return;
    if (h == NULL)
        h = alb_holder_new(b, target->id);
    set_address(h, target);
    alb_bind(b, h, target);
    h->adopted = true;
    alb_place(b, h);
}

/* The target that a made-up name means, when nobody holds it. */
static struct alb_target *find_orphan(const struct balancer *b, const char *id)
{
    char ip[46];
    size_t owner = strlen(b->env.owner);
    const char *colon = strrchr(id, ':');
    if (strncmp(id, b->env.owner, owner) != 0 ||
        strncmp(id + owner, TARGET_NAMELESS, strlen(TARGET_NAMELESS)) != 0 || colon == NULL)
        return NULL;
    const char *from = id + owner + strlen(TARGET_NAMELESS);
    if (colon < from || (size_t)(colon - from) >= sizeof(ip))
        return NULL;
    snprintf(ip, sizeof(ip), "%.*s", (int)(colon - from), from);
    uint16_t port = (uint16_t)strtoul(colon + 1, NULL, 10);
    for (size_t i = 0; i < b->count; i++) {
        struct alb_target *t = alb_target_find(&b->groups[i], ip, port);
        if (t != NULL && t->holder == NULL && t->listed && b->groups[i].owner == ALB_OWNER_OURS)
            return t;
    }
    return NULL;
}

static void await_orphans(struct balancer *b, balancer_done_fn *done, void *arg)
{
    struct alb_waiter *w = mem_alloc(sizeof(*w));
    w->done = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&b->strangers, w, entry);
}

/* Its address went to another holder, or it ended in an earlier life: then an orphan on its way
 * out may be it. */
static void remove_unknown(struct balancer *b, const char *id, balancer_done_fn *done,
                           void *arg)
{
    if (alb_orphans_leaving(b))
        await_orphans(b, done, arg);
    else
        later_finish(&b->later, done, arg, NULL);
    later_tell(&b->later, &b->env, id, TARGET_GONE, "not held");
}

/* Registered by an earlier life of the coordinator, which has not said so since: the listing
 * tells where. */
static void remove_former(struct balancer *b, const struct target *target,
                          balancer_done_fn *done, void *arg)
{
    struct error e;
    struct alb_holder *h = alb_holder_find(b, target->id);
    error_set(&e, ERR_CANCELLED, "the target was removed meanwhile");
    if (h == NULL)
        h = alb_holder_new(b, target->id);
    if (*h->ip == '\0')
        set_address(h, target);
    if (!h->leaving)
        alb_holder_finish(b, h, &e);
    h->leaving = true;
    alb_holder_await(h, done, arg);
    alb_start(b);
    alb_part(b, h);
}

static void alb_remove(struct balancer *b, const struct target *target, balancer_done_fn *done,
                       void *arg)
{
    struct error e;
    const char *id = target->id;
    struct alb_holder *h = alb_holder_find(b, id);
    struct alb_target *orphan = h == NULL ? find_orphan(b, id) : NULL;
    if (orphan != NULL) {
        h = alb_holder_new(b, id);
        mem_copy_string(h->ip, sizeof(h->ip), orphan->ip);
        h->port = orphan->port;
        h->orphan = true;
        alb_holder_take(b, h, orphan);
    }
    bool has_address =
        (h != NULL && *h->ip != '\0') || (target->ip != NULL && check_target(target, &e));
    if ((h == NULL || h->target == NULL) && has_address)
        remove_former(b, target, done, arg);
    else if (h != NULL)
        alb_holder_leave(b, h, done, arg);
    else
        remove_unknown(b, id, done, arg);
}

/* ---- what the groups report ---- */

static void on_owned(void *arg)
{
    struct balancer *b = arg;
    alb_place_all(b);
    alb_part_all(b);
    alb_look_lists(b);
}

static void on_looked(void *arg, struct alb_group *g)
{
    struct balancer *b = arg;
    alb_place_all(b);
    alb_part_all(b);
    if (g->look_problem.code == ERR_NONE)
        alb_holders_judge(b, g);
    alb_look_lists(b);
    alb_holders_schedule(b, g);
}

static void on_changed(void *arg, struct alb_target *t, enum alb_wish wish,
                       const struct error *e)
{
    alb_holder_changed(arg, t, wish, e);
}

/* ---- beginning and end ---- */

static size_t count(char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

static bool check_class(const struct class *c, struct error *e)
{
    size_t groups = count(c->alb_target_groups), urls = count(c->alb_urls);
    for (size_t i = 0; i < groups; i++) {
        if (alb_is_target_group(c->alb_target_groups[i]))
            continue;
        error_set(e, ERR_CONFIG, "alb_target_groups: \"%s\" is no ARN of a target group",
                  c->alb_target_groups[i]);
        return false;
    }
    if (groups == 0)
        error_set(e, ERR_CONFIG, "balancer alb needs alb_target_groups");
    else if (urls != 1 && urls != groups)
        error_set(e, ERR_CONFIG,
                  "alb_urls takes one URL, or one for each of alb_target_groups");
    else
        return true;
    return false;
}

static void open_group(struct balancer *b, size_t index, size_t urls)
{
    const struct class *c = b->env.class;
    struct alb_group *g = &b->groups[index];
    alb_group_init(g, &b->alb, c->alb_target_groups[index]);
    g->node.url = c->alb_urls[urls == 1 ? 0 : index];
    snprintf(g->number, sizeof(g->number), "%zu", index + 1);
    if (*c->alb_header != '\0')
        g->node.header = (struct http_header){c->alb_header, g->number};
}

static struct balancer *alb_open(const struct balancer_env *env, struct error *e)
{
    if (!check_class(env->class, e))
        return NULL;
    struct balancer *b = mem_alloc(sizeof(*b));
    b->env = *env;
    b->alb = (struct alb_env){.loop = env->loop,
                              .aws = env->aws,
                              .owner = env->owner,
                              .owned = on_owned,
                              .looked = on_looked,
                              .changed = on_changed,
                              .arg = b};
    b->count = count(env->class->alb_target_groups);
    b->groups = mem_array(b->count, sizeof(*b->groups));
    for (size_t i = 0; i < b->count; i++)
        open_group(b, i, count(env->class->alb_urls));
    alb_owners_init(&b->owners, &b->alb, b->groups, b->count);
    STAILQ_INIT(&b->strangers);
    TAILQ_INIT(&b->lists);
    TAILQ_INIT(&b->examinations);
    later_init(&b->later, env->loop);
    return b;
}

static void free_strangers(struct balancer *b)
{
    struct alb_waiter *w;
    while ((w = STAILQ_FIRST(&b->strangers)) != NULL) {
        STAILQ_REMOVE_HEAD(&b->strangers, entry);
        free(w);
    }
}

static void alb_close(struct balancer *b)
{
    struct alb_holder *h, *next;
    later_drop(&b->later);
    alb_examine_cancel(b);
    alb_forget_lists(b);
    free_strangers(b);
    HASH_ITER (hh, b->holders, h, next)
        alb_holder_free(b, h);
    alb_owners_release(&b->owners);
    for (size_t i = 0; i < b->count; i++)
        alb_group_release(&b->groups[i]);
    free(b->groups);
    free(b);
}

/* ---- what is asked of the groups ---- */

static bool alb_sweeps(const struct balancer *b)
{
    return b->env.class->alb_mode == ALB_SHARED;
}

static size_t alb_groups(const struct balancer *b)
{
    return b->count;
}

static size_t alb_group_of(const struct balancer *b, const char *id)
{
    const struct alb_holder *h = alb_holder_find(b, id);
    return h != NULL && h->group != NULL ? (size_t)(h->group - b->groups) : 0;
}

static bool alb_placed(const struct balancer *b, const char *id)
{
    const struct alb_holder *h = alb_holder_find(b, id);
    return h != NULL && h->target != NULL;
}

static const char *alb_group_name(const struct balancer *b, size_t group)
{
    return b->groups[group].arn;
}

static size_t alb_nodes(const struct balancer *b, size_t group,
                        const struct balancer_node **nodes)
{
    *nodes = &b->groups[group].node;
    return 1;
}

static size_t alb_healthy(const struct balancer *b, size_t group)
{
    return b->groups[group].healthy;
}

static json_t *group_status(const struct alb_group *g)
{
    static const char *const owners[] = {[ALB_OWNER_UNKNOWN] = "unknown",
                                         [ALB_OWNER_NONE] = "none",
                                         [ALB_OWNER_OURS] = "ours",
                                         [ALB_OWNER_OTHER] = "other"};
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:b}", "name", g->name, "arn", g->arn,
                          "ownership", owners[g->owner], "targets",
                          (json_int_t)HASH_COUNT(g->targets), "healthy", (json_int_t)g->healthy,
                          "reserved", (json_int_t)g->reserved, "fail_open", g->fail_open);
    if (*g->owner_name != '\0')
        json_object_set_new(o, "owner", json_string(g->owner_name));
    if (g->last.code != ERR_NONE)
        json_object_set_new(o, "last_error", json_string(g->last.message));
    return o;
}

static json_t *alb_status(struct balancer *b)
{
    json_t *groups = json_array();
    size_t targets = 0, healthy = 0;
    for (size_t i = 0; i < b->count; i++) {
        json_array_append_new(groups, group_status(&b->groups[i]));
        targets += HASH_COUNT(b->groups[i].targets);
        healthy += b->groups[i].healthy;
    }
    return json_pack("{s:s, s:s, s:I, s:I, s:o}", "name", "alb", "mode",
                     alb_sweeps(b) ? "shared" : "slot", "targets", (json_int_t)targets,
                     "healthy", (json_int_t)healthy, "target_groups", groups);
}

const struct balancer_ops balancer_alb = {
    .name = "alb",
    .open = alb_open,
    .close = alb_close,
    .sweeps = alb_sweeps,
    .reserve = alb_reserve,
    .unreserve = alb_unreserve,
    .add = alb_add,
    .adopt = alb_adopt,
    .remove = alb_remove,
    .list = alb_list,
    .groups = alb_groups,
    .group_of = alb_group_of,
    .placed = alb_placed,
    .group_name = alb_group_name,
    .nodes = alb_nodes,
    .healthy = alb_healthy,
    .status = alb_status,
    .examine = alb_examine,
};
