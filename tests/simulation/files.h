/* The simulated file system: it survives the coordinator. */
#ifndef SIMULATION_FILES_H
#define SIMULATION_FILES_H

#include <stdbool.h>

struct container;

void files_begin(void);
void files_put(const char *path, const char *text);
const char *files_get(const char *path); /* NULL: absent */
void files_lock(const char *path, struct container *);
void files_unlock(struct container *);   /* and tells who watches it */
bool files_under(const char *directory); /* is there still anything? */

#endif
