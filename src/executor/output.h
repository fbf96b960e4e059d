/* One stream of an execution: a pipe that is read to its end, and a file that keeps the first
 * bytes. The rest is counted and dropped, so that no writer blocks or fills the disk. */
#ifndef CLEAT_EXECUTOR_OUTPUT_H
#define CLEAT_EXECUTOR_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "loop/loop.h"

struct output {
    char *path;
    size_t limit, kept;
    uint64_t total;
    bool ended;               /* nothing more will come */
    bool failed;              /* the file could not be written: what came later is lost */
    int file, reader, writer; /* -1: closed */
    struct fd_watch *watch;
    struct order *order; /* where its bytes are entered; NULL: nowhere */
    bool is_err;
    struct loop *loop;
    loop_fn *changed; /* more bytes, or the end by itself */
    void *arg;
};

void output_init(struct output *); /* no descriptors yet: finish and release find nothing */
/* Makes the file (0600) and the pipe; writer is for the child, output_start closes it here. */
enum error_code output_open(struct output *, const char *path, size_t limit, struct error *e);
void output_start(struct output *, struct loop *, loop_fn *changed, void *arg);
/* The writers are gone: takes what is still in the pipe and closes everything. */
void output_finish(struct output *);
void output_release(struct output *); /* the file stays */

bool output_truncated(const struct output *);
/* Adds at most max kept bytes from offset; fewer than there are only by max. */
enum error_code output_read(const struct output *, uint64_t offset, size_t max, struct buf *to,
                            struct error *e);
/* All of it as text, with the mark of truncation. */
enum error_code output_text(const struct output *, struct buf *to, struct error *e);

#endif
