/* Whose connection is it? Every socket that libcurl opens is entered here with the share on
 * whose behalf it was opened; before a request is sent, the connection it is about to use is
 * looked up by its two addresses. So no connection carries requests of two sessions, without
 * trust in libcurl's own books. */
#ifndef CLEAT_HTTP_LEDGER_H
#define CLEAT_HTTP_LEDGER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct ledger_socket;

struct ledger {
    struct ledger_socket *by_fd, *by_address;
    TAILQ_HEAD(ledger_unnamed, ledger_socket) unnamed; /* not known to be connected yet */
    size_t open;
    uint64_t opened;
};

void ledger_init(struct ledger *);
void ledger_free(struct ledger *); /* forgets what is still open; closes nothing */
/* owner > 0; attempt: who is connecting it. */
void ledger_open(struct ledger *, int fd, uint64_t owner, const void *attempt);
void ledger_close(struct ledger *, int fd);
/* The attempt is over: libcurl closed its sockets that never got connected without telling. */
void ledger_end_attempt(struct ledger *, const void *attempt);

/* "ip:port", "[ip]:port" for IPv6. */
#define LEDGER_ADDRESS_SIZE 64
void ledger_format(char out[LEDGER_ADDRESS_SIZE], const char *ip, int port);

/* The owner of the connection between the two addresses and its descriptor; 0: not in the
 * books. asker's own new sockets get their addresses here, once they are connected. */
uint64_t ledger_owner(struct ledger *, uint64_t asker, const char *local, const char *remote,
                      int *fd);

#endif
