/* What a class's runtime and balancer hold, listed at the start and again and again. */
#ifndef CLEAT_SESSION_LISTING_H
#define CLEAT_SESSION_LISTING_H

#include "session/core.h"

struct listed_container {
    char key[KEY_SIZE];
    struct container container;
    bool alive;
    char *label; /* NULL: it has none */
};

struct listed_target {
    char id[KEY_SIZE], ip[46];
    uint16_t port;
};

/* A whole listing: both drivers have told all that they hold. */
struct listed {
    int64_t asked_at; /* core time: what has ended since then may still be in it */
    uint64_t number;  /* of the listing */
    struct listed_container *containers;
    struct listed_target *targets;
    size_t container_count, target_count;
};

/* Each class is listed now; its sessions wait for it where they have to (core->listing). What
 * an attempt waits for is given to it, the whole goes to reaper_compare. */
void listings_start(struct cleat *);
void listings_free(struct cleat *);
/* All of them once more, each as soon as the one under way is done. */
void listings_ask(struct cleat *);
/* Whether each class was listed, or failed to be, by a listing that began after that one. */
bool listings_done_since(const struct cleat *, uint64_t number);

#endif
