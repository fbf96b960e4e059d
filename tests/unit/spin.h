/* Runs a loop until something has happened, with a deadline in place of a hang. */
#ifndef CLEAT_TESTS_SPIN_H
#define CLEAT_TESTS_SPIN_H

#include <event2/event.h>
#include <stdbool.h>
#include "loop/loop.h"

static inline void spin_expired(void *arg)
{
    *(bool *)arg = true;
}

/* Until *count reaches want; false: not within ms. */
static inline bool spin(struct loop *loop, const int *count, int want, int64_t ms)
{
    bool expired = false;
    struct timer guard;
    timer_init(&guard, loop, spin_expired, &expired);
    timer_arm(&guard, ms);
    while (*count < want && !expired)
        event_base_loop(loop_base(loop), EVLOOP_ONCE);
    timer_stop(&guard);
    return *count >= want;
}

/* Lets the loop run for that long, to see that something does not happen. */
static inline void spin_for(struct loop *loop, int64_t ms)
{
    const int never = 0;
    spin(loop, &never, 1, ms);
}

#endif
