#include "base/hash.h"

uint64_t hash_more(uint64_t before, const void *data, size_t len)
{
    const unsigned char *byte = data;
    uint64_t hash = before;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ byte[i]) * UINT64_C(1099511628211);
    return hash;
}
