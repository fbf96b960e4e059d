/* Connections over time: clients that dawdle or leave, servers that end, sockets and limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "server_help.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

enum { IDLE_MS = 200 };

static struct site site;

static int setup(void **state)
{
    struct server_options o = site_options();
    site_open(&site, &o);
    *state = &site;
    return 0;
}

static int setup_impatient(void **state)
{
    struct server_options o = site_options();
    o.idle_timeout_ms = IDLE_MS;
    site_open(&site, &o);
    *state = &site;
    return 0;
}

static int setup_three(void **state)
{
    struct server_options o = site_options();
    o.max_connections = 3;
    site_open(&site, &o);
    *state = &site;
    return 0;
}

static int teardown(void **state)
{
    site_close(*state);
    return 0;
}

static bool kept_some(void *arg)
{
    return ((struct site *)arg)->kept_count > 0;
}

static bool is_gone(void *arg)
{
    return ((struct site *)arg)->gone > 0;
}

/* ---- time-outs */

static void test_idle(void **state)
{
    struct client c = client_open(*state);
    client_expect_end(&c);
    client_close(&c);
    c = client_open(*state); /* after an answer, too */
    client_say(&c, GET);
    struct answer a = client_hear(&c, false);
    client_expect_end(&c);
    answer_free(&a);
    client_close(&c);
}

/* A byte now and then does not keep a connection. */
static void test_trickle(void **state)
{
    static const char *const starts[] = {
        "G", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        struct client c = client_open(*state);
        client_say(&c, starts[i]);
        int64_t start = loop_now_ms(site.loop);
        while (!client_has(&c)) {
            assert_true(loop_now_ms(site.loop) < start + 20 * IDLE_MS);
            client_say(&c, "x");
            site_for(&site, 5);
        }
        assert_true(loop_now_ms(site.loop) >= start + IDLE_MS - 10);
        struct answer a = client_hear(&c, false);
        assert_error(&a, 408, "timeout");
        client_expect_end(&c);
        assert_int_equal(site.handled, 0);
        answer_free(&a);
        client_close(&c);
    }
}

/* A large body may take longer than the time-out, as long as it comes. */
static void test_slow_body(void **state)
{
    static char part[20000];
    struct client c = client_open(*state);
    memset(part, 'x', sizeof part);
    client_say(&c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        site_for(&site, IDLE_MS * 2 / 3);
        client_send(&c, part, sizeof part);
    }
    struct answer a = client_hear(&c, false);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    client_close(&c);
}

/* No time-out of the server's while the handler has the request. */
static void test_slow_handler(void **state)
{
    struct client c = client_open(*state);
    site.keep = true;
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    site_for(&site, IDLE_MS * 3 / 2);
    assert_int_equal(site.gone, 0);
    echo(site.kept[0]);
    struct answer a = client_hear(&c, false);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    client_close(&c);
}

enum { LARGE = 16 * 1024 * 1024 };

static void answer_large(struct site *s, struct server_request *r)
{
    char *body = calloc(1, LARGE);
    (void)s;
    server_answer(r, 200, "application/octet-stream", body, LARGE);
    free(body);
}

static bool reset_or_ended(void *arg)
{
    struct client *c = arg;
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    char bytes[65536];
    return error || recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_PEEK) == 0;
}

/* A client that does not read its answer loses the connection … */
static void test_unread_answer(void **state)
{
    struct client c = client_open(*state);
    size_t got = 0;
    ssize_t n;
    static char bytes[65536];
    site.handler = answer_large;
    client_say(&c, GET);
    site_for(&site, IDLE_MS * 4);
    do {
        site_turn(&site);
        while ((n = recv(c.fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
            got += (size_t)n;
    } while (n < 0 && errno == EAGAIN);
    assert_true(got < LARGE);
    assert_true(reset_or_ended(&c));
    client_close(&c);
}

/* … but one that reads slowly gets it all. */
static void test_slowly_read_answer(void **state)
{
    struct client c = client_open(*state);
    static char bytes[2 * 1024 * 1024];
    size_t got = 0;
    site.handler = answer_large;
    client_say(&c, GET);
    while (got < LARGE) {
        size_t want = got + sizeof bytes;
        while (got < want && got < LARGE) {
            ssize_t n = recv(c.fd, bytes, sizeof bytes, MSG_DONTWAIT);
            assert_true(n > 0 || (n < 0 && errno == EAGAIN));
            got += n > 0 ? (size_t)n : 0;
            site_turn(&site);
        }
        site_for(&site, IDLE_MS / 3);
    }
    client_close(&c);
}

/* A client that has shut its side gets all of an answer that was begun. */
static void test_half_closed(void **state)
{
    static char bytes[1024 * 1024];
    struct client c = client_open(*state);
    size_t got = 0;
    ssize_t n;
    site.handler = answer_large;
    assert_int_equal(send(c.fd, GET, strlen(GET), 0), strlen(GET));
    shutdown(c.fd, SHUT_WR);
    while ((n = recv(c.fd, bytes, sizeof bytes, MSG_DONTWAIT)) != 0) {
        assert_true(n > 0 || errno == EAGAIN);
        got += n > 0 ? (size_t)n : 0;
        site_turn(&site);
    }
    assert_true(got > LARGE);
    client_close(&c);
}

/* ---- clients that leave */

static void test_gone_before_answer(void **state)
{
    const struct linger reset = {.l_onoff = 1};
    for (int with_reset = 0; with_reset < 2; with_reset++) {
        struct client c = client_open(*state);
        site.keep = true;
        site.gone = site.kept_count = 0;
        client_say(&c, "POST /p?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        site_until(&site, kept_some, &site);
        if (with_reset)
            setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        client_close(&c);
        site_until(&site, is_gone, &site);
        struct server_request *r = site.kept[0];
        assert_string_equal(server_path(r), "/p"); /* all of it is still there */
        assert_string_equal(server_query(r, "q"), "1");
        assert_string_equal(server_header(r, "host"), "a");
        size_t len;
        assert_string_equal(server_body(r, &len), "hi");
        server_add_header(r, "X-Late", "1");
        echo(r);
        assert_int_equal(site.gone, 1);
    }
}

/* With later requests waiting behind it, the end is noticed as well. */
static void test_gone_with_more_to_come(void **state)
{
    struct client c = client_open(*state);
    site.keep = true;
    client_say(&c, GET GET GET);
    site_until(&site, kept_some, &site);
    client_close(&c);
    site_until(&site, is_gone, &site);
    site_for(&site, 5);
    assert_int_equal(site.handled, 1);
    echo(site.kept[0]);
}

static void test_gone_within_request(void **state)
{
    static const char *const parts[] = {
        "GET / HT", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"};
    for (int i = 0; i < 3; i++) {
        struct client c = client_open(*state);
        client_say(&c, parts[i]);
        client_close(&c);
        site_for(&site, 5);
        assert_int_equal(site.handled, 0);
    }
}

static void answer_now(void *arg)
{
    struct site *s = arg;
    s->gone++;
    echo(s->kept[0]);
}

static void test_answer_from_gone(void **state)
{
    struct client c = client_open(*state);
    site.keep = true;
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    server_on_gone(site.kept[0], answer_now, &site);
    client_close(&c);
    site_until(&site, is_gone, &site);
    assert_int_equal(site.gone, 1);
}

/* ---- servers that end */

static void test_free_with_unanswered(void **state)
{
    struct client a = client_open(*state), b = client_open(*state), d = client_open(*state);
    site.keep = true;
    client_say(&a, GET GET);
    client_say(&b, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhi");
    client_say(&d, "GET /");
    site_until(&site, kept_some, &site);
    server_free(site.server);
    site.server = NULL;
    assert_int_equal(site.kept_count, 1);
    assert_string_equal(server_path(site.kept[0]), "/");
    echo(site.kept[0]);
    assert_int_equal(site.gone, 0);
    client_close(&a);
    client_close(&b);
    client_close(&d);
}

static void free_server(struct site *s, struct server_request *r)
{
    server_free(s->server);
    s->server = NULL;
    echo(r);
}

static bool is_freed(void *arg)
{
    return !((struct site *)arg)->server;
}

static void test_free_from_handler(void **state)
{
    struct client c = client_open(*state);
    site.handler = free_server;
    client_say(&c, GET GET);
    site_until(&site, is_freed, &site);
    assert_int_equal(site.handled, 1);
    client_close(&c);
}

static void free_in_gone(void *arg)
{
    struct site *s = arg;
    free_server(s, s->kept[0]);
}

static void test_free_from_gone(void **state)
{
    struct client c = client_open(*state);
    site.keep = true;
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    server_on_gone(site.kept[0], free_in_gone, &site);
    client_close(&c);
    site_until(&site, is_freed, &site);
}

static int connect_tcp(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, SERVER_IP, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

static void test_stop_listening(void **state)
{
    struct client c = client_open(*state);
    char value[64];
    site.keep = true;
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    server_stop_listening(site.server);
    server_stop_listening(site.server);
    assert_int_equal(connect_tcp(server_port(site.server)), -1);
    echo(site.kept[0]);
    struct answer a = client_hear(&c, false);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Connection", value, sizeof value), "close");
    client_expect_end(&c);
    answer_free(&a);
    client_close(&c);
}

/* ---- limits */

static void expect_service(struct client *c)
{
    client_say(c, GET);
    struct answer a = client_hear(c, false);
    assert_int_equal(a.status, 200);
    answer_free(&a);
}

static void test_max_connections(void **state)
{
    struct client c[4];
    for (int i = 0; i < 3; i++) {
        c[i] = client_open(*state);
        expect_service(&c[i]);
    }
    c[3] = client_open(*state);
    client_expect_end(&c[3]);
    client_close(&c[3]);
    client_close(&c[0]); /* makes room for one */
    site_for(&site, 5);
    c[0] = client_open(*state);
    expect_service(&c[0]);
    for (int i = 0; i < 3; i++) {
        expect_service(&c[i]);
        client_close(&c[i]);
    }
}

/* Accepting goes on once a descriptor is free, and does not spin until then. */
static void test_no_descriptor(void **state)
{
    struct rlimit old, low;
    int turns = 0;
    struct client first = client_open(*state);
    int fd = connect_tcp(server_port(site.server));
    getrlimit(RLIMIT_NOFILE, &old);
    low = old;
    low.rlim_cur = (rlim_t)fd + 1;
    setrlimit(RLIMIT_NOFILE, &low);
    for (int64_t end = loop_now_ms(site.loop) + 300; loop_now_ms(site.loop) < end; turns++)
        event_base_loop(loop_base(site.loop), EVLOOP_ONCE);
    assert_in_range(turns, 2, 20);
    struct client second = client_over(*state, fd);
    expect_service(&first);
    client_say(&second, GET);
    site_for(&site, 20);
    assert_false(client_has(&second));
    setrlimit(RLIMIT_NOFILE, &old);
    expect_service(&second);
    client_close(&first);
    client_close(&second);
}

/* ---- sockets */

static char dir[] = "/tmp/cleat-test-server-XXXXXX";
static char path[64];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir + sizeof dir - 7, "XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    assert_int_equal(access(path, F_OK), -1);
    return rmdir(dir);
}

static struct server_options unix_options(mode_t mode)
{
    struct server_options o = site_options();
    o.ip = NULL;
    o.unix_path = path;
    o.unix_mode = mode;
    return o;
}

static int connect_unix(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(to.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void test_unix_socket(void **state)
{
    struct stat st;
    struct server_options o = unix_options(0660);
    (void)state;
    site_open(&site, &o);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, S_IFSOCK | 0660);
    site.keep = true;
    struct client c = client_over(&site, connect_unix());
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    const struct server_peer *peer = server_peer(site.kept[0]);
    assert_true(peer->is_unix);
    assert_int_equal(peer->uid, getuid());
    assert_int_equal(peer->gid, getgid());
    assert_int_equal(peer->pid, getpid());
    assert_string_equal(server_local_address(site.kept[0]), "");
    echo(site.kept[0]);
    struct answer a = client_hear(&c, false);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    client_close(&c);
    site_close(&site);
}

static struct server *try(const struct server_options *o, struct error *e)
{
    *e = (struct error){0};
    return server_new(site.loop, o, NULL, NULL, e);
}

static void test_unix_socket_in_use(void **state)
{
    struct server_options o = unix_options(0600);
    struct error e;
    (void)state;
    site_open(&site, &o);
    assert_null(try(&o, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_non_null(strstr(e.message, "in use"));
    struct client c = client_over(&site, connect_unix()); /* it still works */
    expect_service(&c);
    client_close(&c);
    site_close(&site);
}

static void test_unix_socket_stale(void **state)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct server_options o = unix_options(0600);
    (void)state;
    strcpy(at.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    close(fd);
    assert_int_equal(access(path, F_OK), 0);
    site_open(&site, &o);
    struct client c = client_over(&site, connect_unix());
    expect_service(&c);
    client_close(&c);
    site_close(&site);
}

/* What is not ours is neither replaced nor removed. */
static void test_unix_socket_of_others(void **state)
{
    struct server_options o = unix_options(0600);
    struct error e;
    struct stat st;
    (void)state;
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    site.loop = loop_new(NULL);
    assert_null(try(&o, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    loop_free(site.loop);
    unlink(path);
    site_open(&site, &o);
    unlink(path); /* another server takes our place */
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    site_close(&site);
    assert_int_equal(unlink(path), 0);
}

static void test_bad_addresses(void **state)
{
    struct server_options o = site_options();
    struct error e;
    char long_path[200] = "/tmp/";
    (void)state;
    o.port = server_port(site.server);
    assert_null(try(&o, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    o.ip = "127.0.0.256";
    assert_null(try(&o, &e));
    assert_int_equal(e.code, ERR_CONFIG);
    o.ip = "192.0.2.1"; /* nobody has this one: RFC 5737 */
    assert_null(try(&o, &e));
    assert_int_equal(e.code, ERR_CONFIG);
    o.ip = NULL;
    o.unix_path = "/nonexistent/socket";
    assert_null(try(&o, &e));
    assert_int_equal(e.code, ERR_CONFIG);
    memset(long_path + 5, 'x', 150);
    o.unix_path = long_path;
    assert_null(try(&o, &e));
    assert_int_equal(e.code, ERR_CONFIG);
}

static void test_any_port(void **state)
{
    struct server_options o = site_options();
    char expected[64];
    (void)state;
    o.port = 0;
    site_open(&site, &o);
    site.keep = true;
    assert_int_not_equal(server_port(site.server), 0);
    snprintf(expected, sizeof expected, SERVER_IP ":%d", server_port(site.server));
    struct client c = client_open(&site);
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    assert_string_equal(server_local_address(site.kept[0]), expected);
    assert_false(server_peer(site.kept[0])->is_unix);
    echo(site.kept[0]);
    client_close(&c);
    site_close(&site);
}

static void test_ipv6(void **state)
{
    struct server_options o = site_options();
    struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    char expected[64];
    (void)state;
    o.ip = "::1";
    site_open(&site, &o);
    site.keep = true;
    to.sin6_port = htons(server_port(site.server));
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    struct client c = client_over(&site, fd);
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    snprintf(expected, sizeof expected, "[::1]:%d", server_port(site.server));
    assert_string_equal(server_local_address(site.kept[0]), expected);
    echo(site.kept[0]);
    client_close(&c);
    site_close(&site);
}

/* Whatever the handler starts inherits nothing. */
static void test_close_on_exec(void **state)
{
    struct client c = client_open(*state);
    int sockets = 0;
    site.keep = true;
    client_say(&c, GET);
    site_until(&site, kept_some, &site);
    for (int fd = 3; fd < 100; fd++) {
        struct stat st;
        if (fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode))
            continue;
        sockets++;
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    assert_true(sockets >= 3);
    echo(site.kept[0]);
    client_close(&c);
}

int main(void)
{
#define WITH(start, name) cmocka_unit_test_setup_teardown(name, start, teardown)
#define PATH(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)
    const struct CMUnitTest tests[] = {
        WITH(setup_impatient, test_idle),
        WITH(setup_impatient, test_trickle),
        WITH(setup_impatient, test_slow_body),
        WITH(setup_impatient, test_slow_handler),
        WITH(setup_impatient, test_unread_answer),
        WITH(setup_impatient, test_slowly_read_answer),
        WITH(setup, test_half_closed),
        WITH(setup, test_gone_before_answer),
        WITH(setup, test_gone_with_more_to_come),
        WITH(setup, test_gone_within_request),
        WITH(setup, test_answer_from_gone),
        WITH(setup, test_free_with_unanswered),
        WITH(setup, test_free_from_handler),
        WITH(setup, test_free_from_gone),
        WITH(setup, test_stop_listening),
        WITH(setup_three, test_max_connections),
        WITH(setup, test_no_descriptor),
        WITH(setup, test_bad_addresses),
        WITH(setup, test_close_on_exec),
        PATH(test_unix_socket),
        PATH(test_unix_socket_in_use),
        PATH(test_unix_socket_stale),
        PATH(test_unix_socket_of_others),
        cmocka_unit_test(test_any_port),
        cmocka_unit_test(test_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
