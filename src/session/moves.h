/* Moves in the queue, told as events: once a second at most, each step near its head, and else
 * whenever the sessions ahead have halved, so that a long queue costs each session a few. */
#ifndef CLEAT_SESSION_MOVES_H
#define CLEAT_SESSION_MOVES_H

#include "session/core.h"

void moves_init(struct cleat *);
void moves_stop(struct cleat *);
void moves_begin(struct session *); /* it waits, behind all who did at the worst */

#endif
