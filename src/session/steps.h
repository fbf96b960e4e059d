/* The script of a session's life. */
#ifndef CLEAT_SESSION_STEPS_H
#define CLEAT_SESSION_STEPS_H

#include "session/core.h"

void session_run(void *session); /* the task of a session */
/* For the callbacks of ops: stores the result; e NULL or ERR_NONE: it worked. */
void op_done(struct op *, const struct error *e);
/* Core time at which it is given up while it waits in the queue, or opens. */
int64_t session_queue_end(const struct session *);
int64_t session_create_end(const struct session *);

#endif
