/* Which engine holds an attempt's container, and under whose label: as its row tells. */
#ifndef CLEAT_SESSION_ENGINE_H
#define CLEAT_SESSION_ENGINE_H

#include "session/core.h"

json_t *engine_row(const struct group *); /* new reference */
/* row NULL, or of no sense: one of a time when rows did not tell. False and ERR_CONFIG: the
 * configuration means another engine or owner now, where nothing is known of the container. */
bool engine_is_same(const struct session *, const json_t *row, struct error *e);

#endif
