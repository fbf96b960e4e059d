/* A session: its state, its timeline, and who waits for what. Only session_go changes its
 * state. */
#ifndef CLEAT_SESSION_SESSION_H
#define CLEAT_SESSION_SESSION_H

#include "session/core.h"

struct create_request;

/* A new one in state QUEUED, in the coordinator's lists; id and strings are copied. Not yet in
 * the queue and not dirty: a caller that makes a session, and not one that reads it from the
 * journal, does both. */
struct session *session_new(struct cleat *, struct group *, const char *id, const char *tenant,
                            const char *request_id);
void session_fill(struct session *, const struct create_request *);
void session_enqueue(struct session *);
void session_free(struct session *); /* with its attempts and executions; no call back */

/* Nothing but the state, which is counted: for session_go and for what comes from the journal.
 */
void session_set_state(struct session *, enum session_state);
/* Logs the change, records its time, puts it into the turn's commit and wakes the session. */
void session_go(struct session *, enum session_state);
/* Ends it, from any state; idempotent. e NULL: nothing went wrong. */
void session_close(struct session *, const char *stop_reason, const struct error *e);
void session_wake(struct session *); /* its steps run before the turn ends */

/* For steps: be run again at that moment (core time, ms); the earliest that any step asks for
 * counts. */
void session_at(struct session *, int64_t when);
bool session_not_before(struct session *, int64_t when); /* true: too early; run again then */

void session_dirty(struct session *); /* its row goes into the turn's commit */
bool session_durable(const struct session *);
bool session_ready_durable(struct session *); /* that it was ready */
bool session_is_over(const struct session *); /* CLOSED or FAILED */
void session_count_closed(struct session *);  /* it is remembered, and is one of max_closed */

/* What holds a session up that is not ready, for its document; text is copied, "": nothing. */
void session_waits_for(struct session *, const char *text);
/* The engine has no room for it now, or does not work, and then has. */
void session_lacks_room(struct session *, const struct error *);
void session_has_room(struct session *);

/* All names of intervals, NULL-ended; the last are the steps of cleanup. */
enum { SPAN_NAMES = 14, SPAN_STEPS = 4 };
extern const char *const span_names[SPAN_NAMES + 1];

/* Intervals for documents, and for metrics once closed. Names and results are static texts. */
void session_span_add(struct session *, const struct span *);
void session_span_open(struct session *, const char *name, unsigned attempt, bool cleanup);
void session_span_close(struct session *, const char *name, unsigned attempt,
                        const char *result);
void session_span_cut(struct session *, const char *name,
                      unsigned attempt);                    /* it came to nothing */
void session_spans_fit(struct session *);                   /* no room for more is kept */
void session_span_drop(struct session *, unsigned attempt); /* all of that attempt's */

#endif
