#include "session/death.h"

#include <stdio.h>
#include "base/log.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/execution.h"
#include "session/input.h"
#include "session/job.h"
#include "session/metrics.h"
#include "session/once.h"
#include "session/session.h"

#define CONTAINERS_MAX 1000 /* of one session */
#define STEADY_MS 60000     /* one that served as long is no failure in a row of them */

static void close_for(struct session *s, const struct error *e)
{
    session_close(s, error_name(ERR_DIED), e);
}

/* A row of containers that die soon is ended as a row of failed launches is. */
static bool is_past_hope(struct session *s, const struct attempt *a)
{
    bool steady = a->lived > 0 && core_now(s->core) - a->lived >= STEADY_MS;
    s->failures = steady ? 0 : s->failures + 1;
    return s->failures >= (unsigned)s->group->class->launch_attempts ||
           s->attempts_used >= CONTAINERS_MAX;
}

/* The old attempt is cleaned up on its own, while the new one is made. */
static void replace(struct session *s, struct attempt *a, const struct error *e)
{
    int64_t wait = attempt_backoff_ms(s);
    char waits[sizeof(s->waiting_for)];
    s->replacing = core_now(s->core);
    s->launch_at = s->replacing + wait;
    s->need_noted = false;
    s->executed_before = s->executed;
    log_warn("session.replacing", KV("session", s->id), KI("attempt", a->number),
             KV("cause", a->cause), KI("failures", s->failures), KI("wait_ms", wait));
    event_emit(s, "session.replacing", KI("attempt", a->number), KV("cause", a->cause),
               KI("failures", s->failures), KI("wait_ms", wait));
    snprintf(waits, sizeof(waits), "another container: %.150s", e->message);
    session_waits_for(s, waits);
    executions_lose(s, e);
    attempt_go(a, ATTEMPT_ENDING);
    s->attempt = NULL;
    session_dirty(s);
}

void death_take(struct attempt *a)
{
    struct session *s = a->session;
    struct error e;
    error_set(&e, ERR_DIED, "the container died: %s", a->cause);
    if (a->state == ATTEMPT_LIVE || a->lived > 0)
        s->group->metrics->deaths++;
    if (s->ready == 0 || s->replacing > 0)
        attempt_fail(a, &e);
    else if (s->warm || s->group->class->on_death == ON_DEATH_FAIL || (s->job && s->job->sent) ||
             !a->noting || once_is_full(s) || is_past_hope(s, a))
        close_for(s, &e);
    else
        replace(s, a, &e);
}

static void replaced(struct session *s)
{
    log_info("session.replaced", KV("session", s->id), KI("attempt", s->attempt->number),
             KI("after_ms", core_now(s->core) - s->replacing));
    event_emit(s, "session.replaced", KI("attempt", s->attempt->number),
               KI("after_ms", core_now(s->core) - s->replacing));
    s->replacing = 0;
    s->replacements++;
    session_waits_for(s, "");
    session_dirty(s);
}

void death_replace_step(struct session *s)
{
    if (!session_not_before(s, s->replacing + s->create_timeout_s * 1000)) {
        struct error e;
        error_set(&e, ERR_DIED,
                  "the container died, and another one was not ready within %lld s",
                  (long long)s->create_timeout_s);
        close_for(s, &e);
        return;
    }
    if (!s->attempt)
        attempt_launch(s);
    input_step(s);
    if (s->state < SESSION_CLOSING && s->attempt && s->attempt->state == ATTEMPT_LIVE)
        replaced(s);
}
