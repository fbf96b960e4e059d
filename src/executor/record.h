/* What is known of an execution: how it ended and its document. */
#ifndef CLEAT_EXECUTOR_RECORD_H
#define CLEAT_EXECUTOR_RECORD_H

#include "executor/execution.h"
#include "http/json.h"

/* Of everything that makes a request the same request: not of how long the client waits. */
void record_digest(const struct execution_request *, char out[65]);

/* From waitpid(2)'s status. Bubblewrap exits with 128 + N when its program was ended by signal
 * N. */
void record_status(struct execution *, int status, bool from_bwrap);

/* Why it failed, NULL: it did not; free(). */
char *record_error(const struct execution *);

#endif
