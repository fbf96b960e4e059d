#include "executor/nonces.h"

#include <stdlib.h>
#include <string.h>
#include "base/id.h"
#include "base/mem.h"

static const uint8_t free_slot[16];

/* Only who has the secret gets a nonce in here: no need to fear chosen collisions. */
static uint8_t *find(const struct nonces *n, const uint8_t key[16])
{
    size_t at;
    memcpy(&at, key, sizeof at);
    for (at &= n->room - 1;; at = (at + 1) & (n->room - 1)) {
        uint8_t *slot = n->slots[at];
        if (memcmp(slot, free_slot, 16) == 0 || memcmp(slot, key, 16) == 0)
            return slot;
    }
}

static void grow(struct nonces *n)
{
    struct nonces bigger = {.room = n->room ? 2 * n->room : 256, .count = n->count};
    bigger.slots = mem_array(bigger.room, sizeof *bigger.slots);
    for (size_t i = 0; i < n->room; i++)
        if (memcmp(n->slots[i], free_slot, 16) != 0)
            memcpy(find(&bigger, n->slots[i]), n->slots[i], 16);
    free(n->slots);
    *n = bigger;
}

enum nonce_result nonces_add(struct nonces *n, const char *nonce)
{
    uint8_t key[16];
    if (!hex_decode(key, sizeof key, nonce) || memcmp(key, free_slot, 16) == 0)
        return NONCE_SEEN;
    if (2 * n->count >= n->room)
        grow(n);
    uint8_t *slot = find(n, key);
    if (memcmp(slot, key, 16) == 0)
        return NONCE_SEEN;
    if (n->count >= NONCES_MAX)
        return NONCE_FULL;
    memcpy(slot, key, 16);
    n->count++;
    return NONCE_NEW;
}

void nonces_release(struct nonces *n)
{
    free(n->slots);
    *n = (struct nonces){0};
}
