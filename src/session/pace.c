#include "session/pace.h"

#include <stdbool.h>

void pace_note(struct pace *p, int64_t now)
{
    p->at[p->count++ % PACE_RETURNS] = now;
}

int64_t pace_expect(const struct pace *p, int64_t n, int64_t now)
{
    if (p->count < PACE_EVIDENCE)
        return 0;
    int64_t known = p->count < PACE_RETURNS ? (int64_t)p->count : PACE_RETURNS;
    int64_t oldest = p->at[(p->count - (uint64_t)known) % PACE_RETURNS];
    int64_t newest = p->at[(p->count - 1) % PACE_RETURNS];
    int64_t interval = (newest - oldest) / (known - 1), lately = (now - oldest) / known;
    if (lately > interval)
        interval = lately;
    bool overdue = newest + interval < now;
    return (overdue ? now : newest) + n * interval;
}
