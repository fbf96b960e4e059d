#include "http/ledger.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <uthash.h>
#include "base/mem.h"

#define PAIR_SIZE (2 * LEDGER_ADDRESS_SIZE)

struct ledger_socket {
    int fd;
    uint64_t owner;
    const void *attempt;  /* compared, never followed */
    char pair[PAIR_SIZE]; /* "local>remote", "" while unnamed */
    UT_hash_handle hh_fd, hh_address;
    TAILQ_ENTRY(ledger_socket) entry; /* in unnamed */
};

void ledger_init(struct ledger *l)
{
    memset(l, 0, sizeof *l);
    TAILQ_INIT(&l->unnamed);
}

static void forget(struct ledger *l, struct ledger_socket *s)
{
    if (s->pair[0])
        HASH_DELETE(hh_address, l->by_address, s);
    else
        TAILQ_REMOVE(&l->unnamed, s, entry);
    HASH_DELETE(hh_fd, l->by_fd, s);
    l->open--;
    free(s);
}

void ledger_free(struct ledger *l)
{
    struct ledger_socket *s, *next;
    HASH_ITER (hh_fd, l->by_fd, s, next)
        forget(l, s);
}

void ledger_open(struct ledger *l, int fd, uint64_t owner, const void *attempt)
{
    ledger_close(l, fd);
    struct ledger_socket *s = mem_alloc(sizeof *s);
    s->fd = fd;
    s->owner = owner;
    s->attempt = attempt;
    HASH_ADD(hh_fd, l->by_fd, fd, sizeof s->fd, s);
    TAILQ_INSERT_TAIL(&l->unnamed, s, entry);
    l->open++;
    l->opened++;
}

void ledger_close(struct ledger *l, int fd)
{
    struct ledger_socket *s;
    HASH_FIND(hh_fd, l->by_fd, &fd, sizeof fd, s);
    if (s)
        forget(l, s);
}

void ledger_end_attempt(struct ledger *l, const void *attempt)
{
    struct ledger_socket *s = TAILQ_FIRST(&l->unnamed);
    while (s) {
        struct ledger_socket *next = TAILQ_NEXT(s, entry);
        if (s->attempt == attempt)
            forget(l, s);
        s = next;
    }
}

void ledger_format(char out[LEDGER_ADDRESS_SIZE], const char *ip, int port)
{
    snprintf(out, LEDGER_ADDRESS_SIZE, strchr(ip, ':') ? "[%s]:%d" : "%s:%d", ip, port);
}

static void format_sockaddr(char out[LEDGER_ADDRESS_SIZE], const struct sockaddr_storage *a)
{
    char ip[INET6_ADDRSTRLEN] = "";
    int port = 0;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)a;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
        port = ntohs(in->sin_port);
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
        port = ntohs(in6->sin6_port);
    }
    ledger_format(out, ip, port);
}

/* False while the socket is not connected. */
static bool name_socket(struct ledger *l, struct ledger_socket *s)
{
    struct sockaddr_storage local, remote;
    socklen_t local_len = sizeof local, remote_len = sizeof remote;
    char from[LEDGER_ADDRESS_SIZE], to[LEDGER_ADDRESS_SIZE];
    if (getpeername(s->fd, (struct sockaddr *)&remote, &remote_len) < 0 ||
        getsockname(s->fd, (struct sockaddr *)&local, &local_len) < 0)
        return false;
    format_sockaddr(from, &local);
    format_sockaddr(to, &remote);
    TAILQ_REMOVE(&l->unnamed, s, entry);
    snprintf(s->pair, sizeof s->pair, "%s>%s", from, to);
    HASH_ADD(hh_address, l->by_address, pair, strlen(s->pair), s);
    return true;
}

static struct ledger_socket *find_pair(struct ledger *l, const char *pair)
{
    struct ledger_socket *s;
    HASH_FIND(hh_address, l->by_address, pair, strlen(pair), s);
    return s;
}

uint64_t ledger_owner(struct ledger *l, uint64_t asker, const char *local, const char *remote,
                      int *fd)
{
    char pair[PAIR_SIZE];
    snprintf(pair, sizeof pair, "%s>%s", local, remote);
    struct ledger_socket *found = find_pair(l, pair);
    struct ledger_socket *s = TAILQ_FIRST(&l->unnamed);
    while (!found && s) {
        struct ledger_socket *next = TAILQ_NEXT(s, entry);
        if (s->owner == asker && name_socket(l, s))
            found = find_pair(l, pair);
        s = next;
    }
    *fd = found ? found->fd : -1;
    return found ? found->owner : 0;
}
