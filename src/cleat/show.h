/* Documents in full. */
#ifndef CLEAT_CLEAT_SHOW_H
#define CLEAT_CLEAT_SHOW_H

#include "cleat/ids.h"

/* Its plain members, in its order; those that are null or lists are left out. */
void show_members(const json_t *document);

/* Asks for the one thing of that kind that the command line names, and shows it, or prints it
 * as it came with --json. command: as it is called when something is wrong with that line. */
int show_one(struct cli *, const struct id_kind *, const char *command, int argc, char **argv,
             void (*show)(const json_t *));

#endif
