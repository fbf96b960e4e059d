/* Output marks: events that tell how much output of a job there is. One mark is about all that
 * came since the one before, and all jobs get theirs at once, so that they cost one commit a
 * second however much is written, and by whom. How far the marks went is in the journal with
 * the count of the session's events: after a crash they go on from there. */
#ifndef CLEAT_SESSION_JOB_MARK_H
#define CLEAT_SESSION_JOB_MARK_H

#include "session/core.h"

void job_marks_init(struct cleat *);
void job_marks_stop(struct cleat *);

void job_mark_soon(struct session *); /* it wrote output: within a second */
void job_mark(struct session *);      /* now, if there is anything to tell */
void job_mark_left(struct session *); /* the same, of output from before a restart alone */
void job_mark_forget(struct session *);

#endif
