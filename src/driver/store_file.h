/* The database's file: private, on a local disk, of one process at a time. */
#ifndef CLEAT_DRIVER_STORE_FILE_H
#define CLEAT_DRIVER_STORE_FILE_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/error.h"

struct store_file {
    char *path, *log; /* log: SQLite's write-ahead log */
    int lock_fd;
    dev_t device;
    ino_t inode;
};

/* Makes directory (0700), lock file and file (0600). False: *e says why; close it as well. */
bool store_file_open(struct store_file *, const char *path, struct error *);
void store_file_close(struct store_file *);

/* Whether the path still leads to the file that was opened: SQLite goes on writing into a file
 * that was removed or replaced. Once it is open, there is a write-ahead log as well. NULL: yes,
 * else what is wrong, a static text. */
const char *store_file_lost(const struct store_file *);

#endif
