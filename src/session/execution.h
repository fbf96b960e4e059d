/* The executions of a session: one at a time, in their order. */
#ifndef CLEAT_SESSION_EXECUTION_H
#define CLEAT_SESSION_EXECUTION_H

#include "session/core.h"

/* request: the body for the container, new reference taken; named: its id is the caller's, who
 * may ask for it again; output_limit in bytes. call (may be
 * NULL) is finished with the record or an error. NULL: too many wait. */
struct execution *execution_new(struct session *, json_t *request, bool named,
                                int64_t timeout_s, int64_t output_limit,
                                struct cleat_call *call);
/* Whether one of that id waits, or may have been sent to a container of the session. */
bool execution_may_be_repeat(const struct session *, const char *id);
void execution_free(struct execution *); /* no answer to its call */
/* With its record, or else with an error; its call is answered, and it is freed. */
void execution_ended(struct execution *, const struct error *, json_t *record);
void execution_may_have_run(struct execution *); /* nobody knows whether */
void execution_begins(struct execution *);       /* its time counts from now on */
void executions_step(struct session *);
void executions_misroute(struct session *); /* the first in the queue fails: it did not run */
/* Their container is dead and will be replaced: the one that may have run fails, the others go
 * on waiting. */
void executions_lose(struct session *, const struct error *);
void executions_end(struct session *,
                    const struct error *); /* all fail; the session is closing */

#endif
