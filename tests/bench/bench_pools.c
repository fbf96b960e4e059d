/* What private pools cost: the same small GETs through one pool per session, and through one
 * pool that all share, in the same run against the same server process. bench-pools [sessions
 * [requests]] */
#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"
#include "http/pool.h"

#define SERVER_IP "127.0.0.20"
#define SERVER_PORT 21090
#define IN_FLIGHT 64

/* ---- the server: every read is a request, since ours are small */

static void must(int right, const char *what)
{
    if (right)
        return;
    perror(what);
    exit(1);
}

/* All that wait at once: one at a time would make the load wait for us. */
static void accept_all(int poll_fd, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        must(epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
    }
}

static void serve_forever(int listener)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    struct epoll_event events[128], e = {.events = EPOLLIN, .data.fd = listener};
    char request[4096];
    int poll_fd = epoll_create1(0);
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int count = epoll_wait(poll_fd, events, 128, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(poll_fd, listener);
            else if (read(fd, request, sizeof request) <= 0 ||
                     send(fd, answer, sizeof answer - 1, MSG_NOSIGNAL) < 0)
                close(fd);
        }
    }
}

static pid_t start_server(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(SERVER_PORT)};
    inet_pton(AF_INET, SERVER_IP, &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    must(bind(fd, (struct sockaddr *)&a, sizeof a) == 0, "bind");
    must(listen(fd, 4096) == 0, "listen");
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve_forever(fd);
    }
    close(fd);
    return pid;
}

/* ---- the load */

struct load {
    struct loop *loop;
    struct pool **pools; /* request i goes to pool i % pool_count */
    size_t pool_count, started, done, wanted, failed;
};

static void start_next(struct load *load);

static void on_answer(void *arg, const struct http_answer *answer)
{
    struct load *load = arg;
    load->done++;
    if (answer->error.code != ERR_NONE || answer->status != 200)
        load->failed++;
    if (load->done == load->wanted)
        loop_stop(load->loop);
    else
        start_next(load);
}

static void start_next(struct load *load)
{
    static const struct http_request request = {.method = "GET",
                                                .url = "http://127.0.0.20:21090/small",
                                                .connect_timeout_ms = 5000,
                                                .first_byte_timeout_ms = 5000,
                                                .total_timeout_ms = 5000,
                                                .max_answer = 1000};
    if (load->started == load->wanted)
        return;
    struct pool *pool = load->pools[load->started++ % load->pool_count];
    pool_send(pool, &request, on_answer, load);
}

struct cost {
    double wall_s, cpu_us, per_s;
};

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double wall_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct cost run(struct loop *loop, struct pool **pools, size_t count, size_t requests)
{
    struct load load = {.loop = loop, .pools = pools, .pool_count = count, .wanted = requests};
    double wall = wall_s(), cpu = cpu_s();
    for (int i = 0; i < IN_FLIGHT; i++)
        start_next(&load);
    loop_run(loop);
    wall = wall_s() - wall;
    cpu = cpu_s() - cpu;
    must(load.failed == 0, "requests failed");
    return (struct cost){wall, cpu / (double)requests * 1e6, (double)requests / wall};
}

static void print(const char *what, struct cost c, struct http_client *client)
{
    struct http_client_stats stats;
    http_client_get_stats(client, &stats);
    printf("%-22s %9.0f requests/s %7.1f us CPU/request %6zu connections\n", what, c.per_s,
           c.cpu_us, stats.connections_open);
    must(stats.shared_connections == 0, "connections were shared");
}

static size_t heap(void)
{
    return mallinfo2().uordblks;
}

static struct pool *new_pool(struct http_client *client, struct loop *loop,
                             unsigned connections)
{
    return pool_new(client, loop, &(struct pool_limits){connections, 1000000, 3600000});
}

static struct cost run_private(struct http_client *client, struct loop *loop, size_t sessions,
                               size_t requests)
{
    struct pool **pools = mem_array(sessions, sizeof *pools);
    size_t before = heap();
    for (size_t i = 0; i < sessions; i++)
        pools[i] = new_pool(client, loop, 2);
    size_t unused = heap() - before;
    run(loop, pools, sessions, sessions); /* opens the connections */
    size_t connected = heap() - before;
    struct cost c = run(loop, pools, sessions, requests);
    print("a pool per session", c, client);
    for (size_t i = 0; i < sessions; i++)
        pool_retire_connections(pools[i]);
    size_t idle = heap() - before;
    printf("bytes per pool: new %zu, with a live connection %zu, idle again %zu\n",
           unused / sessions, connected / sessions, idle / sessions);
    for (size_t i = 0; i < sessions; i++)
        pool_free(pools[i]);
    free(pools);
    return c;
}

static struct cost run_shared(struct http_client *client, struct loop *loop, size_t requests)
{
    struct pool *pool = new_pool(client, loop, IN_FLIGHT);
    run(loop, &pool, 1, IN_FLIGHT);
    struct cost c = run(loop, &pool, 1, requests);
    print("one pool for all", c, client);
    pool_free(pool);
    return c;
}

int main(int argc, char **argv)
{
    size_t sessions = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
    size_t requests = argc > 2 ? strtoul(argv[2], NULL, 10) : 20 * sessions;
    struct rlimit files;
    must(sessions >= IN_FLIGHT && requests >= IN_FLIGHT, "at least 64 sessions and requests");
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    pid_t server = start_server();
    struct loop *loop = loop_new(NULL);
    struct http_client *client = http_client_new(loop);
    printf("%zu sessions, %zu requests, %d in flight\n", sessions, requests, IN_FLIGHT);
    struct cost shared = run_shared(client, loop, requests);
    struct cost private = run_private(client, loop, sessions, requests);
    printf("private : shared = %.2f CPU, %.2f wall\n", private.cpu_us / shared.cpu_us,
           private.wall_s / shared.wall_s);
    http_client_free(client);
    loop_free(loop);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    return 0;
}
