/* Lines that a child process writes into a pipe or socket. */
#ifndef CLEAT_LOOP_LINES_H
#define CLEAT_LOOP_LINES_H

#include "base/error.h"
#include "loop/loop.h"

struct lines;

/* line is without its end, valid during the call; one over 8 KiB is dropped. */
typedef void lines_fn(void *arg, const char *line);

/* each is called from the loop. *writer is for the child (child_spec.pipe_fd), the caller
 * closes it after the spawn. NULL: *e, ERR_INTERNAL. */
struct lines *lines_open(struct loop *, int *writer, lines_fn *each, void *arg,
                         struct error *e);
/* The same over a descriptor of the caller's that does not block; lines_close closes it. */
struct lines *lines_over(struct loop *, int reader, lines_fn *each, void *arg);
void lines_drain(
    struct lines *); /* calls each for what is there already: the child has ended */
void lines_close(struct lines *);

#endif
