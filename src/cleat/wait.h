/* Waiting for several sessions at once. */
#ifndef CLEAT_CLEAT_WAIT_H
#define CLEAT_CLEAT_WAIT_H

#include "cleat/call.h"

#define WAIT_MAX_S 3600

/* The sessions that arguments mean, free_ids(); NULL: *status is said. */
char **find_sessions(struct cli *, char **arguments, size_t count, int *status);
void free_ids(char **ids, size_t count);

/* One request on each id at once: path is "/v1/sessions/ID" and then query. Failures are said;
 * the first one's code comes back. Documents go to stdout with --json. */
int for_each_session(struct cli *, char *const *ids, size_t count, const char *method,
                     const char *query, int64_t timeout_ms);

/* One document as it came, several as {"sessions":[…]}. */
void print_documents(const struct call *calls, size_t count);

/* for_each_session with wait=ready and progress, or wait=closed. */
int wait_for_sessions(struct cli *, char *const *ids, size_t count, bool closed,
                      int64_t timeout_s);

#endif
