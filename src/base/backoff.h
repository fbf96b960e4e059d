/* 3^n back-off: base × 3^(n-1) for the n-th try, n ≥ 1: with a base of 3 s: 3, 9, 27, 81 s. */
#ifndef CLEAT_BASE_BACKOFF_H
#define CLEAT_BASE_BACKOFF_H

#include <stdint.h>

/* n = 0 gives 0; never more than cap_ms; never overflows. */
int64_t backoff_ms(int64_t base_ms, unsigned n, int64_t cap_ms);

#endif
