/* One question over a Unix socket: connect, send text, read the answer until the peer closes.
 * HAProxy's Runtime API in non-interactive mode works just so. */
#ifndef CLEAT_LOOP_ASK_H
#define CLEAT_LOOP_ASK_H

#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "loop/loop.h"

struct ask;

/* answer is NUL-ended, valid during the call; NULL when e says what failed: ERR_CONNECT: nobody is
 * there; ERR_INTERNAL: no descriptor, no permission; ERR_TIMEOUT; ERR_RESET, also for an empty
 * answer; ERR_TOO_LARGE. Called once, from the loop. */
typedef void ask_fn(void *arg, const struct error *e, const char *answer, size_t len);

struct ask *ask_start(struct loop *, const char *socket_path, const char *text,
                      size_t max_answer, int64_t deadline_ms, ask_fn *done, void *arg);
void ask_cancel(struct ask *); /* never calls back; only before done was called */

#endif
