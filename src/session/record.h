/* Rows of the journal. */
#ifndef CLEAT_SESSION_RECORD_H
#define CLEAT_SESSION_RECORD_H

#include "session/core.h"

char *session_row(const struct session *); /* free() */
char *attempt_row(const struct attempt *); /* free() */
/* NULL and *e: damaged, or of a class that is not configured while the session lives; an
 * attempt, of a class or engine that is not while its container may live (ERR_CONFIG). */
struct session *session_from_row(struct cleat *, const char *row, struct error *e);
struct attempt *attempt_from_row(struct cleat *, const char *row,
                                 struct error *e); /* after its session */

#endif
