/* How many jobs of a timeline ran at the same time. */
#ifndef CLEAT_CLEAT_OVERLAP_H
#define CLEAT_CLEAT_OVERLAP_H

#include "base/buf.h"
#include "cleat/timeline.h"

/* Fills in the timeline's overlap. */
void overlap_count(struct timeline *);
/* "6 at once for 4.93s" */
void overlap_describe(const struct overlap *, struct buf *);

#endif
