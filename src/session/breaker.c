#include "session/breaker.h"

const char *const breaker_state_names[BREAKER_STATES] = {"closed", "open", "half_open"};

#define TRIAL_POLL_MS 1000 /* while another call tries */

enum breaker_state breaker_state(const struct breaker *b, int64_t now)
{
    if (!b->open)
        return BREAKER_CLOSED;
    return !b->trying && now < b->retry_at ? BREAKER_OPEN : BREAKER_HALF_OPEN;
}

bool breaker_admits(struct breaker *b, int64_t now, bool *trial)
{
    bool awaited = b->trying && now < b->trial_until;
    *trial = b->open && !awaited && now >= b->retry_at;
    if (*trial) {
        b->trying = true;
        b->trial_until = now + BREAKER_TRIAL_MS;
    }
    return !b->open || *trial;
}

int64_t breaker_retry_at(const struct breaker *b, int64_t now)
{
    return b->retry_at > now ? b->retry_at : now + TRIAL_POLL_MS;
}

static void fail(struct breaker *b, int64_t now, bool trial, const struct error *e)
{
    bool late = b->open && !trial; /* it began before: that is known already */
    if (late)
        return;
    b->failures++;
    b->error = *e;
    if (b->failures < BREAKER_FAILURES)
        return;
    b->pause_ms = b->pause_ms > 0 ? 2 * b->pause_ms : BREAKER_PAUSE_MS;
    if (b->pause_ms > BREAKER_PAUSE_MAX_MS)
        b->pause_ms = BREAKER_PAUSE_MAX_MS;
    b->retry_at = now + b->pause_ms;
    b->open = true;
}

void breaker_done(struct breaker *b, int64_t now, bool trial, const struct error *e)
{
    bool was_asked = !e || (e->code != ERR_CANCELLED && e->code != ERR_INVALID);
    if (trial)
        b->trying = false;
    if (e && e->code != ERR_NONE && e->of_engine)
        fail(b, now, trial, e);
    else if (was_asked)
        *b = (struct breaker){0};
}
