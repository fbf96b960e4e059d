/* Draining: no new sessions of one tenant or of all, until somebody says that it is over; and
 * the end of the coordinator that closes all sessions first. */
#ifndef CLEAT_SESSION_DRAIN_H
#define CLEAT_SESSION_DRAIN_H

#include "session/core.h"

void drain_load(struct cleat *); /* after the journal */
void drain_free(struct cleat *);
/* Whether new sessions of this tenant are refused; e says so. */
bool drain_covers(const struct cleat *, const char *tenant, struct error *e);
void drain_consider(struct cleat *);        /* a session has ended or become durable */
json_t *drain_status(const struct cleat *); /* a new reference */
char *drain_document(const struct cleat *); /* the same as text; free() */

/* In effect at once; durable once drain_durable says so. tenant NULL: all. now: open sessions
 * are closed, too. */
void drain_begin(struct cleat *, const char *tenant, bool now);
void drain_end(struct cleat *, const char *tenant);
bool drain_durable(const struct cleat *);

#endif
