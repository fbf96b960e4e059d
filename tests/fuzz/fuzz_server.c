/* The whole server over a real connection: the bytes are written in seeded pieces, and each
 * request that reaches the handler is the next one that a second reader finds in them, with its
 * body, its bounds and its end. Bytes: how the handler and the client behave, a seed, then what
 * the client sends. */
#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "fuzz.h"
#include "http/server.h"
#include "loop/loop.h"
#include "strict.h"

enum { KEPT_MAX = 64, PATIENCE_MS = 10000 };

static struct loop *loop;
static struct server *server;
static char directory[] = "/tmp/cleat-fuzz-XXXXXX";
static char *socket_path;

/* What the client has sent and the handler has seen of it. */
static struct {
    const char *bytes;
    size_t len, at;
    bool late;  /* answers come in a later turn */
    bool ended; /* the last request asked for it */
    unsigned handled, gone;
    bool was_head[KEPT_MAX];
    struct server_request *kept;
} now;

/* A head that the guard passes and libevhtp does not. */
static void check_log(void *arg, enum log_level level, const char *line)
{
    (void)arg, (void)level;
    must(!strstr(line, "server.head_refused"));
    must(fuzz_is_printable(line));
}

static void tidy(void)
{
    server_free(server);
    loop_free(loop);
    rmdir(directory);
    free(socket_path);
}

static void answer(struct server_request *r)
{
    struct error e = {0};
    if (server_header(r, "x-fail")) {
        error_set(&e, ERR_CONFLICT, "%s", server_header(r, "x-fail"));
        server_answer_error(r, &e);
        return;
    }
    server_add_header(r, "X-Echo",
                      server_header(r, "x-echo") ? server_header(r, "x-echo") : "-");
    server_answer(r, 200, server_query(r, "type"), "body", 4);
}

static void on_gone(void *arg)
{
    (void)arg;
    now.gone++;
}

static void on_request(void *arg, struct server_request *r)
{
    struct strict s = {0};
    size_t len;
    const char *body = server_body(r, &len);
    (void)arg;
    must(!now.kept && !now.ended); /* one at a time, none behind the last */
    must(strict_read(&s, now.bytes + now.at, now.len - now.at) == STRICT_DONE);
    must(strcmp(server_method(r), s.method) == 0 && strcmp(server_target(r), s.target) == 0);
    must(len == s.body.len && (len == 0 || memcmp(body, s.body.data, len) == 0));
    must(body[len] == '\0' && server_path(r)[0] == '/');
    must(!server_header(r, "content-length") && !server_header(r, "transfer-encoding"));
    now.at += s.used;
    now.ended = s.closes;
    now.was_head[now.handled++ % KEPT_MAX] = strcmp(s.method, "HEAD") == 0;
    strict_free(&s);
    if (!now.late) {
        answer(r);
        return;
    }
    now.kept = r;
    server_on_gone(r, on_gone, NULL);
}

static void set_up(void)
{
    struct error e = {0};
    if (server)
        return;
    signal(SIGPIPE, SIG_IGN);
    must(mkdtemp(directory));
    socket_path = mem_printf("%s/s", directory);
    loop = loop_new(NULL);
    struct server_options options = {.unix_path = socket_path,
                                     .unix_mode = 0600,
                                     .max_head = 1024,
                                     .max_body = 2048,
                                     .idle_timeout_ms = 60000,
                                     .max_connections = 4};
    server = server_new(loop, &options, on_request, NULL, &e);
    must(server);
    log_set_sink(check_log, NULL);
    atexit(tidy);
}

static void turn(void)
{
    event_base_loop(loop_base(loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void answer_kept(void)
{
    struct server_request *r = now.kept;
    now.kept = NULL;
    if (r)
        answer(r);
}

static int connect_client(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    mem_copy_string(to.sun_path, sizeof to.sun_path, socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
    turn();
    return fd;
}

/* True at the end of the connection. */
static bool hear(int fd, struct buf *heard)
{
    char bytes[8192];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        buf_add(heard, bytes, (size_t)n);
    return n == 0 || errno != EAGAIN;
}

static bool say(int fd, const char *bytes, size_t len, unsigned seed, struct buf *heard)
{
    for (size_t at = 0; at < len;) {
        size_t n = seed ? 1 + (seed = seed * 1103515245u + 12345u) / 65536 % 40 : len - at;
        n = n < len - at ? n : len - at;
        ssize_t sent = send(fd, bytes + at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            at += (size_t)sent;
        else if (errno != EAGAIN)
            return true;
        turn();
        if (seed % 3 == 0)
            answer_kept();
        hear(fd, heard);
    }
    return false;
}

/* All that was sent has been looked at: nothing is due, neither from the handler. */
static void settle(int fd, struct buf *heard)
{
    for (unsigned still = 0; still < 4; still++) {
        size_t before = heard->len;
        unsigned handled = now.handled;
        turn();
        if (now.kept)
            still = 0;
        answer_kept();
        hear(fd, heard);
        if (heard->len != before || now.handled != handled)
            still = 0;
    }
}

/* However it went, a client that leaves ends it. */
static void leave(int fd, struct buf *heard)
{
    int64_t deadline = loop_now_ms(loop) + PATIENCE_MS;
    shutdown(fd, SHUT_WR);
    while (!hear(fd, heard)) {
        must(loop_now_ms(loop) < deadline);
        turn();
        answer_kept();
    }
    close(fd);
    turn();
    answer_kept();
}

/* The next answer: a whole message with its length. 0: there is none; -1: it makes no sense. */
static int next_answer(const char **at, const char *end, size_t *size)
{
    const char *stop = *at < end ? memmem(*at, (size_t)(end - *at), "\r\n\r\n", 4) : NULL;
    if (!stop)
        return *at < end ? -1 : 0;
    char *head = mem_strndup(*at, (size_t)(stop - *at) + 2);
    const char *length = strcasestr(head, "\r\nContent-Length: ");
    bool whole = strlen(head) == (size_t)(stop - *at) + 2 && strncmp(head, "HTTP/1.", 7) == 0;
    int status = atoi(head + strcspn(head, " "));
    *size = length ? strtoul(length + 18, NULL, 10) : 0;
    whole = whole && (length || status == 100);
    free(head);
    *at = stop + 4;
    return whole ? status : -1;
}

/* One for each request that was handled and whose client stayed, in their order; then at most
 * one refusal. */
static void check_answers(const struct buf *heard)
{
    const char *at = heard->data ? heard->data : "", *end = at + heard->len;
    unsigned answered = 0;
    bool refused = false;
    size_t size;
    for (int status; (status = next_answer(&at, end, &size)) != 0;) {
        must(status > 0 && !refused);
        if (status == 100)
            continue;
        bool own = status == 200 || (status == 409 && answered < now.handled);
        bool bare = own ? now.was_head[answered % KEPT_MAX] : (size_t)(end - at) == 0;
        refused = !own;
        answered += own;
        must(bare || (size_t)(end - at) >= size);
        at += bare ? 0 : size;
    }
    must(answered <= now.handled && now.handled - answered <= now.gone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    struct buf heard = {0};
    set_up();
    memset(&now, 0, sizeof now);
    unsigned habits = fuzz_byte(&f), seed = fuzz_byte(&f);
    char *bytes = fuzz_bytes(&f, &now.len);
    now.bytes = bytes;
    now.late = habits & 1;
    int fd = connect_client();
    bool broken = say(fd, bytes, now.len, seed, &heard);
    if (!(habits & 2))
        settle(fd, &heard);
    leave(fd, &heard);
    must(!now.kept);
    if (!broken && !(habits & 2))
        check_answers(&heard);
    buf_free(&heard);
    free(bytes);
    return 0;
}
