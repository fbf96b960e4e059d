/* Metrics as text, in Prometheus' exposition format 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). */
#ifndef CLEAT_HTTP_PROMETHEUS_H
#define CLEAT_HTTP_PROMETHEUS_H

#include <stdint.h>
#include "base/buf.h"
#include "base/histogram.h"

#define PROMETHEUS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Zero-initialise; text is the caller's to take. */
struct exposition {
    struct buf text;
    const char *family; /* of the samples that follow */
};

/* A family, before its samples. type: "counter", "gauge", "histogram". Borrows name. */
void expose_family(struct exposition *, const char *name, const char *type, const char *help);

/* A family of one sample without labels. */
void expose_counter(struct exposition *, const char *name, uint64_t value, const char *help);
void expose_gauge(struct exposition *, const char *name, int64_t value, const char *help);

/* A sample of the family. Labels follow as pairs of name and value, ended by NULL; values may
 * be any text. */
void expose(struct exposition *, int64_t value, ...) __attribute__((sentinel));
void expose_seconds(struct exposition *, int64_t us, ...) __attribute__((sentinel));
void expose_histogram(struct exposition *, const struct histogram *, const struct buckets *,
                      ...) __attribute__((sentinel));

#endif
