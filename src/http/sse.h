/* Server-sent events (WHATWG HTML, section 9.2): a client's parser, and the ids that our own
 * streams have. */
#ifndef CLEAT_HTTP_SSE_H
#define CLEAT_HTTP_SSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum { SSE_MAX_EVENT = 1024 * 1024 }; /* bytes of one line, and of one event's data */

/* Zero-initialise. */
struct sse {
    struct buf line, event, data, id, last_id;
    bool after_cr, begun;
};

struct sse_event {
    const char *id;    /* of the stream up to here; "" while it has none */
    const char *event; /* "message" when it does not say */
    const char *data;  /* NULL: there is no event, only the id has moved on */
};
typedef void sse_event_fn(void *arg, const struct sse_event *); /* valid during the call */

/* Bytes as they come, in any pieces. fn is called for each event that is whole. False: one is
 * too large, or bytes that are no text (NUL in a field's value or name); feed it no more. */
bool sse_feed(struct sse *, const char *bytes, size_t len, sse_event_fn *fn, void *arg);
void sse_free(struct sse *);

/* An id of ours: decimal digits, no sign, no leading zero but "0" itself, below 10^18. */
bool sse_id_parse(const char *text, int64_t *out);

#endif
