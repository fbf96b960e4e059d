/* How well it goes, in a few lines. */
#ifndef CLEAT_CLEAT_FIGURES_H
#define CLEAT_CLEAT_FIGURES_H

#include <jansson.h>

/* The key figures of GET /v1/status, with the hits of the warm pools, if there are any; nothing
 * at all without "key_figures". */
void show_figures(const json_t *status);

#endif
