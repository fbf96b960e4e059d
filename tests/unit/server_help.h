/* What the server's tests share: a server whose handler echoes, keeps or refuses, and clients
 * on raw sockets that are driven by the same thread, so that what was sent has been read when a
 * call returns. */
#ifndef CLEAT_TEST_SERVER_HELP_H
#define CLEAT_TEST_SERVER_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include "base/buf.h"
#include "http/server.h"

#define SERVER_IP "127.0.0.21"

enum { KEPT_MAX = 16 };

struct site {
    struct loop *loop;
    struct server *server;
    bool keep;                             /* requests are kept for the test to answer */
    struct server_request *kept[KEPT_MAX]; /* in the order of their coming */
    int handled, kept_count, gone;
    void (*handler)(struct site *, struct server_request *); /* NULL: echo or keep */
};

struct client {
    struct site *site;
    int fd;
    struct buf in;
    bool ended;
};

struct answer {
    int status;
    char *head, *body;
    size_t body_len;
};

struct server_options
site_options(void); /* head 4 KiB, body 64 KiB, idle 5 s, 64 connections */
void site_open(struct site *, const struct server_options *);
void site_close(struct site *); /* checks that no descriptor is left */
void site_turn(struct site *);  /* one turn of the loop without waiting */
/* Runs the loop until right(arg); fails the test after 5 s. */
void site_until(struct site *, bool (*right)(void *), void *arg);
void site_for(struct site *, int64_t ms);
/* The echo's answer: 200, method, target, path, X-Test and body, a line each. */
void echo(struct server_request *);

struct client client_open(struct site *);
struct client client_over(struct site *, int fd);
void client_close(struct client *);
/* Writes all; the loop runs while there is no room, and once afterwards. */
void client_send(struct client *, const void *bytes, size_t len);
void client_say(struct client *, const char *text);
/* Waits for one whole answer; without_body: it is HEAD's. */
struct answer client_hear(struct client *, bool without_body);
void client_expect_end(struct client *);
bool client_has(struct client *); /* reads what is there: something, or the end */

void answer_free(struct answer *);
const char *answer_header(const struct answer *, const char *name, char *out, size_t size);
/* Is an error of ours with this code. */
void assert_error(const struct answer *, int status, const char *code);

#endif
