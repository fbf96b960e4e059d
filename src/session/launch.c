#include "session/launch.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/gate.h"
#include "session/label.h"
#include "session/route.h"
#include "session/session.h"
#include "session/steps.h"
#include "session/warm.h"

#define PLACE_RETRY_MS 500

struct target launch_target(const struct attempt *a)
{
    const struct container *c = &a->container;
    return (struct target){
        .id = a->key, .ip = c->ip, .port = c->port, .target_group = a->target_group};
}

static bool reserve(struct attempt *a)
{
    const struct group *g = a->session->group;
    struct target t = launch_target(a);
    bool reserved = g->balancer_ops->reserve(g->balancer, &t);
    a->has_place |= reserved;
    return reserved;
}

void launch_owe_place(struct attempt *a)
{
    struct group *g = a->session->group;
    if (!g->balancer_ops->reserve || a->has_place || a->owed_place)
        return;
    if (a->target_group && reserve(a))
        return;
    a->owed_place = true;
    g->places_owed++;
}

void launch_owe_nothing(struct attempt *a)
{
    if (a->owed_place)
        a->session->group->places_owed--;
    a->owed_place = false;
}

static bool get_place(struct attempt *a)
{
    struct session *s = a->session;
    bool its_turn = a->owed_place || a->has_place || s->group->places_owed == 0;
    if (its_turn && reserve(a)) {
        launch_owe_nothing(a);
        session_waits_for(s, "");
        return true;
    }
    session_waits_for(s, "a place in a target group");
    session_at(s, core_now(s->core) + PLACE_RETRY_MS);
    return false;
}

bool launch_has_place(struct attempt *a)
{
    return !a->session->group->balancer_ops->reserve || a->has_place || get_place(a);
}

bool launch_intends_target(struct attempt *a)
{
    const struct group *g = a->session->group;
    bool chooses = g->balancer_ops->reserve && !a->target_group;
    if (a->registered && !chooses)
        return true;
    if (chooses && !get_place(a)) /* its address may be listed somewhere already */
        return false;
    if (chooses)
        a->target_group = mem_strdup(g->balancer_ops->group_name(
            g->balancer, g->balancer_ops->group_of(g->balancer, a->key)));
    a->registered = true;
    attempt_dirty(a);
    return false;
}

void launch_forget_place(struct attempt *a)
{
    const struct group *g = a->session->group;
    launch_owe_nothing(a);
    if (a->has_place)
        g->balancer_ops->unreserve(g->balancer, a->key);
    a->has_place = false;
}

void launch_forget_prepared(struct attempt *a)
{
    if (!a->prepared)
        return;
    mem_wipe(a->prepared, strlen(a->prepared));
    free(a->prepared);
    a->prepared = NULL;
    attempt_dirty(a);
}

static void launched(void *arg, const struct error *e, const struct container *c)
{
    struct attempt *a = arg;
    op_done(&a->launch_op, e);
    gate_done(a, DRIVER_LAUNCH, &a->launch_op);
    a->progress[0] = '\0';
    if (c) {
        a->container = *c;
        a->launched = true;
        launch_forget_prepared(a);
        session_has_room(a->session);
        admission_has_room(a->session->group);
        attempt_dirty(a);
    }
    session_wake(a->session);
}

/* Intent before effect: a launch that its engine must see twice as the same is in the journal
 * before it leaves. False: not yet, or never. */
static bool prepare(struct attempt *a, const struct launch *what)
{
    const struct group *g = a->session->group;
    struct error e = {0};
    if (!g->runtime_ops->prepare || a->prepared)
        return true;
    a->prepared = g->runtime_ops->prepare(g->runtime, what, &e);
    if (a->prepared)
        attempt_dirty(a);
    else
        attempt_fail(a, &e);
    return false;
}

static int64_t container_lifetime_s(const struct attempt *a)
{
    const struct session *s = a->session;
    int64_t used = s->warm ? s->warm->ttl_s + s->warm->lifetime_s
                           : s->create_timeout_s + s->max_lifetime_s;
    return used + container_idle_ms(a) / 1000;
}

static void start(struct attempt *a)
{
    struct session *s = a->session;
    const struct group *g = s->group;
    char secret[PROOF_HEX_SIZE], *label = label_make(s);
    hex_encode(secret, a->secret, sizeof(a->secret));
    struct launch what = {.key = a->key,
                          .owner = s->core->settings->owner,
                          .session = a->identity.session,
                          .attempt = a->identity.number,
                          .label = label,
                          .secret = secret,
                          .idle_timeout_s = container_idle_ms(a) / 1000,
                          .lifetime_s = container_lifetime_s(a),
                          .prepared = a->prepared};
    if (prepare(a, &what) && gate_pass(a, DRIVER_LAUNCH, &a->launch_op)) {
        a->launch_op.state = OP_RUNNING;
        s->core->counters.launches++;
        warm_note_need(s, false);
        a->launch_began = core_now(s->core);
        g->runtime_ops->launch(g->runtime, &what, launched, a);
    }
    free(label);
    mem_wipe(secret, sizeof(secret));
}

/* What holds up a launch holds up no claim: an attempt that was never launched ends for it. */
static void give_way(struct attempt *a)
{
    struct session *s = a->session;
    if (s->warm || a->recovered || warm_offers(s->group, warm_life_s(s)) == 0)
        return;
    a->refused = true;
    attempt_go(a, ATTEMPT_ENDING);
    s->attempt = NULL;
}

void launch_step(struct attempt *a)
{
    if (a->launch_op.state == OP_RUNNING || !attempt_durable(a))
        return;
    if (a->launched) {
        attempt_go(a, ATTEMPT_STARTING);
        return;
    }
    if (a->launch_op.state == OP_DONE) {
        attempt_fail(a, &a->launch_op.error);
        return;
    }
    /* What an earlier life launched is found by the first listing rather than asked for again.
     */
    if (a->recovered && a->session->core->listing > 0)
        return;
    if (launch_has_place(a))
        start(a);
    if (a->launch_op.state == OP_IDLE && a->state == ATTEMPT_LAUNCHING && attempt_durable(a))
        give_way(a);
}
