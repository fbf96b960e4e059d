/* The guard in front of libevhtp: decides over bytes alone, without any input or output of its
 * own, whether a request may pass, and writes the head that libevhtp gets to see.
 *
 * RFC 9112 (message syntax) throughout; where it lets a server choose, the guard refuses:
 * folded lines, bare LF, a Content-Length list, Transfer-Encoding other than one plain
 * "chunked". The verdict over a request never depends on how its bytes were split on the way.
 */
#ifndef CLEAT_HTTP_GUARD_H
#define CLEAT_HTTP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"

enum guard_state {
    GUARD_MORE,   /* so far nothing is wrong; more bytes are due */
    GUARD_DONE,   /* complete */
    GUARD_REFUSED /* status and why say how to answer; the connection cannot be used any more */
};

struct guard_result {
    enum guard_state state;
    int status;      /* 400, 413, 417, 431, 501, 505 */
    const char *why; /* static text for a person */
    size_t used;     /* bytes that were consumed */
};

struct guard_limits {
    size_t max_head, max_body;
};

/* Slices point into the bytes that were checked. */
struct guard_text {
    const char *at;
    size_t len;
};

struct guard_head {
    struct guard_text method, target; /* as sent; target may be in absolute form */
    struct guard_text path, query;    /* query without '?', at NULL: none */
    bool http10, keep_alive;
    bool chunked, expect_continue;
    size_t content_length; /* 0 when chunked */
};

enum { GUARD_MAX_HEADERS = 128, GUARD_MAX_CHUNK_LINE = 256 };

/* Checks the head of one request, blank lines before it included. GUARD_DONE: *out is filled
 * and plain has the head for libevhtp appended: method, path, version and the headers, values
 * trimmed, without those about framing and the connection; one "Connection: keep-alive" or
 * "close" says what holds. GUARD_MORE uses nothing: call again with the same bytes and more. */
struct guard_result guard_check_head(const char *bytes, size_t len, const struct guard_limits *,
                                     struct guard_head *out, struct buf *plain);

/* Decodes a chunked body (RFC 9112 section 7.1) piece by piece; zero-initialise. Extensions are
 * ignored, trailers are checked and dropped. */
struct guard_chunks {
    int state;
    uint64_t left; /* of the chunk or, while its size is read, the size */
    unsigned digits;
    size_t line; /* length of the size line or of the trailers so far */
};

/* Appends what it decodes to body. GUARD_MORE has used everything. */
struct guard_result guard_feed_chunks(struct guard_chunks *, const char *bytes, size_t len,
                                      const struct guard_limits *, struct buf *body);

/* RFC 9110 section 5.6.2; and section 5.5 without CR, LF, NUL and other controls. */
bool guard_is_token(const char *s, size_t len);
bool guard_is_value(const char *s, size_t len);

#endif
