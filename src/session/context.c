#include "session/context.h"

#include <string.h>
#include "cleat.h"

bool context_sees(const char *tenant, const struct session *s)
{
    return !tenant || strcmp(tenant, s->context.tenant) == 0;
}

struct session *context_find(const struct cleat *core, const char *tenant, const char *id)
{
    struct session *s = core_find(core, id);
    return s && context_sees(tenant, s) ? s : NULL;
}

bool cleat_sees(const struct cleat *core, const char *tenant, const char *id)
{
    return context_find(core, tenant, id) != NULL;
}
