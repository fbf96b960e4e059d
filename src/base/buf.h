/* A growable run of bytes, always followed by a NUL. Zero-initialise, buf_free when done. */
#ifndef CLEAT_BASE_BUF_H
#define CLEAT_BASE_BUF_H

#include <stddef.h>

struct buf {
    char *data; /* NULL while nothing was ever added */
    size_t len, cap;
};

void buf_add(struct buf *, const void *data, size_t len);
void buf_puts(struct buf *, const char *s);
void buf_printf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_drop(struct buf *, size_t len); /* removes the first len bytes */
char *buf_take(struct buf *);            /* gives the bytes away (free()), never NULL */
void buf_free(struct buf *);

#endif
