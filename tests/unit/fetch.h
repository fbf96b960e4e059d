/* What the client's and the pool's tests share: a loop with a client, and answers kept for
 * later. */
#ifndef CLEAT_TEST_FETCH_H
#define CLEAT_TEST_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include "http/client.h"

#define PEER_IP "127.0.0.20"

struct world {
    struct loop *loop;
    struct http_client *client;
    size_t fds; /* open descriptors before anything was asked */
};

/* A kept answer: done(&got, answer). */
struct got {
    int calls, order; /* order: the how-manieth answer this was */
    struct http_answer answer;
    char *body, *head; /* head: "name: value\n"… */
};

void world_open(struct world *);
void world_close(struct world *); /* checks that no descriptor and no connection is left */
size_t count_fds(void);
struct http_client_stats world_stats(const struct world *);

/* Runs the loop until *calls reaches wanted; fails the test after 5 s. */
void wait_calls(struct world *, const int *calls, int wanted);
void run_for(struct world *, int64_t ms);
/* Until right(arg), at most 5 s. */
void wait_until(struct world *, bool (*right)(void *), void *arg);

void keep_answer(void *got, const struct http_answer *);
void got_clear(struct got *);

/* GET with generous limits; for changing before it is sent. */
struct http_request request_to(const char *url);
/* Sends and waits; got is cleared first. */
void fetch(struct got *, struct world *, struct http_share *, const struct http_request *);
void fetch_url(struct got *, struct world *, struct http_share *, const char *url);

#endif
