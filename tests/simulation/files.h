/* The simulated file system: it survives the coordinator. */
#ifndef SIMULATION_FILES_H
#define SIMULATION_FILES_H

#include <stdbool.h>

struct container;

#define FILES_BOOT_ID "/proc/sys/kernel/random/boot_id" /* one machine's, or each its own */

void files_begin(void);
void datafiles_begin(void); /* src/loop/datafile.h */
bool datafiles_under(const char *prefix); /* is there still any whose path begins so? */
void files_put(const char *path, const char *text);
const char *files_get(const char *path); /* NULL: absent */
void files_lock(const char *path, struct container *);
void files_unlock(struct container *);   /* and tells who watches it */
bool files_under(const char *directory); /* is there still anything? */

#endif
