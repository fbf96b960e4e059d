/* Nonces of requests that did something: none is taken twice. */
#ifndef CLEAT_EXECUTOR_NONCES_H
#define CLEAT_EXECUTOR_NONCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NONCES_MAX (1 << 20) /* 32 MiB at most */

struct nonces {
    uint8_t (*slots)[16]; /* open addressing; all zero: free */
    size_t count, room;
};

enum nonce_result { NONCE_NEW, NONCE_SEEN, NONCE_FULL };

enum nonce_result nonces_add(struct nonces *, const char *nonce); /* 32 hex digits */
void nonces_release(struct nonces *);

#endif
