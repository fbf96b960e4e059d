/* The text side of the HTTP client: checks a request before it is sent and collects an answer's
 * head line by line. RFC 9110 sections 5.5, 5.6.2 and 9.1, RFC 9112 sections 4 to 6. */
#ifndef CLEAT_HTTP_MESSAGE_H
#define CLEAT_HTTP_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "base/error.h"
#include "http/client.h"

#define HEAD_MAX 65536 /* bytes of all heads and trailers of one exchange together */

/* ERR_INVALID when the request could not be sent as it stands: a method or header name that is
 * no token, control characters in URL or value, headers that frame the message (they are the
 * client's own), a HEAD with a body, a deadline that is not above zero. */
enum error_code request_check(const struct http_request *, struct error *);

struct head_line;

/* Zero-initialise. */
struct answer_head {
    struct buf text; /* names and values, each NUL-ended */
    struct head_line *lines;
    size_t count, capacity;
    size_t seen; /* bytes so far */
    int status;
    bool complete; /* the final head is whole; what follows are trailers, which are dropped */
};

/* One line as received, its end included. Interim (1xx) heads are forgotten when they end. An
 * error is ERR_TOO_LARGE or ERR_PROTOCOL. */
enum error_code head_add(struct answer_head *, const char *line, size_t len, struct error *);
struct http_header *
head_headers(const struct answer_head *); /* count entries into text; free() */
void head_free(struct answer_head *);

#endif
