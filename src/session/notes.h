/* The journal's rows of kind META: a few texts, each under its key, always in memory as well.
 */
#ifndef CLEAT_SESSION_NOTES_H
#define CLEAT_SESSION_NOTES_H

#include "session/core.h"

void notes_init(struct cleat *);
void notes_free(struct cleat *);

const char *note_get(const struct cleat *, const char *key); /* NULL: there is none */
/* Goes into the turn's commit, and again when that fails. text is copied; NULL: there is none
 * from now on. */
void note_put(struct cleat *, const char *key, const char *text);
bool note_durable(const struct cleat *, const char *key);

/* For the journal. */
void note_from_row(struct cleat *, const char *key, const char *row);
bool notes_are_dirty(const struct cleat *);
typedef void notes_each_fn(void *arg, const char *key, const char *row); /* row NULL: delete */
void notes_commit(struct cleat *, uint64_t commit, notes_each_fn *, void *arg); /* the dirty */
void notes_again(struct cleat *, uint64_t commit); /* what it held is dirty again: it failed */

#endif
