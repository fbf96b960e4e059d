#include "base/histogram.h"

#define MS 1000
#define S (1000 * INT64_C(1000))

const struct buckets buckets_short = {
    .count = 16,
    .bounds_us = {50, 100, 250, 500, 1 * MS, 2500, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS,
                  250 * MS, 500 * MS, 1 * S, 2500 * MS, 5 * S}};

const struct buckets buckets_long = {
    .count = 18,
    .bounds_us = {1 * MS,   5 * MS,  10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS,
                  1 * S,    2500 * MS, 5 * S, 10 * S,  30 * S,  60 * S,   120 * S,  300 * S,
                  1200 * S, 3600 * S}};

void histogram_add(struct histogram *h, const struct buckets *b, int64_t us)
{
    size_t i = 0;
    if (us < 0)
        us = 0;
    while (i < b->count && us > b->bounds_us[i])
        i++;
    h->counts[i]++;
    h->total++;
    h->sum_us += us;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        into->counts[i] += from->counts[i];
    into->total += from->total;
    into->sum_us += from->sum_us;
}

int64_t histogram_quantile_us(const struct histogram *h, const struct buckets *b, double q)
{
    double rank = q * (double)h->total, below = 0;
    if (h->total == 0)
        return -1;
    for (size_t i = 0; i < b->count; i++) {
        double inside = (double)h->counts[i];
        if (inside > 0 && below + inside >= rank) {
            int64_t low = i > 0 ? b->bounds_us[i - 1] : 0;
            double part = (rank - below) / inside;
            return low + (int64_t)(part * (double)(b->bounds_us[i] - low));
        }
        below += inside;
    }
    return b->bounds_us[b->count - 1];
}
