#include "base/log.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/event.h"
#include "session/session.h"
#include "session/warm.h"

/* Proven, routed and of no doubt. */
static bool is_offered(const struct session *w)
{
    const struct attempt *a = w->attempt;
    if (w->state != SESSION_READY || !a || a->state != ATTEMPT_LIVE || !a->route.confirmed)
        return false;
    if (a->died || a->health.doubt || a->health.dead)
        return false;
    if (a->route.suspect && a->target != TARGET_HEALTHY) /* a claim confirms it anew */
        return false;
    return warm_fits(w) && core_now(w->core) < warm_end(w);
}

/* And its container was launched for as long as is asked for. */
static bool may_have(int64_t life_s, const struct session *w)
{
    return life_s <= w->warm->lifetime_s && is_offered(w);
}

int64_t warm_offer(const struct group *g)
{
    const struct warm *w;
    int64_t longest = 0;
    TAILQ_FOREACH (w, &g->warm.sessions, entry)
        if (w->lifetime_s > longest && is_offered(w->session))
            longest = w->lifetime_s;
    return longest;
}

unsigned warm_offers(const struct group *g, int64_t life_s)
{
    const struct warm *w;
    unsigned count = 0;
    TAILQ_FOREACH (w, &g->warm.sessions, entry)
        count += may_have(life_s, w->session);
    return count;
}

int64_t warm_life_s(const struct session *s)
{
    return s->create_timeout_s + s->max_lifetime_s;
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
        if (may_have(warm_life_s(s), w->session) && (!best || is_better(w->session, best)))
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
    warm_note_need(s, true);
    take(s, w);
    return true;
}

/* Also those that have an attempt: its launch may be held up (launch.c). */
static void wake_who_needs_one(struct group *g)
{
    struct session *s;
    if (g->session_counts[SESSION_OPENING] + g->session_counts[SESSION_REROUTING] == 0)
        return;
    TAILQ_FOREACH (s, &g->core->open, part_entry) {
        bool needs = s->state == SESSION_OPENING || s->replacing > 0;
        if (s->group == g && needs && (!s->attempt || !s->attempt->launched))
            session_wake(s);
    }
}

void warm_offered(struct group *g)
{
    wake_who_needs_one(g); /* they were admitted before */
    if (g->refusals > 0 && g->queued > 0)
        admission_wake(g->core);
}
