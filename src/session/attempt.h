/* An attempt: one try to give a session a container. Only attempt_go changes its state. */
#ifndef CLEAT_SESSION_ATTEMPT_H
#define CLEAT_SESSION_ATTEMPT_H

#include "session/core.h"

/* LAUNCHING; number counts from 1 and, with its session's id, is its identity … */
struct attempt *attempt_new(struct session *, unsigned number);
/* … or it was launched under another one. */
struct attempt *attempt_new_as(struct session *, unsigned number, const struct identity *);
/* A session takes it over from a warm one: its identity stays, its row moves. The caller ends
 * the warm one, and leads it to its new session. */
void attempt_move(struct attempt *, struct session *to);
bool attempt_is_claimed(const struct attempt *); /* it was launched before its session was */
/* The journal knows that it is its session's: something may be done in it. */
bool attempt_is_taken(struct attempt *);
/* The session's next one: a warm container's at once, or its own, unless it is too early
 * (s->launch_at). */
void attempt_launch(struct session *);
int64_t attempt_backoff_ms(const struct session *); /* after s->failures in a row */
void attempt_free(struct attempt *);
void attempt_go(struct attempt *, enum attempt_state);
/* Nothing but the state, which is counted: for attempt_go and for what comes from the journal.
 */
void attempt_set_state(struct attempt *, enum attempt_state);
/* It never becomes live: it is cleaned up, and its session tries again or gives up. */
void attempt_fail(struct attempt *, const struct error *);
/* It has ended, or is new: it gets this container, and knows nothing of another one. */
void attempt_take_over(struct attempt *, const struct container *);
void attempt_quiet(struct attempt *); /* whatever is asked on its behalf is cancelled */
/* Its cleanup is over: it needs its session's connections and its turn at the reaper no more. */
void attempt_let_go(struct attempt *);
/* A wrong container answered; where: during which request. */
void attempt_misrouted(struct attempt *, const char *where);

/* What its container says of itself, proven. An older journal that was restored knows less of
 * what was done there. */
void attempt_learn(struct attempt *, const json_t *info);

void attempt_dirty(struct attempt *);         /* its row goes into the turn's commit */
void attempt_touch(struct attempt *);         /* before something is run or staged in it */
bool attempt_touch_durable(struct attempt *); /* that it was touched */
bool attempt_durable(const struct attempt *);
bool attempt_is_ending(const struct attempt *); /* ENDING, SALVAGING or ENDED */
bool attempt_has_ended(const struct attempt *); /* ENDED */

#endif
