#include "http/wipe.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

void *wipe_malloc(size_t size)
{
    return malloc(size);
}

void *wipe_calloc(size_t count, size_t size)
{
    return calloc(count, size);
}

char *wipe_strdup(const char *s)
{
    return strdup(s);
}

void wipe_free(void *p)
{
    if (p)
        mem_wipe(p, malloc_usable_size(p));
    free(p);
}

void *wipe_realloc(void *p, size_t size)
{
    size_t old = p ? malloc_usable_size(p) : 0;
    if (old >= size && old / 2 <= size)
        return p;
    void *new = malloc(size);
    if (!new)
        return NULL;
    if (p)
        memcpy(new, p, old < size ? old : size);
    wipe_free(p);
    return new;
}
