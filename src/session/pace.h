/* How often places come back, from the newest returns. */
#ifndef CLEAT_SESSION_PACE_H
#define CLEAT_SESSION_PACE_H

#include <stdint.h>

#define PACE_RETURNS 16
#define PACE_EVIDENCE 3 /* fewer returns tell nothing */

struct pace {
    int64_t at[PACE_RETURNS]; /* core time; the newest is at[(count - 1) % PACE_RETURNS] */
    uint64_t count;           /* of all returns */
};

void pace_note(struct pace *, int64_t now);
/* When the n-th place from now on (1: the next) is expected, not before now. 0: nothing is
 * known. The longer none comes back, the later. */
int64_t pace_expect(const struct pace *, int64_t n, int64_t now);

#endif
