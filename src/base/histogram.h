/* Durations counted in buckets. Zeroed memory is an empty histogram; one is always used with
 * the same buckets. */
#ifndef CLEAT_BASE_HISTOGRAM_H
#define CLEAT_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 18

/* Upper bounds, each within its bucket, rising; what is longer has a bucket of its own. */
struct buckets {
    size_t count;
    int64_t bounds_us[HISTOGRAM_BUCKETS];
};
extern const struct buckets buckets_short; /* 50 µs to 5 s: turns of the loop */
extern const struct buckets buckets_long;  /* 1 ms to 1 h: phases of a session */

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* each bucket's own */
    uint64_t total;
    int64_t sum_us;
};

void histogram_add(struct histogram *, const struct buckets *,
                   int64_t us); /* < 0 counts as 0 */
void histogram_merge(struct histogram *into, const struct histogram *from);
/* Estimate of the quantile q (0..1), linear within a bucket; what is above all bounds counts as
 * the last one. -1: it is empty. */
int64_t histogram_quantile_us(const struct histogram *, const struct buckets *, double q);

#endif
