/* Streams of events: how the bytes were split never matters, an event is what was sent, and an
 * id of ours reads back as it was written. Bytes: a seed of splits, then a stream; or an id. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "fuzz.h"
#include "http/sse.h"

static void note(void *arg, const struct sse_event *e)
{
    must(e->id && (!e->data || (e->event && *e->event)));
    must(!strpbrk(e->id, "\r\n") && (!e->event || !strpbrk(e->event, "\r\n")));
    must(!e->data || !strchr(e->data, '\r'));
    buf_printf(arg, "%s|%s|%s;", e->id, e->event ? e->event : "", e->data ? e->data : "-");
}

static bool read_stream(const char *bytes, size_t len, unsigned seed, struct buf *events)
{
    struct sse s = {0};
    bool fine = true;
    for (size_t at = 0, n; at < len && fine; at += n) {
        n = seed ? 1 + (seed = seed * 1103515245u + 12345u) / 65536 % 9 : len;
        n = n < len - at ? n : len - at;
        char *piece = malloc(n);
        memcpy(piece, bytes + at, n);
        fine = sse_feed(&s, piece, n, note, events);
        free(piece);
    }
    sse_free(&s);
    return fine;
}

static void try_stream(struct fuzz *f, unsigned seed)
{
    struct buf whole = {0}, split = {0};
    size_t len;
    char *bytes = fuzz_bytes(f, &len);
    bool fine = read_stream(bytes, len, 0, &whole);
    must(read_stream(bytes, len, seed + 1, &split) == fine);
    must(whole.len == split.len &&
         (!whole.len || memcmp(whole.data, split.data, whole.len) == 0));
    buf_free(&whole);
    buf_free(&split);
    free(bytes);
}

static void try_id(struct fuzz *f)
{
    char *text = fuzz_text(f), again[32];
    int64_t id = -1;
    if (sse_id_parse(text, &id)) {
        must(id >= 0);
        snprintf(again, sizeof again, "%" PRId64, id);
        must(strcmp(again, text) == 0);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    unsigned what = fuzz_number(&f, 3), seed = fuzz_byte(&f);
    if (what == 0)
        try_id(&f);
    else
        try_stream(&f, seed);
    return 0;
}
