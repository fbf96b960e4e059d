#include "base/log.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/event.h"
#include "session/session.h"
#include "session/warm.h"

/* Proven, routed and of no doubt, and its container was launched for as long as is asked for.
 */
static bool may_have(const struct session *s, const struct session *w)
{
    const struct attempt *a = w->attempt;
    if (w->state != SESSION_READY || !a || a->state != ATTEMPT_LIVE || !a->route.confirmed)
        return false;
    if (a->route.suspect || a->died || a->health.doubt || a->health.dead)
        return false;
    return warm_fits(w) && core_now(s->core) < warm_end(w) &&
           s->create_timeout_s + s->max_lifetime_s <= w->warm->lifetime_s;
}

/* What its class makes today comes first, then what has been ready longest. */
static bool is_better(const struct session *a, const struct session *b)
{
    bool current = warm_is_current(a);
    if (current != warm_is_current(b))
        return current;
    return a->ready < b->ready;
}

static struct session *choose(const struct session *s)
{
    struct session *best = NULL;
    const struct warm *w;
    TAILQ_FOREACH (w, &s->group->warm.sessions, entry)
        if (may_have(s, w->session) && (!best || is_better(w->session, best)))
            best = w->session;
    return best;
}

static void answer_callers(struct session *w)
{
    struct error e;
    error_set(&e, ERR_NOT_FOUND, "the warm container was claimed");
    calls_fail(w, &e);
}

/* From here on the attempt is the session's; its rows move with the next commit. */
static void take(struct session *s, struct session *w)
{
    struct attempt *a = w->attempt;
    log_info("warm.claimed", KV("session", s->id), KV("warm", w->id),
             KV("class", s->group->class->name), KI("age_ms", core_now(s->core) - w->created));
    event_emit_core(s->core, "warm.claimed", KV("class", s->group->class->name),
                    KV("warm", w->id), KV("session", s->id),
                    KI("age_ms", core_now(s->core) - w->created));
    attempt_move(a, s);
    answer_callers(w);
    session_free(w);
    attempt_go(a, ATTEMPT_ROUTING);
}

bool warm_claim(struct session *s)
{
    struct session *w = s->warm ? NULL : choose(s);
    if (!w)
        return false;
    if (!s->stored) /* a failed commit would forget it, and the container with it */
        return true;
    warm_note_need(s->group, true);
    take(s, w);
    return true;
}
