/* A circuit breaker: after some failures in a row a call is left alone for a while, then tried
 * once. It knows neither clock nor call: times are the caller's, in ms. Zeroed memory is a
 * closed one. */
#ifndef CLEAT_SESSION_BREAKER_H
#define CLEAT_SESSION_BREAKER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

#define BREAKER_FAILURES 5 /* in a row, until it opens */
#define BREAKER_PAUSE_MS (30 * 1000)
#define BREAKER_PAUSE_MAX_MS (5 * 60 * 1000)
#define BREAKER_TRIAL_MS (5 * 60 * 1000) /* a trial that takes longer holds nobody up */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATES };
extern const char *const breaker_state_names[BREAKER_STATES];

struct breaker {
    bool open, trying;
    unsigned failures; /* in a row */
    int64_t pause_ms, retry_at;
    int64_t trial_until; /* while trying: then another one tries as well */
    struct error error; /* the newest failure */
};

/* Open until its pause is over; from then on half-open until a trial has told. */
enum breaker_state breaker_state(const struct breaker *, int64_t now);

/* True: the call may start, and breaker_done must follow; *trial: it is the one that tries for
 * all. False: ask again at breaker_retry_at. */
bool breaker_admits(struct breaker *, int64_t now, bool *trial);
int64_t breaker_retry_at(const struct breaker *, int64_t now); /* later than now */

/* How an admitted call ended; e NULL or ERR_NONE: it worked. Only e->of_engine is a failure
 * here; every other answer shows that the engine works, but one that it was never asked for
 * (ERR_CANCELLED, ERR_INVALID), which shows nothing. */
void breaker_done(struct breaker *, int64_t now, bool trial, const struct error *e);

#endif
