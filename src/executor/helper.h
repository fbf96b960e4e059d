/* Work that would block the loop, done by a process of our own program: it prints lines, we
 * read them.
 *     ready              it may be told the settings (settings.h)
 *     total FILES BYTES  what there is to do, as far as it is known
 *     done FILES BYTES   what is done so far
 *     failed TEXT        why it will exit with a failure */
#ifndef CLEAT_EXECUTOR_HELPER_H
#define CLEAT_EXECUTOR_HELPER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"
#include "loop/loop.h"

#define HELPERS_MAX 8

struct helper;

struct helper_progress {
    int64_t files, bytes, files_done, bytes_done;
};

/* Reads one line into *p, or the text after "failed " into *why (may stay as it is). */
void helper_read_line(const char *line, struct helper_progress *p, struct error *why);

/* Called once, from the loop; e is NULL when the helper succeeded. */
typedef void helper_fn(void *arg, const struct error *e, const struct helper_progress *);

/* arguments: what follows the program's name, NULL-ended. NULL and *e when it was not started
 * (ERR_FULL: HELPERS_MAX run already); done is then never called. */
struct helper *helper_start(struct loop *, const char *const *arguments, helper_fn *done,
                            void *arg, struct error *e);

/* What helpers are told that say they are ready, those too that run already. line is taken, and
 * erased in the end; NULL: nothing any more. */
void helper_settings(char *line);

const struct helper_progress *helper_progress(const struct helper *);
size_t helper_pids(pid_t out[HELPERS_MAX]); /* of those that run */
void helper_end_all(void);                  /* kills them; done is not called any more */

#endif
