/* The limits: their names, and what they are for one tenant. */
#ifndef CLEAT_SESSION_LIMITS_H
#define CLEAT_SESSION_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"

struct settings;

enum limit {
    LIMIT_NONE,
    /* on sessions that run */
    LIMIT_SESSIONS,
    LIMIT_TENANT_SESSIONS,
    LIMIT_USER_SESSIONS,
    LIMIT_PARALLEL, /* of a class */
    LIMIT_CAPACITY, /* no option: its engine has no room */
    /* on sessions that wait */
    LIMIT_QUEUED,
    LIMIT_TENANT_QUEUED,
    LIMIT_USER_QUEUED,
    LIMIT_CLASS_QUEUED,
    LIMIT_CLOSED,
    LIMITS
};

extern const char *const limit_names[LIMITS]; /* reasons in the API; none: NULL */

struct tenant_limits {
    int64_t sessions, queued; /* 0: no limit */
};
struct tenant_limits limits_of(const struct settings *, const char *tenant);
/* Whether tenant_limits can be understood; false and *e (ERR_CONFIG). */
bool limits_check(const struct settings *, struct error *e);

#endif
