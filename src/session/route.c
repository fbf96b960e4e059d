#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/execution.h"
#include "session/message.h"
#include "session/probe.h"
#include "session/route.h"
#include "session/session.h"
#include "session/sweep.h"
#include "session/warm.h"

#define ROUTE_BACKOFF_CAP_MS (5 * 60 * 1000)
#define PLACE_WAIT_MS 500
#define CONFIRM_TIMEOUT_MS 5000
#define CONFIRM_FAILURES 3 /* unanswered confirms in a row before the cookies are given up */
#define CONFIRM_MAX_ANSWER 65536
#define CONTAINER_GRACE_S                                                                      \
    600 /* a forgotten container outlives its session's limits by this                         \
         */

const struct balancer_node *route_node(const struct attempt *a)
{
    const struct group *g = a->session->group;
    const struct balancer_node *nodes;
    size_t target_group = g->balancer_ops->group_of(g->balancer, a->key);
    size_t count = g->balancer_ops->nodes(g->balancer, target_group, &nodes);
    return count > 0 ? &nodes[a->route.node % count] : NULL;
}

bool route_may_confuse(const struct attempt *a, const struct attempt *other)
{
    return a->session->group->class->proof == PROOF_NONE && route_node(a) &&
           strcmp(a->identity.session, other->identity.session) == 0;
}

static void send_confirm(struct attempt *a)
{
    message_send(&a->message, a,
                 &(struct message_options){.method = "GET",
                                           .path = "/container-info",
                                           .connect_timeout_ms = CONFIRM_TIMEOUT_MS,
                                           .timeout_ms = CONFIRM_TIMEOUT_MS,
                                           .max_answer = CONFIRM_MAX_ANSWER});
}

void route_drop(struct attempt *a)
{
    a->route.confirmed = a->route.suspect = false;
    a->route.failures = 0;
    a->route.renew_at = 0;
    cookie_set_clear(&a->route.cookies);
    if (a->pool)
        pool_retire_connections(a->pool);
    attempt_dirty(a);
}

static void note_completed(struct attempt *a)
{
    if (!a->session->running) /* a settling execution waits for this to grow */
        message_count(a->message.body, "executions_completed", &a->completed);
}

/* sandbox = auto may come down to none: said once, and in status. */
static void note_sandbox(struct attempt *a)
{
    struct group *g = a->session->group;
    const char *sandbox = json_string_value(json_object_get(a->message.body, "sandbox"));
    if (g->unconfined || !sandbox || strcmp(sandbox, "none") != 0)
        return;
    g->unconfined = true;
    log_warn("sandbox.none", KV("class", g->class->name), KV("session", a->session->id),
             KV("meaning", g->class->runtime == RUNTIME_PROCESS
                               ? "user code is not isolated from this machine"
                               : "the container alone encloses user code"));
    event_emit_core(g->core, "sandbox.none", KV("class", g->class->name));
}

/* Takes the confirm's answer. True: it is our container. */
static bool take_confirm(struct attempt *a)
{
    struct route *r = &a->route;
    struct session *s = a->session;
    int64_t now = core_now(s->core);
    enum verdict verdict = a->message.verdict;
    bool proven = verdict == VERDICT_PROVEN && a->message.status == 200;
    if (verdict != VERDICT_PROVEN)
        probe_doubt(a, a->message.error.message);
    if (proven) {
        note_completed(a);
        attempt_learn(a, a->message.body);
        note_sandbox(a);
    }
    message_reset(&a->message);
    if (proven) {
        bool was_suspect = r->suspect;
        *r = (struct route){
            .confirmed = true, .node = r->node, .cookies = r->cookies, .renew_at = r->renew_at};
        attempt_dirty(a);
        if (was_suspect && s->warm)
            warm_offered(s->group);
        return true;
    }
    r->confirmed = false;
    if (verdict == VERDICT_MISROUTE) {
        attempt_misrouted(a, "confirm");
        route_drop(a);
        r->rounds++;
    } else if (++r->failures >= CONFIRM_FAILURES &&
               s->group->balancer_ops->sweeps(s->group->balancer)) {
        route_drop(a);
        r->rounds++;
    }
    unsigned n = r->rounds + r->failures;
    bool just_lost =
        verdict == VERDICT_MISROUTE && s->ready && n == 1; /* sought anew at once */
    r->retry_at = just_lost ? now
                            : now + backoff_ms(s->group->class->backoff_base_ms, n > 0 ? n : 1,
                                               ROUTE_BACKOFF_CAP_MS);
    s->again = true;
    return false;
}

/* After a start it is not known at once in which target group the container is: what is sent
 * to another one reaches somebody else's. */
static bool is_placed(const struct attempt *a)
{
    const struct group *g = a->session->group;
    return !g->balancer_ops->placed || g->balancer_ops->placed(g->balancer, a->key);
}

bool route_step(struct attempt *a)
{
    struct route *r = &a->route;
    struct session *s = a->session;
    if (r->confirmed)
        return true;
    if (a->message.state == OP_RUNNING)
        return false;
    if (a->message.state == OP_DONE)
        return take_confirm(a);
    if (s->group->balancer_ops->sweeps(s->group->balancer)) {
        if (a->target != TARGET_HEALTHY) {
            sweep_leave(a);
            return false;
        }
        if (!r->cookies.header) {
            sweep_join(a);
            return false;
        }
    }
    if (!is_placed(a)) {
        session_at(s, core_now(s->core) + PLACE_WAIT_MS);
        return false;
    }
    if (session_not_before(s, r->retry_at))
        return false;
    send_confirm(a);
    return false;
}

/* A container that hears nothing for this long ends itself. */
int64_t container_idle_ms(const struct attempt *a)
{
    return (a->identity.idle_timeout_s + CONTAINER_GRACE_S) * 1000;
}

/* Of a live attempt, while nothing else needs its message. */
void route_keep(struct attempt *a)
{
    struct route *r = &a->route;
    struct session *s = a->session;
    if (a->message.state == OP_RUNNING)
        return;
    if (a->message.state == OP_DONE) {
        bool misrouted = a->message.verdict == VERDICT_MISROUTE;
        if (!take_confirm(a) && misrouted)
            executions_misroute(s);
        return;
    }
    int64_t now = core_now(s->core);
    int64_t contact_at = a->contact + container_idle_ms(a) / 2;
    bool due = (r->renew_at > 0 && now >= r->renew_at) || now >= contact_at;
    session_at(s, r->renew_at > now && r->renew_at < contact_at ? r->renew_at : contact_at);
    if (!due && !(r->suspect && s->queued > 0))
        return;
    if (session_not_before(s, r->retry_at))
        return;
    r->renew_at = 0; /* set again by an answer that brings fresh cookies */
    send_confirm(a);
}
