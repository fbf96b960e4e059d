/* The launch of an attempt: a place at the balancer, then the launch's very bytes, then the
 * launch. */
#ifndef CLEAT_SESSION_LAUNCH_H
#define CLEAT_SESSION_LAUNCH_H

#include "session/core.h"

void launch_step(struct attempt *); /* in LAUNCHING */
/* Before the launch, and after a restart until it is registered again. False: it waits, and the
 * session runs again soon. */
bool launch_has_place(struct attempt *);
/* That it is registered, and in which target group, is in its row before the balancer hears of
 * it. False: not yet. */
bool launch_intends_target(struct attempt *);
struct target launch_target(const struct attempt *); /* valid as long as the attempt */
void launch_owe_place(struct attempt *);    /* of an earlier life: it comes before new ones */
void launch_owe_nothing(struct attempt *);  /* idempotent */
void launch_forget_place(struct attempt *); /* it will never be registered; idempotent */
void launch_forget_prepared(
    struct attempt *); /* wiped; the row loses it with its next commit */

#endif
