/* What the reading of a file needs of the configuration that it fills. */
#ifndef CLEAT_CLEATD_CONFIG_FILE_H
#define CLEAT_CLEATD_CONFIG_FILE_H

#include "cleatd/config.h"

/* One option, as it stands in that line; class_name NULL: outside of any class. */
bool config_set_at(struct configuration *, const char *class_name, const char *key,
                   const char *value, int line, char *why, size_t size);
/* cleatd's own options, then the coordinator's. */
void config_each_option(cleat_option_fn *, void *arg);

#endif
