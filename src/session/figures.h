/* The figures that say at a glance how it goes, since the start. */
#ifndef CLEAT_SESSION_FIGURES_H
#define CLEAT_SESSION_FIGURES_H

#include "session/core.h"

json_t *figures_document(const struct cleat *); /* new reference */

#endif
