/* Lists of sessions that one turn can make: all that are not over, and the newest of those that
 * are. */
#ifndef CLEAT_SESSION_LIST_H
#define CLEAT_SESSION_LIST_H

#include "session/core.h"

typedef bool list_wants_fn(const struct session *, const void *arg);
typedef json_t *list_document_fn(const struct session *); /* new reference */

/* {NAME: [documents], "truncated"} of those that tenant (NULL: an operator) sees and wants is
 * true for, oldest first; it costs what the tenant has. free() */
char *list_make(const struct cleat *, const char *tenant, const char *name,
                list_wants_fn *wants, const void *arg, list_document_fn *document);

#endif
