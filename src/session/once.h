/* An execution id runs at most once per session, also when the session's container is
 * replaced: what was sent to a container under a name of the caller's is remembered with its
 * attempt, as a hash. A false match, one in 2^40 of them, refuses an execution; none ever runs
 * twice. */
#ifndef CLEAT_SESSION_ONCE_H
#define CLEAT_SESSION_ONCE_H

#include "session/core.h"

/* Before it is sent. True: the attempt's row has changed, and must be durable first. False: it
 * is known already, or nothing more can be remembered (once_is_full). */
bool once_note(struct attempt *, const char *id);
void once_forget(struct attempt *, const char *id); /* it certainly did not run */
/* Another container than this attempt's may have run it. */
bool once_was_sent(const struct attempt *, const char *id);
/* As far as is remembered, no container of the session was sent it. */
bool once_is_first(const struct session *, const char *id);
/* The session's memory is full: its container is not replaced any more, since ids would have
 * to be forgotten. */
bool once_is_full(const struct session *);
void once_release(struct attempt *);

json_t *once_row(const struct attempt *); /* new reference; NULL: nothing */
void once_from_row(struct attempt *, const json_t *);

#endif
