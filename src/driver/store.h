/* The journal: rows of a few kinds, each a JSON text under its key. One commit is atomic, and
 * once done is called it outlives this process; several may be in flight and are done in their
 * order. */
#ifndef CLEAT_DRIVER_STORE_H
#define CLEAT_DRIVER_STORE_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "loop/loop.h"

enum store_kind {
    STORE_SESSION,
    STORE_ATTEMPT,
    STORE_META, /* what the journal says of itself */
    STORE_KINDS
};

/* After a loss of power the last commits may be missing under STORE_NORMAL, but never a part of
 * one or one before them; under STORE_FULL none is (synchronous of a WAL database,
 * sqlite.org/pragma.html). A crash of this process loses none under either. */
enum store_durability { STORE_NORMAL, STORE_FULL };

struct store_change {
    enum store_kind kind;
    const char *key;
    const char *row; /* NULL: delete */
};

struct store;

struct store_status {
    int64_t log_bytes;    /* committed, and not copied into the database yet */
    uint64_t checkpoints; /* times that the log was copied */
    char trouble[96];     /* why that does not work, so that the log grows; "": it does */
};

typedef void store_done_fn(void *arg, const struct error *);
typedef void store_each_fn(void *arg, const char *key, const char *row);

struct store_ops {
    /* path: the database file (0600), its directory is made (0700). NULL and ERR_STORE: refuses
     * a network file system, a second opener, a file that is damaged, locked by somebody else or
     * of a newer release; nothing of it is changed then. Blocks, for a large file for seconds. */
    struct store *(*open)(struct loop *, const char *path, enum store_durability,
                          struct error *);
    /* What was committed is kept; no callback comes any more. NULL is allowed. */
    void (*close)(struct store *);
    /* Copies the changes. done is called once, from the loop, never before the call returns.
     * An error (ERR_STORE) means that nothing of this commit was kept. */
    void (*commit)(struct store *, const struct store_change *, size_t count, store_done_fn *,
                   void *arg);
    /* Only before the first commit; blocks. In the order of the keys. Sets *e in any case. */
    void (*load)(struct store *, enum store_kind, store_each_fn *, void *arg, struct error *);
    void (*status)(struct store *, struct store_status *);
};

extern const struct store_ops store_sqlite;

#endif
