/* Ids of sessions and jobs on the command line. */
#ifndef CLEAT_CLEAT_IDS_H
#define CLEAT_CLEAT_IDS_H

#include "cleat/call.h"

/* What is listed where, and how the id is called there. */
struct id_kind {
    const char *path, *list, *key,
        *noun; /* "/v1/sessions", "sessions", "session_id", "session" */
};
extern const struct id_kind session_ids, job_ids;

/* The whole id that an argument means: the id itself, or at least four characters of its
 * beginning or end that no other has. NULL: *status is the exit code, said on stderr. free().
 * listed caches the listing among calls: starts as NULL, json_decref it. */
char *find_id(struct cli *, const struct id_kind *, const char *argument, json_t **listed,
              int *status);

/* All of them, free_ids(); NULL: *status is said. */
char **find_ids(struct cli *, const struct id_kind *, char **arguments, size_t count,
                int *status);
void free_ids(char **ids, size_t count);

#endif
