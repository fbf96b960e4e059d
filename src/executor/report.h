/* What a helper process says to its parent on descriptor 1: the lines of helper.h. */
#ifndef CLEAT_EXECUTOR_REPORT_H
#define CLEAT_EXECUTOR_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

void report_total(size_t files, int64_t bytes); /* may be said again when more is found */
/* Adds to what is done; bytes may be negative: what must be done anew. The signature is that of
 * tree_target.copied. */
void report_done(void *unused, int64_t bytes, bool whole_file);
int64_t report_bytes_done(void);
int report_failure(const struct error *e); /* returns the exit status */

#endif
