/* An allocator that erases what it frees, for a library that is handed secrets and does not
 * erase them itself. As malloc(3) and strdup(3), NULL when there is no memory. */
#ifndef CLEAT_HTTP_WIPE_H
#define CLEAT_HTTP_WIPE_H

#include <stddef.h>

void *wipe_malloc(size_t size);
void *wipe_calloc(size_t count, size_t size);
void *wipe_realloc(void *p, size_t size); /* erases the old place when it moves or shrinks */
char *wipe_strdup(const char *s);
void wipe_free(void *p);

#endif
