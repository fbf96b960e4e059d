/* Removal of what somebody else made, on a host where none of his processes is left. */
#ifndef CLEAT_EXECUTOR_LEASE_WIPE_H
#define CLEAT_EXECUTOR_LEASE_WIPE_H

#include <stdbool.h>
#include <sys/types.h>
#include "base/error.h"

/* Removes directory name below at with all that is in it, however deep and whatever its modes;
 * follows no link, leaves its file system nowhere. An absent one is fine. */
enum error_code wipe_tree(int at, const char *name, struct error *e);
bool wipe_finds_file(int at, const char *name); /* anything below that is no directory */

/* Of that user: files in the directories that everybody may write to, System V IPC. */
enum error_code wipe_shared(uid_t, struct error *e);

#endif
