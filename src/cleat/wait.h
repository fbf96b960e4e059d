/* Waiting for several sessions at once. */
#ifndef CLEAT_CLEAT_WAIT_H
#define CLEAT_CLEAT_WAIT_H

#include "cleat/ids.h"

#define WAIT_MAX_S 3600

/* One request on each id at once: its path is the kind's, the id, and then query. Failures are
 * said; the first one's code comes back. Documents go to stdout with --json. */
int for_each_id(struct cli *, const struct id_kind *, char *const *ids, size_t count,
                const char *method, const char *query, int64_t timeout_ms);

/* One document as it came, several as {"sessions":[…]}. */
void print_documents(const struct id_kind *, const struct call *calls, size_t count);

/* for_each_id with wait=ready and progress, or wait=closed. */
int wait_for_sessions(struct cli *, char *const *ids, size_t count, bool closed,
                      int64_t timeout_s);

#endif
