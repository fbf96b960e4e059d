#include "base/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static void make_room(struct buf *b, size_t more)
{
    if (more > SIZE_MAX / 2 - b->len)
        abort();
    size_t need = b->len + more + 1;
    if (need <= b->cap)
        return;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap *= 2;
    b->data = mem_grow(b->data, cap);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    make_room(b, len);
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    size_t room = b->cap - b->len; /* most texts fit */
    va_start(args, fmt);
    int len = vsnprintf(b->data ? b->data + b->len : NULL, b->data ? room : 0, fmt, args);
    va_end(args);
    if (len < 0)
        abort();
    if (!b->data || (size_t)len >= room) {
        make_room(b, (size_t)len);
        va_start(args, fmt);
        vsnprintf(b->data + b->len, (size_t)len + 1, fmt, args);
        va_end(args);
    }
    b->len += (size_t)len;
}

void buf_drop(struct buf *b, size_t len)
{
    if (len == 0 || b->len == 0)
        return;
    if (len > b->len)
        len = b->len;
    b->len -= len;
    memmove(b->data, b->data + len, b->len + 1);
}

char *buf_take(struct buf *b)
{
    char *data = b->data ? b->data : mem_strdup("");
    *b = (struct buf){0};
    return data;
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
