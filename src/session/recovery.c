/* After a start: adopt what rows own, and go on with it. */
#include "session/admission.h"
#include "session/attempt.h"
#include "session/launch.h"
#include "session/listing.h"
#include "session/queue.h"
#include "session/reaper.h"
#include "session/recovery.h"
#include "session/session.h"
#include "session/warm.h"

/* What is not registered yet keeps its place before anything new asks for one. */
static void keep_places(struct cleat *core)
{
    struct session *s;
    struct attempt *a;
    TAILQ_FOREACH (s, &core->sessions, entry)
        TAILQ_FOREACH (a, &s->attempts, entry)
            if (a->state < ATTEMPT_CHECKING)
                launch_owe_place(a);
}

static void adopt(struct attempt *a)
{
    struct group *g = a->session->group;
    struct target t = launch_target(a);
    if (attempt_has_ended(a))
        return;
    if (a->launched)
        g->runtime_ops->adopt(g->runtime, &a->container);
    bool ending = attempt_is_ending(a);
    bool needs_route = ending && !a->direct && a->cleanup.upload < STEP_OK; /* for its upload */
    if (a->registered && a->state >= ATTEMPT_CHECKING && (!ending || needs_route))
        g->balancer_ops->adopt(g->balancer, &t);
}

static void recover_places(struct session *s)
{
    if (s->warm)
        return;
    if (s->state == SESSION_CLOSING)
        places_take_container(s);
    else
        places_take(s);
}

static void resume(struct session *s)
{
    struct cleat *core = s->core;
    struct attempt *a;
    TAILQ_FOREACH (a, &s->attempts, entry) {
        adopt(a);
        if (a->state == ATTEMPT_LIVE || a->state == ATTEMPT_STAGING)
            attempt_go(a, ATTEMPT_ROUTING); /* confirmed again before it is used */
        if (!attempt_is_ending(a))
            s->attempt = a;
        if (a->orphan)
            reaper_recovered(a);
    }
    if (!s->warm)
        admission_recall(s);
    if (session_is_over(s)) {
        session_count_closed(s);
        return;
    }
    if (s->state == SESSION_QUEUED) {
        session_enqueue(s);
        return;
    }
    recover_places(s);
    s->used = core_now(core); /* uses are not stored one by one: count from here */
    if (s->state == SESSION_READY || s->state == SESSION_BUSY)
        session_go(s, SESSION_REROUTING);
}

void recovery_start(struct cleat *core)
{
    struct session *s;
    TAILQ_FOREACH (s, &core->sessions, entry)
        resume(s);
    keep_places(core);
    listings_start(core);
    warm_consider_all(core);
    TAILQ_FOREACH (s, &core->sessions, entry)
        session_wake(s);
}
