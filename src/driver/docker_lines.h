/* Lines of a body that comes in pieces. */
#ifndef CLEAT_DRIVER_DOCKER_LINES_H
#define CLEAT_DRIVER_DOCKER_LINES_H

#include <stdbool.h>
#include "base/buf.h"

/* False: this line shall be the last. The line has no end. */
typedef bool docker_line_fn(void *arg, const char *line, size_t len);

/* Hands over each whole line that is not empty; the rest waits in pending. False: fn wants no
 * more, or a line is longer than a MiB. */
bool docker_split(struct buf *pending, const char *data, size_t len, docker_line_fn *fn,
                  void *arg);

#endif
