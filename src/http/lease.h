/* What a coordinator and a static host say to each other. Each message is one JSON object,
 * sealed (proof.h) under the host's claim key, so that nobody else can read, make or change
 * one; it travels as {"sealed": hex} with POST. An answer that is no such message says nothing.
 *
 * asks: {"path": where it goes, "nonce": 32 hex digits, fresh, and what its path takes}
 *
 * answer: {"answers": that nonce, "state", "challenge", "key", "label", "ended", "in_order",
 * "error"}
 *
 * /lease/state takes nothing more, and changes nothing.
 *
 * /lease takes "challenge", "key", "session", "attempt", "owner", "secret", "label" (optional)
 * and "settings": {NAME: value}. It is for a free host whose challenge that is; to one that the
 * same key has leased already nothing happens.
 *
 * /release takes "key" and "keep": whether what the lease left on disk is moved aside, not
 * wiped. A host that this key has leased begins to release itself; a free one only changes its
 * challenge, so that no lease that was sent before can be taken any more.
 *
 * A challenge is of one life of a free host: it changes with every release, so a recorded lease
 * is worth nothing. */
#ifndef CLEAT_HTTP_LEASE_H
#define CLEAT_HTTP_LEASE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "http/proof.h"

#define LEASE_PATH "/lease"
#define LEASE_STATE_PATH "/lease/state"
#define LEASE_RELEASE_PATH "/release"
#define LEASE_MAX 65536 /* of a message as it travels */

#define LEASE_FREE "free"
#define LEASE_LEASED "leased"
#define LEASE_RELEASING "releasing" /* not free yet: ask again */

/* Reads a claim key: 64 hexadecimal digits in a file that only its owner may read. ERR_CONFIG.
 */
enum error_code lease_key_read(uint8_t key[PROOF_SECRET_SIZE], const char *path,
                               struct error *e);

/* The body that carries the message; free(). */
char *lease_seal(const uint8_t key[PROOF_SECRET_SIZE], const uint8_t random[PROOF_SEAL_RANDOM],
                 const json_t *message);
/* The message of a body. New reference; NULL: ERR_INVALID (no body of that form) or
 * ERR_FORBIDDEN (sealed under another key, changed or cut). */
json_t *lease_open(const uint8_t key[PROOF_SECRET_SIZE], const void *body, size_t len,
                   struct error *e);

#endif
