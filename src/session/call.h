/* The calls of the public API, each answered exactly once. */
#ifndef CLEAT_SESSION_CALL_H
#define CLEAT_SESSION_CALL_H

#include "cleat.h"
#include "session/core.h"

void calls_answer(struct session *);                     /* every call whose condition holds */
void calls_fail(struct session *, const struct error *); /* all of them: there is no session */
/* Of cleat_drain and its end: e NULL: when they are durable; else e is the answer. */
void calls_answer_drains(struct cleat *, const struct error *e);
void calls_forget(struct session *);       /* the coordinator ends: no callbacks */
void calls_forget_answers(struct cleat *); /* of answers that were not delivered yet */
void calls_answer_reaped(struct cleat *);  /* those that wait for listings */
/* e NULL: document (owned) is the answer. ran: of an execution, else NULL. */
void call_finish(struct cleat_call *, const struct error *e, const char *ran, char *document);

/* The call of a create that found or made the session; answered when the journal holds it. */
struct cleat_call *call_created(struct session *, bool created, cleat_done_fn *, void *arg);
/* A call that is answered with the first document (owned) that ready gives; ready is asked
 * whenever something of the session changed, and with expired when its time is up: NULL is
 * then the error wait_timeout. Takes query and frees it. */
typedef char *call_ready_fn(struct session *, void *query, bool expired);
struct cleat_call *call_when(struct session *, call_ready_fn *ready, void *query,
                             int64_t timeout_ms, cleat_done_fn *, void *arg);
/* A call that is answered with an error. admitted: there is a session for what it asked. */
struct cleat_call *call_refuse(struct cleat *, const struct error *, bool admitted,
                               const char *ran, cleat_done_fn *, void *arg);

#endif
