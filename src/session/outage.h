/* What happens while the journal cannot be written: a commit is tried again after 1 s, then
 * ever more rarely up to 30 s, until one works. core->store_failing says that it is so. */
#ifndef CLEAT_SESSION_OUTAGE_H
#define CLEAT_SESSION_OUTAGE_H

#include "session/core.h"

void outage_init(struct cleat *);
void outage_stop(struct cleat *);

/* The word of each commit. */
void outage_failed(struct cleat *, const struct error *);
void outage_is_over(struct cleat *);

bool outage_waits(const struct cleat *); /* it is not the time for a commit */

#endif
