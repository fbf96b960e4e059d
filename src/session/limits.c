#include "session/limits.h"

#include <stdlib.h>
#include <string.h>
#include "session/core.h"

#define LIMIT_MAX 100000 /* as of the options */

const char *const limit_names[LIMITS] = {[LIMIT_SESSIONS] = "max_sessions",
                                         [LIMIT_TENANT_SESSIONS] = "tenant_max_sessions",
                                         [LIMIT_USER_SESSIONS] = "user_max_sessions",
                                         [LIMIT_PARALLEL] = "max_parallel",
                                         [LIMIT_CAPACITY] = "capacity",
                                         [LIMIT_QUEUED] = "max_queued",
                                         [LIMIT_TENANT_QUEUED] = "tenant_max_queued",
                                         [LIMIT_USER_QUEUED] = "user_max_queued",
                                         [LIMIT_CLASS_QUEUED] = "class_max_queued",
                                         [LIMIT_CLOSED] = "max_closed"};

static bool read_number(const char **text, char end, int64_t *out)
{
    size_t digits = strspn(*text, "0123456789");
    if (digits == 0 || digits > 6 || (*text)[digits] != end)
        return false;
    *out = strtol(*text, NULL, 10);
    *text += digits + 1;
    return *out <= LIMIT_MAX;
}

/* TENANT=SESSIONS:QUEUED */
static bool read_entry(const char *entry, size_t *name, struct tenant_limits *out)
{
    const char *equal = strrchr(entry, '=');
    const char *at = equal ? equal + 1 : entry;
    *name = equal ? (size_t)(equal - entry) : 0;
    return *name > 0 && read_number(&at, ':', &out->sessions) &&
           read_number(&at, '\0', &out->queued);
}

struct tenant_limits limits_of(const struct settings *set, const char *tenant)
{
    struct tenant_limits own;
    size_t name;
    for (char **entry = set->tenant_limits; *entry; entry++)
        if (read_entry(*entry, &name, &own) && strlen(tenant) == name &&
            strncmp(*entry, tenant, name) == 0)
            return own;
    return (struct tenant_limits){set->tenant_max_sessions, set->tenant_max_queued};
}

static bool is_named_before(char **list, char **entry, size_t name)
{
    for (; list < entry; list++)
        if (strncmp(*list, *entry, name + 1) == 0 && strrchr(*list, '=') == *list + name)
            return true;
    return false;
}

bool limits_check(const struct settings *set, struct error *e)
{
    struct tenant_limits own;
    size_t name;
    for (char **entry = set->tenant_limits; *entry; entry++) {
        if (!read_entry(*entry, &name, &own))
            error_set(e, ERR_CONFIG,
                      "tenant_limits: \"%s\" is not TENANT=SESSIONS:QUEUED with numbers within "
                      "0..%d",
                      *entry, LIMIT_MAX);
        else if (is_named_before(set->tenant_limits, entry, name))
            error_set(e, ERR_CONFIG, "tenant_limits: %.*s is there twice", (int)name, *entry);
        else
            continue;
        return false;
    }
    return true;
}
