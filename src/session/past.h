/* Whom the journal can speak for. A session that it does not know was purged, or was never its
 * own: made before the database was, or by a life whose rows a restored backup does not hold.
 */
#ifndef CLEAT_SESSION_PAST_H
#define CLEAT_SESSION_PAST_H

#include "session/core.h"

/* After the sessions and the notes. */
void past_load(struct cleat *, struct error *e);
void past_store(struct cleat *);                     /* with the turn's commit */
void past_note(struct cleat *, const char *session); /* it held this one */
/* NULL: that it does not know this session says that nobody does. Else why it does not.
 * seen_at: when something of it was first listed, core time. */
const char *past_silence(const struct cleat *, const char *session, int64_t seen_at);
/* Something of this session is there: what the journal cannot speak for stays so after the next
 * start. */
void past_doubt(struct cleat *, const char *session, int64_t seen_at);
/* One is made now. Its row makes the lost lives before it look known to the next start: until
 * all is listed, the journal says from when they are not. */
void past_new_session(struct cleat *);
void past_all_listed(
    struct cleat *); /* what lost lives have left was seen, and past_doubt told */
bool past_is_listed(const struct cleat *);
void past_trust(struct cleat *); /* an operator says that this journal is the truth */

#endif
