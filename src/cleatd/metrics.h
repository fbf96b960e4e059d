/* Metrics of the coordinator and of this process. */
#ifndef CLEAT_CLEATD_METRICS_H
#define CLEAT_CLEATD_METRICS_H

#include "cleat.h"
#include "cleatd/exchange.h"

/* Prometheus' text format; loop: the one that serves the API. free() */
char *metrics_text(struct cleat *, const struct loop *);
void metrics_note_answer(int status);

void api_get_metrics(struct exchange *);

#endif
