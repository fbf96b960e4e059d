/* What is under our owner label and belongs to no attempt: found by comparison with what was
 * listed, closed after a grace by the cleanup of attempts, a few at a time. */
#ifndef CLEAT_SESSION_REAPER_H
#define CLEAT_SESSION_REAPER_H

#include "session/core.h"
#include "session/listing.h"

void reaper_start(struct cleat *); /* before the first listing */
void reaper_free(struct cleat *);
void reaper_compare(struct group *, const struct listed *);
int64_t reaper_wait_ms(const struct group *); /* until one of its orphans is due; INT64_MAX */
void reaper_consider(struct cleat *);         /* closes those that are due */

/* An attempt that closes an orphan: of an earlier life; has ended; is forgotten before. */
void reaper_recovered(struct attempt *);
void reaper_ended(struct attempt *);
void reaper_forgot(struct attempt *);

/* An operator asks, after a listing: closes all that it may, without grace, and says what it
 * did. adopt: the journal is the truth. dry: says what it would do. free() */
char *reaper_order(struct cleat *, bool adopt, bool dry);

struct reaper_counts {
    uint64_t found, adopted, closed;           /* since the start */
    unsigned waiting, closing, held, reported; /* now */
};
struct reaper_counts reaper_count(const struct cleat *);
json_t *reaper_status(const struct cleat *); /* new reference */

#endif
