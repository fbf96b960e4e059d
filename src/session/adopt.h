/* Sessions that the journal does not know, re-made from what their containers tell. */
#ifndef CLEAT_SESSION_ADOPT_H
#define CLEAT_SESSION_ADOPT_H

#include "session/core.h"

/* A live container of our owner that no attempt owns. Its session is made again, or, when the
 * journal knows an older state of it, gets this attempt; nothing is done with it before that is
 * durable. NULL and *e: ERR_CONFLICT (the session, or its request id, has another container:
 * this one is to be closed), ERR_NOT_FOUND (another class's), ERR_INVALID or ERR_FORBIDDEN
 * (what its label tells does not suffice: it is left alone). */
struct session *label_adopt(struct group *, const char *key, const struct container *,
                            const char *label, struct error *e);

/* Once its container has told what it has. True: its session cannot go on, and closes. */
bool adopted_in_vain(struct attempt *);
/* Nobody knows yet whether its container has the input already. */
bool adopted_unasked(const struct session *);
/* Core time at which its lifetime ends; of a session that was READY. */
int64_t session_lifetime_end(const struct session *);

#endif
