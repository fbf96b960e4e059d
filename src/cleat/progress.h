/* Phases of sessions that open, redrawn on a terminal while calls wait for them. */
#ifndef CLEAT_CLEAT_PROGRESS_H
#define CLEAT_CLEAT_PROGRESS_H

#include "cleat/cli.h"

struct progress;

/* ids: borrowed. Draws on stderr from the loop; nothing at all when that is no terminal. */
struct progress *progress_new(struct cli *, char *const *ids, size_t count);
void progress_free(struct progress *); /* leaves the last picture */
/* Draws once more, from what cleatd says now. */
void progress_finish(struct progress *);

#endif
