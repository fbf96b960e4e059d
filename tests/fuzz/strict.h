/* A second reader of HTTP/1.1 requests (RFC 9112), independent of the guard and as strict as it
 * gets: the whole request at once, one spelling of everything. What the guard lets through must
 * read the same here, byte for byte, else somebody behind could be told another request. */
#ifndef CLEAT_FUZZ_STRICT_H
#define CLEAT_FUZZ_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"

enum strict_verdict { STRICT_MORE, STRICT_DONE, STRICT_BAD };

/* Zero-initialise; strict_free when done. */
struct strict {
    char *method, *target;
    bool http10, closes; /* the connection ends after its answer */
    bool chunked;
    size_t length; /* declared; 0 when chunked */
    size_t head;   /* bytes, blank lines before it included */
    size_t used;   /* with the body */
    struct buf body;
};

enum strict_verdict strict_head(struct strict *, const char *bytes,
                                size_t len); /* body: none */
enum strict_verdict strict_read(struct strict *, const char *bytes, size_t len);
/* A chunked body alone; *used is set when it is DONE. */
enum strict_verdict strict_chunks(struct buf *body, const char *bytes, size_t len,
                                  size_t *used);
void strict_free(struct strict *);

#endif
