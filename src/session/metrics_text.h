/* The parts of the text of metrics that have a file of their own. */
#ifndef CLEAT_SESSION_METRICS_TEXT_H
#define CLEAT_SESSION_METRICS_TEXT_H

#include "http/prometheus.h"
#include "session/core.h"

void metrics_add_tenants(struct exposition *, const struct cleat *);

#endif
