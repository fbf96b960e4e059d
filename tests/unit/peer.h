/* An HTTP peer in a process of its own that answers by a script, so that it can lie, stall and
 * break off. One thread per connection; requests are told apart by their path. */
#ifndef CLEAT_TEST_PEER_H
#define CLEAT_TEST_PEER_H

#include <stddef.h>
#include <stdint.h>

enum peer_end {
    PEER_KEEP,    /* wait for the next request */
    PEER_CLOSE,   /* orderly end */
    PEER_RESET,   /* RST */
    PEER_HANG,    /* never another byte, the connection stays */
    PEER_TRICKLE, /* then one byte every 10 ms */
    PEER_LATE,    /* 30 ms later ten more bytes, then as PEER_KEEP */
    PEER_FLOOD,   /* then 'x' without end */
    PEER_408,     /* a little later an answer to nothing, then the end */
    PEER_EXTRA,   /* a little later one byte that nobody asked for, then as PEER_KEEP */
};

struct peer_act {
    const char *path;
    const char *answer; /* NULL: 200, the body "port N" names the client's port */
    enum peer_end end;
};

#define PEER_ECHO "echo" /* as answer: 200 with the request, head and body, as its body */

struct peer;

/* acts ends with a NULL path; at most 64. */
struct peer *peer_start(const char *ip, uint16_t port, const struct peer_act *acts);
void peer_stop(struct peer *);
unsigned peer_count(const struct peer *, const char *path); /* whole requests that arrived */

#endif
