/* A document in full. */
#ifndef CLEAT_CLEAT_SHOW_H
#define CLEAT_CLEAT_SHOW_H

#include <jansson.h>

/* Its plain members, in its order; those that are null or lists are left out. */
void show_members(const json_t *document);

#endif
