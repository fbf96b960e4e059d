#include "session/engine.h"

#include <string.h>

#define UNTIL "put it back until none is left (cleat drain)"

json_t *engine_row(const struct group *g)
{
    return json_pack("[s, s]", g->core->settings->owner, g->engine);
}

bool engine_is_same(const struct session *s, const json_t *row, struct error *e)
{
    const struct group *g = s->group;
    const char *now = g->core->settings->owner;
    const char *owner = json_string_value(json_array_get(row, 0));
    const char *engine = json_string_value(json_array_get(row, 1));
    if (owner && strcmp(owner, now) != 0)
        error_set(e, ERR_CONFIG,
                  "session %s has a container of owner %.20s, and owner is %s now: " UNTIL,
                  s->id, owner, now);
    else if (engine && strcmp(engine, g->engine) != 0) /* what fits into a message */
        error_set(e, ERR_CONFIG,
                  "session %s has a container of \"%.56s\", and class %.20s is of \"%.42s\" "
                  "now: " UNTIL,
                  s->id, engine, g->class->name, g->engine);
    else
        return true;
    return false;
}
