/* The order in which the bytes of both streams came, so that one offset counts them together:
 * runs of one stream, kept in a file without a name. */
#ifndef CLEAT_EXECUTOR_ORDER_H
#define CLEAT_EXECUTOR_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct order_run {
    uint64_t start;  /* offset in both streams together */
    uint64_t within; /* and in its own */
    int64_t time_ms; /* Unix time when its first bytes came */
    uint64_t is_err;
};

struct order {
    int file;             /* -1: the order is not kept */
    uint64_t total, runs; /* bytes; runs in the file */
    struct order_run last;
    bool open; /* last is still growing */
};

void order_init(struct order *);
enum error_code order_open(struct order *, const char *dir, struct error *e);
void order_release(struct order *); /* harmless on one that is not open */

/* len more bytes of a stream, which had within before. False: it cannot be kept. */
bool order_add(struct order *, bool is_err, uint64_t within, size_t len, int64_t time_ms);
/* The run that holds the byte at offset, and how many bytes it has from its start. False: there
 * is none yet. */
bool order_find(const struct order *, uint64_t offset, struct order_run *out, uint64_t *len);

#endif
