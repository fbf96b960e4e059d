/* Who asks, and what is theirs. */
#ifndef CLEAT_SESSION_CONTEXT_H
#define CLEAT_SESSION_CONTEXT_H

#include "session/core.h"

/* Whether a caller may know of it. tenant NULL: the operator, who sees all. */
bool context_sees(const char *tenant, const struct session *);
/* NULL: there is none, or it is another tenant's, which is the same. */
struct session *context_find(const struct cleat *, const char *tenant, const char *id);

#endif
