#include "peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACTS_MAX 64
#define REQUEST_MAX (1 << 20)

struct peer {
    pid_t pid;
    const struct peer_act *acts;
    atomic_uint *counts; /* shared with the process */
};

struct connection {
    struct peer *peer;
    int fd;
    char *request;
    size_t len; /* bytes of request that are there */
};

static void must(bool right, const char *what)
{
    if (right)
        return;
    perror(what);
    abort();
}

static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        data += sent;
        len -= (size_t)sent;
    }
    return true;
}

static size_t request_length(const char *request)
{
    const char *end = strstr(request, "\r\n\r\n");
    const char *length = strcasestr(request, "\r\nContent-Length:");
    if (!end)
        return SIZE_MAX;
    size_t head = (size_t)(end + 4 - request);
    return length && length < end ? head + strtoul(length + 17, NULL, 10) : head;
}

static bool read_request(struct connection *c)
{
    c->len = 0;
    for (;;) {
        c->request[c->len] = '\0';
        if (c->len > 0 && c->len >= request_length(c->request))
            return true;
        ssize_t got = read(c->fd, c->request + c->len, REQUEST_MAX - c->len);
        if (got <= 0)
            return false;
        c->len += (size_t)got;
    }
}

static bool answer_with(int fd, const char *body, size_t len)
{
    char head[128];
    int head_len =
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    return send_all(fd, head, (size_t)head_len) && send_all(fd, body, len);
}

static bool answer_port(int fd)
{
    struct sockaddr_in client;
    socklen_t len = sizeof client;
    char body[32];
    if (getpeername(fd, (struct sockaddr *)&client, &len) < 0)
        return false;
    return answer_with(fd, body,
                       (size_t)snprintf(body, sizeof body, "port %d", ntohs(client.sin_port)));
}

static bool answer(struct connection *c, const struct peer_act *act)
{
    if (!act->answer)
        return answer_port(c->fd);
    if (strcmp(act->answer, PEER_ECHO) == 0)
        return answer_with(c->fd, c->request, c->len);
    return send_all(c->fd, act->answer, strlen(act->answer));
}

static void drip(int fd, useconds_t pause_us, size_t len)
{
    char data[16384];
    memset(data, 'x', sizeof data);
    while (send_all(fd, data, len))
        if (pause_us)
            usleep(pause_us);
}

/* False: the connection is over. */
static bool finish(struct connection *c, enum peer_end end)
{
    static const char idle[] = "HTTP/1.1 408 Idle\r\n\r\n";
    char byte;
    switch (end) {
    case PEER_KEEP:
        return true;
    case PEER_EXTRA:
        usleep(20000);
        return send_all(c->fd, "!", 1);
    case PEER_408:
        usleep(20000);
        send_all(c->fd, idle, strlen(idle));
        return false;
    case PEER_LATE:
        usleep(30000);
        return send_all(c->fd, "0123456789", 10);
    case PEER_TRICKLE:
        drip(c->fd, 10000, 1);
        return false;
    case PEER_FLOOD:
        drip(c->fd, 0, 16384);
        return false;
    case PEER_HANG:
        while (read(c->fd, &byte, 1) > 0)
            ;
        return false;
    case PEER_RESET:
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
        return false;
    case PEER_CLOSE:
        return false;
    }
    return false;
}

static int find_act(const struct peer *p, const char *path, size_t len)
{
    for (int i = 0; p->acts[i].path; i++)
        if (strlen(p->acts[i].path) == len && memcmp(p->acts[i].path, path, len) == 0)
            return i;
    return -1;
}

static void *serve(void *arg)
{
    struct connection *c = arg;
    while (read_request(c)) {
        const char *path = strchr(c->request, ' ');
        int i = path ? find_act(c->peer, path + 1, strcspn(path + 1, " ?")) : -1;
        if (i < 0)
            break;
        atomic_fetch_add(&c->peer->counts[i], 1);
        if (!answer(c, &c->peer->acts[i]) || !finish(c, c->peer->acts[i].end))
            break;
    }
    close(c->fd);
    free(c->request);
    free(c);
    return NULL;
}

static void accept_forever(struct peer *p, int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        must(fd >= 0, "accept");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct connection *c = calloc(1, sizeof *c);
        must(c, "calloc");
        c->peer = p;
        c->fd = fd;
        c->request = malloc(REQUEST_MAX + 1);
        must(c->request, "malloc");
        pthread_t thread;
        must(pthread_create(&thread, NULL, serve, c) == 0, "pthread_create");
        pthread_detach(thread);
    }
}

static int listen_on(const char *ip, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    must(bind(fd, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    must(listen(fd, 4096) == 0, "listen");
    return fd;
}

struct peer *peer_start(const char *ip, uint16_t port, const struct peer_act *acts)
{
    struct peer *p = calloc(1, sizeof *p);
    must(p, "calloc");
    p->acts = acts;
    p->counts = mmap(NULL, ACTS_MAX * sizeof *p->counts, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(p->counts != MAP_FAILED, "mmap");
    int listener = listen_on(ip, port);
    p->pid = fork();
    must(p->pid >= 0, "fork");
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        accept_forever(p, listener);
    }
    close(listener);
    return p;
}

void peer_stop(struct peer *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    munmap(p->counts, ACTS_MAX * sizeof *p->counts);
    free(p);
}

unsigned peer_count(const struct peer *p, const char *path)
{
    int i = find_act(p, path, strlen(path));
    must(i >= 0, path);
    return atomic_load(&p->counts[i]);
}
