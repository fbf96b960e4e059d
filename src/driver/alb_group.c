#include "driver/alb_group.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define LOOK_TRIES 2

/* ---- targets ---- */

static void write_key(char *out, size_t size, const char *ip, uint16_t port)
{
    snprintf(out, size, "%s %u", ip, port);
}

struct alb_target *alb_target_find(const struct alb_group *g, const char *ip, uint16_t port)
{
    struct alb_target *t;
    char key[64];
    write_key(key, sizeof(key), ip, port);
    HASH_FIND_STR(g->targets, key, t);
    return t;
}

struct alb_target *alb_target_get(struct alb_group *g, const char *ip, uint16_t port)
{
    struct alb_target *t = alb_target_find(g, ip, port);
    if (t != NULL)
        return t;
    t = mem_alloc(sizeof(*t));
    t->group = g;
    t->port = port;
    t->most = ALB_TARGETS_PER_CALL;
    mem_copy_string(t->ip, sizeof(t->ip), ip);
    write_key(t->key, sizeof(t->key), ip, port);
    HASH_ADD_STR(g->targets, key, t);
    return t;
}

bool alb_target_settle(struct alb_target *t)
{
    if (t->holder != NULL || t->listed || t->wish != ALB_NOTHING || t->flying != ALB_NOTHING)
        return false;
    HASH_DEL(t->group->targets, t);
    free(t);
    return true;
}

bool alb_target_judgeable(const struct alb_target *t)
{
    return t->wish == ALB_NOTHING && t->flying == ALB_NOTHING &&
           t->group->looks_done >= t->judged_from;
}

/* ---- the listing ---- */

void alb_group_failed(struct alb_group *g, const char *what, const struct error *e)
{
    if (strcmp(g->last.message, e->message) != 0)
        log_warn("alb.failed", KV("target_group", g->name), KV("action", what),
                 KV("error", e->message));
    g->last = *e;
}

static void note_fail_open(struct alb_group *g)
{
    bool open = g->healthy == 0 && g->unhealthy > 0;
    if (open == g->fail_open)
        return;
    g->fail_open = open;
    if (open)
        log_warn(
            "alb.fail_open", KV("target_group", g->name), KI("unhealthy", g->unhealthy),
            KV("meaning", "no target is healthy: the load balancer routes to all of them"));
    else
        log_info("alb.fail_open_over", KV("target_group", g->name), KI("healthy", g->healthy));
}

static void take_seen(struct alb_group *g, const struct alb_seen *s)
{
    struct alb_target *t = alb_target_get(g, s->ip, s->port);
    g->healthy += s->health == ALB_HEALTHY;
    g->unhealthy += s->health == ALB_UNHEALTHY;
    if (g->looks < t->judged_from)
        return;
    t->listed = true;
    t->missing = 0;
    t->health = s->health;
    mem_copy_string(t->reason, sizeof(t->reason), s->reason);
}

static void take_listing(struct alb_group *g, const struct alb_listing *l)
{
    struct alb_target *t, *next;
    HASH_ITER (hh, g->targets, t, next) {
        if (g->looks < t->judged_from)
            continue;
        t->listed = false;
        t->missing++;
    }
    g->healthy = g->unhealthy = 0;
    for (size_t i = 0; i < l->count; i++)
        take_seen(g, &l->list[i]);
    g->known = true;
    note_fail_open(g);
}

static void looked(void *arg, const struct aws_answer *answer)
{
    struct alb_group *g = arg;
    struct alb_listing listing;
    struct error e = answer->error;
    g->look_call = NULL;
    if (e.code == ERR_NONE && alb_read_health(answer->body, answer->body_len, &listing, &e)) {
        take_listing(g, &listing);
        alb_listing_free(&listing);
    } else {
        if (e.code == ERR_PROTOCOL)
            e.code = ERR_REGISTER; /* who waits for the listing waits for the next one */
        alb_group_failed(g, "DescribeTargetHealth", &e);
    }
    g->look_problem = e;
    g->looks_done = g->looks;
    bool again = g->look_again;
    g->look_again = false;
    g->env->looked(g->env->arg, g);
    if (again)
        alb_group_look(g);
}

static void start_look(void *arg)
{
    struct alb_group *g = arg;
    struct buf form = {0};
    alb_form_add(&form, "TargetGroupArn", g->arn);
    struct aws_request request = {.service = AWS_ELB,
                                  .action = "DescribeTargetHealth",
                                  .body = form.data,
                                  .body_len = form.len,
                                  .tries = LOOK_TRIES};
    g->looks++;
    g->look_call = aws_start(g->env->aws, &request, looked, g);
    buf_free(&form);
}

void alb_group_look(struct alb_group *g)
{
    if (g->look_call != NULL) {
        g->look_again = true;
        return;
    }
    timer_stop(&g->look_timer);
    start_look(g);
}

void alb_group_look_in(struct alb_group *g, int64_t ms)
{
    if (g->look_call != NULL)
        return; /* its end asks again */
    if (!timer_armed(&g->look_timer) || g->look_timer.at_ms > loop_now_ms(g->env->loop) + ms)
        timer_arm(&g->look_timer, ms);
}

/* ---- beginning and end ---- */

void alb_group_init(struct alb_group *g, const struct alb_env *env, const char *arn)
{
    *g = (struct alb_group){.env = env, .arn = arn};
    alb_name(arn, g->name, sizeof(g->name));
    timer_init(&g->look_timer, env->loop, start_look, g);
    alb_change_init(g);
}

void alb_group_release(struct alb_group *g)
{
    struct alb_target *t, *next;
    if (g->look_call != NULL)
        aws_cancel(g->look_call);
    timer_stop(&g->look_timer);
    alb_change_release(g);
    HASH_ITER (hh, g->targets, t, next) {
        HASH_DEL(g->targets, t);
        free(t);
    }
}
