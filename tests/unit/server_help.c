#include "server_help.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/mem.h"

enum { PATIENCE_MS = 5000 };

static size_t fds_before;

static size_t count_fds(void)
{
    size_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

void echo(struct server_request *r)
{
    struct buf out = {0};
    size_t len;
    const char *test = server_header(r, "X-Test");
    const void *body = server_body(r, &len);
    buf_printf(&out, "%s\n%s\n%s\n%s\n", server_method(r), server_target(r), server_path(r),
               test ? test : "-");
    buf_add(&out, body, len);
    server_answer(r, 200, "text/plain", out.data, out.len);
    buf_free(&out);
}

static void on_gone(void *arg)
{
    ((struct site *)arg)->gone++;
}

static void on_request(void *arg, struct server_request *r)
{
    struct site *s = arg;
    s->handled++;
    if (s->handler) {
        s->handler(s, r);
    } else if (s->keep) {
        server_on_gone(r, on_gone, s);
        assert_true(s->kept_count < KEPT_MAX);
        s->kept[s->kept_count++] = r;
    } else {
        echo(r);
    }
}

struct server_options site_options(void)
{
    return (struct server_options){.ip = SERVER_IP,
                                   .max_head = 4096,
                                   .max_body = 65536,
                                   .idle_timeout_ms = 5000,
                                   .max_connections = 64};
}

void site_open(struct site *s, const struct server_options *o)
{
    struct error e = {0};
    fds_before = count_fds();
    signal(SIGPIPE, SIG_IGN);
    *s = (struct site){.loop = loop_new(NULL)};
    s->server = server_new(s->loop, o, on_request, s, &e);
    assert_string_equal(e.message, "");
    assert_non_null(s->server);
}

void site_close(struct site *s)
{
    server_free(s->server);
    loop_free(s->loop);
    assert_int_equal(count_fds(), fds_before);
}

void site_turn(struct site *s)
{
    event_base_loop(loop_base(s->loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

void site_until(struct site *s, bool (*right)(void *), void *arg)
{
    int64_t end = loop_now_ms(s->loop) + PATIENCE_MS;
    site_turn(s);
    while (!right(arg)) {
        assert_true(loop_now_ms(s->loop) < end);
        poll(NULL, 0, 1);
        site_turn(s);
    }
}

static bool past(void *arg)
{
    int64_t *until = arg;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000 >= *until;
}

void site_for(struct site *s, int64_t ms)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t until = now.tv_sec * 1000 + now.tv_nsec / 1000000 + ms;
    site_until(s, past, &until);
}

struct client client_over(struct site *s, int fd)
{
    return (struct client){.site = s, .fd = fd};
}

struct client client_open(struct site *s)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(server_port(s->server))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, SERVER_IP, &to.sin_addr);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    site_turn(s);
    return client_over(s, fd);
}

static bool nothing_follows(void *arg)
{
    return client_has(arg) && ((struct client *)arg)->ended;
}

void client_close(struct client *c)
{
    close(c->fd);
    buf_free(&c->in);
    site_turn(c->site);
}

void client_send(struct client *c, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = send(c->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (errno != EAGAIN) {
            break; /* the server has closed: its answer says why */
        }
        site_turn(c->site);
    }
}

void client_say(struct client *c, const char *text)
{
    client_send(c, text, strlen(text));
}

bool client_has(struct client *c)
{
    char bytes[65536];
    ssize_t n;
    while ((n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        buf_add(&c->in, bytes, (size_t)n);
    if (n == 0)
        c->ended = true;
    else if (errno != EAGAIN)
        fail_msg("the connection was reset");
    return c->in.len > 0 || c->ended;
}

static size_t whole_head(const struct client *c)
{
    const char *end = c->in.data ? strstr(c->in.data, "\r\n\r\n") : NULL;
    return end ? (size_t)(end - c->in.data) + 4 : 0;
}

static size_t length_of(const char *head)
{
    const char *length = strcasestr(head, "\r\nContent-Length:");
    return length ? strtoul(length + 17, NULL, 10) : 0;
}

static bool has_head(void *arg)
{
    struct client *c = arg;
    client_has(c);
    return whole_head(c) > 0 || c->ended;
}

static bool has_answer(void *arg)
{
    struct client *c = arg;
    client_has(c);
    size_t head = whole_head(c);
    return c->ended || (head && c->in.len - head >= length_of(c->in.data));
}

struct answer client_hear(struct client *c, bool without_body)
{
    struct answer a = {0};
    site_until(c->site, without_body ? has_head : has_answer, c);
    size_t head = whole_head(c);
    assert_true(head > 0);
    a.head = mem_strndup(c->in.data, head);
    assert_int_equal(strncmp(a.head, "HTTP/1.", 7), 0);
    a.status = atoi(a.head + 9);
    a.body_len = without_body || a.status == 100 ? 0 : length_of(a.head);
    assert_true(c->in.len - head >= a.body_len);
    a.body = mem_strndup(c->in.data + head, a.body_len);
    buf_drop(&c->in, head + a.body_len);
    return a;
}

void client_expect_end(struct client *c)
{
    site_until(c->site, nothing_follows, c);
    assert_int_equal(c->in.len, 0);
}

void answer_free(struct answer *a)
{
    free(a->head);
    free(a->body);
    *a = (struct answer){0};
}

const char *answer_header(const struct answer *a, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    for (const char *at = a->head; (at = strstr(at, "\r\n")); at += 2) {
        if (strncasecmp(at + 2, name, len) != 0 || at[2 + len] != ':')
            continue;
        const char *value = at + 3 + len + strspn(at + 3 + len, " ");
        snprintf(out, size, "%.*s", (int)strcspn(value, "\r"), value);
        return out;
    }
    return NULL;
}

void assert_error(const struct answer *a, int status, const char *code)
{
    const char *got = NULL, *message = NULL;
    int retryable;
    assert_int_equal(a->status, status);
    json_t *o = json_loadb(a->body, a->body_len, 0, NULL);
    assert_int_equal(json_unpack(o, "{s:{s:s,s:s,s:b}}", "error", "code", &got, "message",
                                 &message, "retryable", &retryable),
                     0);
    assert_string_equal(got, code);
    assert_true(strlen(message) > 0);
    json_decref(o);
}
