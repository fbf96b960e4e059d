/* Files of bytes that are written from some offset on, behind an interface so that the
 * simulation replaces them. Nothing is kept open. Errors are ERR_STORE. */
#ifndef CLEAT_LOOP_DATAFILE_H
#define CLEAT_LOOP_DATAFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

/* All of data from offset at on; makes the file (0600). After an error any part may be there.
 */
enum error_code datafile_write(const char *path, uint64_t at, const void *data, size_t len,
                               struct error *e);
/* At most size bytes from offset at on; fewer at the end of the file, none of an absent one. */
size_t datafile_read(const char *path, uint64_t at, void *out, size_t size);
int64_t datafile_size(const char *path); /* -1: absent */
void datafile_cut(const char *path, uint64_t size);
/* Until the disk has it: blocks the loop. */
enum error_code datafile_sync(const char *path, struct error *e);
void datafile_remove(const char *path); /* an absent one is fine */

/* Every name in a directory but "." and "..". */
typedef void datafile_each_fn(void *arg, const char *name);
void datafile_list(const char *directory, datafile_each_fn *each, void *arg);

#endif
