/* The query of a request, checked. Each function gives false when it has refused the exchange.
 */
#ifndef CLEAT_CLEATD_QUERY_H
#define CLEAT_CLEATD_QUERY_H

#include "cleatd/exchange.h"

/* A whole number; without the parameter *out stays. max INT64_MAX: there is no limit. */
bool query_number(struct exchange *, const char *name, int64_t min, int64_t max, int64_t *out);
/* true or false; without the parameter *out stays. */
bool query_flag(struct exchange *, const char *name, bool *out);
/* timeout_s, into x->wait_ms. It is for requests that wait; needs says so to others. */
bool query_timeout(struct exchange *, bool waits, const char *needs);
/* Whose things are asked for: a tenant's are its own, an operator may name one (NULL: all). */
bool query_tenant(struct exchange *, const char **out);

#endif
