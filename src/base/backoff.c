#include "base/backoff.h"

int64_t backoff_ms(int64_t base_ms, unsigned n, int64_t cap_ms)
{
    if (n == 0 || base_ms <= 0 || cap_ms <= 0)
        return 0;
    int64_t wait_ms = base_ms;
    while (--n > 0 && wait_ms < cap_ms) {
        if (wait_ms > INT64_MAX / 3)
            return cap_ms;
        wait_ms *= 3;
    }
    return wait_ms < cap_ms ? wait_ms : cap_ms;
}
