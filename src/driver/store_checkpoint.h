/* Copies SQLite's write-ahead log into the database: on a thread with a connection of its own,
 * since that flushes the disk. The thread logs nothing and knows no loop; what went wrong is
 * asked for. */
#ifndef CLEAT_DRIVER_STORE_CHECKPOINT_H
#define CLEAT_DRIVER_STORE_CHECKPOINT_H

#include <stdint.h>
#include "base/error.h"

struct checkpoint;

struct checkpoint *checkpoint_start(const char *path, struct error *); /* NULL: *e says why */
void checkpoint_stop(struct checkpoint *); /* waits for what is under way; NULL is allowed */

/* Around each write. They wait only when the log has become large without a pause. */
void checkpoint_enter_write(struct checkpoint *);
void checkpoint_leave_write(struct checkpoint *);
/* Of the log, after a commit. */
void checkpoint_note_pages(struct checkpoint *, int pages);

struct checkpoint_state {
    int64_t bytes;    /* of the log, that the next commit adds to */
    uint64_t passes;  /* that went well */
    char trouble[96]; /* why the newest pass failed; "": it did not */
};
void checkpoint_get(struct checkpoint *, struct checkpoint_state *out);

#endif
