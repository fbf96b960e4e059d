/* Registrations and deregistrations of one target group. Wishes wait in a queue, one call is
 * under way at a time, and it takes what stands at the head of the queue and wants the same: so
 * two wishes for one target never overtake each other. */
#include <string.h>
#include "base/log.h"
#include "driver/alb_group.h"

#define GATHER_MS 100

/* The oldest wish has waited its turn when the window is over. */
static void arm(struct alb_group *g)
{
    const struct alb_target *first = TAILQ_FIRST(&g->queue);
    if (g->change_call != NULL || first == NULL)
        return;
    timer_arm(&g->change_timer, first->since_ms + GATHER_MS - loop_now_ms(g->env->loop));
}

static bool is_queued(const struct alb_target *t)
{
    return t->wish != ALB_NOTHING && t->flying == ALB_NOTHING;
}

static void enqueue(struct alb_target *t)
{
    TAILQ_INSERT_TAIL(&t->group->queue, t, entry);
    arm(t->group);
}

void alb_change_want(struct alb_target *t, enum alb_wish wish)
{
    bool queued = is_queued(t);
    if (!queued)
        t->since_ms = loop_now_ms(t->group->env->loop);
    t->wish = wish;
    if (t->flying == wish)
        t->wish = ALB_NOTHING; /* it is under way already */
    else if (t->flying == ALB_NOTHING && !queued)
        enqueue(t);
}

void alb_change_cancel(struct alb_target *t)
{
    if (is_queued(t))
        TAILQ_REMOVE(&t->group->queue, t, entry);
    t->wish = ALB_NOTHING;
}

/* ---- outcome ---- */

/* Some of the targets may be what the call was refused for. */
static bool may_be_one_targets_fault(const struct aws_answer *answer)
{
    static const char *const codes[] = {"InvalidTarget", "TooManyTargets", "ValidationError",
                                        "TooManyRegistrationsForTargetId"};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strncmp(answer->code, codes[i], strlen(codes[i])) == 0)
            return true;
    return false;
}

/* Nothing that could be deregistered: that is what was wanted. */
static bool is_gone_anyway(const struct alb_group *g, const struct aws_answer *answer)
{
    return g->batch_wish == ALB_DEREGISTER &&
           ((g->batch_size == 1 && strncmp(answer->code, "InvalidTarget", 13) == 0) ||
            strncmp(answer->code, "TargetGroupNotFound", 19) == 0);
}

/* Half as many at a time, before anything that came later, until it is clear whose fault it is.
 */
static void split(struct alb_group *g)
{
    size_t most = (g->batch_size + 1) / 2;
    for (size_t i = g->batch_size; i-- > 0;) {
        struct alb_target *t = g->batch[i];
        enum alb_wish newer = t->wish;
        t->flying = ALB_NOTHING;
        t->most = most;
        t->wish = newer != ALB_NOTHING ? newer : g->batch_wish;
        TAILQ_INSERT_HEAD(&g->queue, t, entry);
    }
    log_info("alb.split", KV("target_group", g->name), KI("targets", g->batch_size));
}

static void finish_one(struct alb_group *g, struct alb_target *t, const struct error *e)
{
    t->flying = ALB_NOTHING;
    t->most = ALB_TARGETS_PER_CALL;
    t->judged_from = g->looks + 1;
    t->missing = 0;
    if (t->wish != ALB_NOTHING)
        enqueue(t);
    else
        g->env->changed(g->env->arg, t, g->batch_wish, e);
}

static void sent(void *arg, const struct aws_answer *answer)
{
    struct alb_group *g = arg;
    const struct error *e = answer->error.code == ERR_NONE ? NULL : &answer->error;
    g->change_call = NULL;
    if (e != NULL && is_gone_anyway(g, answer))
        e = NULL;
    if (e != NULL && g->batch_size > 1 && may_be_one_targets_fault(answer)) {
        split(g);
    } else {
        if (e != NULL)
            alb_group_failed(
                g, g->batch_wish == ALB_REGISTER ? "RegisterTargets" : "DeregisterTargets", e);
        for (size_t i = 0; i < g->batch_size; i++)
            finish_one(g, g->batch[i], e);
    }
    g->batch_size = 0;
    arm(g);
}

/* ---- the call ---- */

/* From the head of the queue, what wants the same. */
static void fill_batch(struct alb_group *g)
{
    struct alb_target *t, *next;
    size_t most = ALB_TARGETS_PER_CALL;
    g->batch_wish = TAILQ_FIRST(&g->queue)->wish;
    for (t = TAILQ_FIRST(&g->queue); t != NULL && g->batch_size < most; t = next) {
        next = TAILQ_NEXT(t, entry);
        if (t->wish != g->batch_wish)
            continue;
        if (t->most < most)
            most = t->most;
        if (g->batch_size >= most)
            break;
        TAILQ_REMOVE(&g->queue, t, entry);
        t->flying = t->wish;
        t->wish = ALB_NOTHING;
        t->touched |= t->flying == ALB_REGISTER;
        g->batch[g->batch_size++] = t;
    }
}

static void send_batch(void *arg)
{
    struct alb_group *g = arg;
    struct buf form = {0};
    fill_batch(g);
    alb_form_add(&form, "TargetGroupArn", g->arn);
    for (size_t i = 0; i < g->batch_size; i++)
        alb_form_target(&form, i + 1, g->batch[i]->ip, g->batch[i]->port);
    struct aws_request request = {.service = AWS_ELB,
                                  .action = g->batch_wish == ALB_REGISTER ? "RegisterTargets"
                                                                          : "DeregisterTargets",
                                  .body = form.data,
                                  .body_len = form.len};
    log_debug("alb.change", KV("target_group", g->name), KV("action", request.action),
              KI("targets", g->batch_size));
    g->change_call = aws_start(g->env->aws, &request, sent, g);
    buf_free(&form);
}

static void on_window_end(void *arg)
{
    struct alb_group *g = arg;
    if (!TAILQ_EMPTY(&g->queue)) /* cancelled meanwhile */
        send_batch(g);
}

void alb_change_init(struct alb_group *g)
{
    TAILQ_INIT(&g->queue);
    timer_init(&g->change_timer, g->env->loop, on_window_end, g);
}

void alb_change_release(struct alb_group *g)
{
    timer_stop(&g->change_timer);
    if (g->change_call != NULL)
        aws_cancel(g->change_call);
}
