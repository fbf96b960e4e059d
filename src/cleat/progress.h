/* What sessions or jobs are at, redrawn on a terminal while calls wait for them. */
#ifndef CLEAT_CLEAT_PROGRESS_H
#define CLEAT_CLEAT_PROGRESS_H

#include "base/buf.h"
#include "cleat/ids.h"

struct progress;

enum outcome { GOING, GOOD, BAD };

struct progress_kind {
    const struct id_kind *ids;
    /* Adds its line without an end; document NULL: not listed. now_ms: Unix time. */
    void (*describe)(struct buf *line, const char *id, const json_t *document, int64_t now_ms);
    enum outcome (*outcome)(const json_t *document);
    const char *good, *going, *bad; /* how many, when there are too many lines */
};
extern const struct progress_kind session_progress, job_progress;

/* ids: borrowed. Draws on stderr from the loop; nothing at all when that is no terminal. */
struct progress *progress_new(struct cli *, const struct progress_kind *, char *const *ids,
                              size_t count);
void progress_free(struct progress *); /* leaves the last picture */
/* Draws once more, from what cleatd says now. */
void progress_finish(struct progress *);

#endif
