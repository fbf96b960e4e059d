/* A coordinator's configuration: its own settings and its classes. */
#ifndef CLEAT_SESSION_CONFIG_H
#define CLEAT_SESSION_CONFIG_H

#include "session/core.h"

struct cleat_config {
    struct settings settings;
    struct class *classes;
    size_t class_count;
};

struct class *config_class(const struct cleat_config *, const char *name); /* NULL: none */

#endif
