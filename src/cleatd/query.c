#include "cleatd/query.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define WAIT_DEFAULT_S 300
#define WAIT_MAX_S 3600

static bool refuse(struct exchange *x, const char *message)
{
    exchange_refuse(x, ERR_INVALID, 0, message);
    return false;
}

bool query_number(struct exchange *x, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const char *text = server_query(x->request, name);
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (!text)
        return true;
    bool fine = digits > 0 && digits <= 18 && !text[digits];
    *out = fine ? strtoll(text, NULL, 10) : 0;
    if (fine && *out >= min && *out <= max)
        return true;
    char *message = max == INT64_MAX
                        ? mem_printf("%s is a whole number from %lld on", name, (long long)min)
                        : mem_printf("%s is a whole number within %lld..%lld", name,
                                     (long long)min, (long long)max);
    refuse(x, message);
    free(message);
    return false;
}

bool query_flag(struct exchange *x, const char *name, bool *out)
{
    const char *text = server_query(x->request, name);
    bool yes = text && strcmp(text, "true") == 0;
    if (text)
        *out = yes;
    if (!text || yes || strcmp(text, "false") == 0)
        return true;
    char *message = mem_printf("%s is true or false", name);
    refuse(x, message);
    free(message);
    return false;
}

bool query_timeout(struct exchange *x, bool waits, const char *needs)
{
    int64_t seconds = WAIT_DEFAULT_S;
    if (server_query(x->request, "timeout_s") && !waits)
        return refuse(x, needs);
    if (!query_number(x, "timeout_s", 1, WAIT_MAX_S, &seconds))
        return false;
    x->wait_ms = seconds * 1000;
    return true;
}

bool query_tenant(struct exchange *x, const char **out)
{
    const char *tenant = server_query(x->request, "tenant");
    *out = x->tenant ? x->tenant : tenant;
    if (tenant && !*tenant)
        return refuse(x, "tenant is a name");
    if (!tenant || strcmp(tenant, *out) == 0)
        return true;
    exchange_refuse(x, ERR_FORBIDDEN, 0, "tenant: what is another tenant's is not for you");
    return false;
}
