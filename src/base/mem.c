#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Nothing here may allocate. */
static _Noreturn void die(void)
{
    static const char line[] = "level=error event=memory.exhausted\n";
    ssize_t written = write(STDERR_FILENO, line, sizeof line - 1);
    (void)written;
    abort();
}

void *mem_alloc(size_t size)
{
    return mem_array(1, size);
}

void *mem_array(size_t count, size_t size)
{
    if (count == 0 || size == 0)
        count = size = 1;
    void *p = calloc(count, size);
    if (!p)
        die();
    return p;
}

void *mem_grow(void *old, size_t size)
{
    void *p = realloc(old, size > 0 ? size : 1);
    if (!p)
        die();
    return p;
}

char *mem_strdup(const char *s)
{
    return s ? mem_strndup(s, strlen(s)) : NULL;
}

char *mem_strndup(const char *s, size_t len)
{
    len = strnlen(s, len);
    char *copy = mem_alloc(len + 1);
    memcpy(copy, s, len);
    return copy;
}

char *mem_printf(const char *fmt, ...)
{
    char *text;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0)
        die();
    return text;
}

void mem_wipe(void *p, size_t size)
{
    if (p)
        explicit_bzero(p, size);
}

void mem_copy_string(char *to, size_t size, const char *from)
{
    if (size == 0)
        return;
    size_t len = strnlen(from, size - 1);
    for (int i = 0; i < 3 && len > 0 && ((unsigned char)from[len] & 0xc0) == 0x80; i++)
        len--; /* in the middle of a character */
    memcpy(to, from, len);
    to[len] = '\0';
}
