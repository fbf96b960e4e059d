/* FNV-1a, 64 bits: for what nobody forges. */
#ifndef CLEAT_BASE_HASH_H
#define CLEAT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_OF_NOTHING UINT64_C(14695981039346656037)

/* The hash of what was hashed before (at first nothing) followed by this. */
uint64_t hash_more(uint64_t before, const void *data, size_t len);

#endif
