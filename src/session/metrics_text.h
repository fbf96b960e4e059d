/* The parts of the text of metrics that have a file of their own. */
#ifndef CLEAT_SESSION_METRICS_TEXT_H
#define CLEAT_SESSION_METRICS_TEXT_H

#include "http/prometheus.h"
#include "session/core.h"

#define EACH_GROUP(g, core)                                                                    \
    for (const struct group *g = (core)->groups; g < (core)->groups + (core)->group_count; g++)

void metrics_add_admission(struct exposition *, const struct cleat *);
void metrics_add_driver_calls(struct exposition *, const struct cleat *);
void metrics_add_attempts(struct exposition *, const struct cleat *);
void metrics_add_routes(struct exposition *, const struct cleat *);
void metrics_add_endpoint_cache(struct exposition *, const struct cleat *);
void metrics_add_http(struct exposition *, const struct cleat *);
void metrics_add_aws(struct exposition *, const struct cleat *);

#endif
