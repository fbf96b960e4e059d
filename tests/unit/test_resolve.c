#include "loop/resolve.h"

#include <dirent.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "dns_help.h"
#include "loop/hosts.h"

/* ---- the table of hosts */

static void expect_host(const char *path, const char *name, int family, const char *wanted)
{
    char found[4][INET6_ADDRSTRLEN];
    struct buf text = {0};
    size_t count = hosts_find(path, name, family, found, 4);
    buf_puts(&text, "");
    for (size_t i = 0; i < count; i++)
        buf_printf(&text, "%s ", found[i]);
    assert_string_equal(text.data, wanted);
    buf_free(&text);
}

static void test_hosts(void **state)
{
    (void)state;
    char path[] = "/tmp/cleat-hosts-XXXXXX";
    int fd = mkstemp(path);
    dprintf(fd, "# 10.0.0.1 comment\n"
                "\n"
                "10.0.0.2\tone alias.test  # three\n"
                "10.0.0.3 One\r\n"
                "  fe80::0001 one two\n"
                "10.0.0 three\n"
                "10.0.0.999 three\n"
                "fe80::1%%eth0 three\n"
                "10.0.0.4\n"
                "10.0.0.5 onex xone\n"
                "10.0.0.6 last");
    close(fd);
    expect_host(path, "one", AF_INET, "10.0.0.2 10.0.0.3 ");
    expect_host(path, "ONE", AF_INET6, "fe80::1 ");
    expect_host(path, "alias.test", AF_INET, "10.0.0.2 ");
    expect_host(path, "two", AF_INET, "");
    expect_host(path, "three", AF_INET, "");
    expect_host(path, "three", AF_INET6, "");
    expect_host(path, "comment", AF_INET, "");
    expect_host(path, "last", AF_INET, "10.0.0.6 ");
    char one[1][INET6_ADDRSTRLEN];
    assert_int_equal(hosts_find(path, "one", AF_INET, one, 1), 1);
    unlink(path);
    expect_host(path, "one", AF_INET, "");
}

/* ---- a bench with a name server */

struct bench {
    struct loop *loop;
    struct resolver *resolver;
    struct dns *dns;
    size_t fds;
};

struct got {
    int calls;
    struct error error;
    char text[RESOLVE_MAX * RESOLVE_TEXT_SIZE];
    size_t count;
    uint32_t ttl_s;
    int64_t at_ms;
    struct loop *loop;
};

static size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static int open_bench(void **state)
{
    struct bench *b = mem_alloc(sizeof *b);
    b->loop = loop_new(NULL);
    b->resolver = resolver_new(b->loop);
    b->dns = dns_open(b->loop);
    b->fds = count_fds();
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    assert_int_equal(count_fds(), b->fds); /* no socket is left when nothing is looked up */
    resolver_free(b->resolver);
    dns_close(b->dns);
    loop_free(b->loop);
    free(b);
    return 0;
}

static void keep(void *arg, const struct error *e, const char (*addresses)[RESOLVE_TEXT_SIZE],
                 size_t count, uint32_t ttl_s)
{
    struct got *g = arg;
    g->calls++;
    g->at_ms = loop_now_ms(g->loop);
    g->count = count;
    g->ttl_s = ttl_s;
    g->error = e ? *e : (struct error){0};
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            strcat(g->text, " ");
        strcat(g->text, addresses[i]);
    }
}

static void stop_loop(void *loop)
{
    loop_stop(loop);
}

static void run_for(struct bench *b, int64_t ms)
{
    struct timer timer;
    timer_init(&timer, b->loop, stop_loop, b->loop);
    timer_arm(&timer, ms);
    loop_run(b->loop);
}

static struct resolve *start(struct bench *b, const char *name, struct got *g)
{
    *g = (struct got){.loop = b->loop};
    struct resolve *r = resolve_start(b->resolver, name, keep, g);
    assert_int_equal(g->calls, 0); /* never inline */
    return r;
}

static void wait_for(struct bench *b, const struct got *g)
{
    int64_t end_ms = loop_now_ms(b->loop) + 10000;
    while (g->calls == 0) {
        assert_true(loop_now_ms(b->loop) < end_ms);
        run_for(b, 2);
    }
    assert_int_equal(g->calls, 1);
}

static void expect(struct bench *b, const char *name, const char *addresses, uint32_t ttl_s)
{
    struct got g;
    start(b, name, &g);
    wait_for(b, &g);
    assert_string_equal(g.error.message, "");
    assert_string_equal(g.text, addresses);
    assert_int_equal(g.ttl_s, ttl_s);
}

static void refuse(struct bench *b, const char *name, enum error_code code, const char *why)
{
    struct got g;
    start(b, name, &g);
    wait_for(b, &g);
    assert_string_equal(error_name(g.error.code), error_name(code));
    if (!strstr(g.error.message, why))
        fail_msg("\"%s\" is not in: %s", why, g.error.message);
    assert_int_equal(g.count, 0);
}

/* ---- answers */

static void test_answers(void **state)
{
    struct bench *b = *state;
    dns_say(b->dns, "one.test", DNS_TRUTH, "127.71.0.1", 7);
    dns_say(b->dns, "both.test", DNS_TRUTH, "::1 127.71.0.2 fe80::2 127.71.0.1", 70000);
    dns_say(b->dns, "six.test", DNS_TRUTH, "::1", 5);
    dns_say(b->dns, "zero.test", DNS_TRUTH, "127.71.0.1", 0);
    dns_say(b->dns, "short.cleat.test", DNS_TRUTH, "127.71.0.9",
            5); /* by resolv.conf's search */
    dns_say(b->dns, "under_score-1.test", DNS_TRUTH, "127.71.0.3", 5);
    expect(b, "one.test", "127.71.0.1", 7);
    expect(b, "ONE.test.", "127.71.0.1", 7);
    expect(b, "both.test", "127.71.0.2 127.71.0.1 ::1 fe80::2", 70000);
    expect(b, "six.test", "::1", 5);
    expect(b, "zero.test", "127.71.0.1", 1);
    expect(b, "short", "127.71.0.9", 5);
    expect(b, "under_score-1.test", "127.71.0.3", 5);
    assert_int_equal(dns_asked(b->dns, "one.test"), 2);
}

/* They need no name server. */
static void test_at_hand(void **state)
{
    struct bench *b = *state;
    struct got g;
    expect(b, "127.71.0.1", "127.71.0.1", 0);
    expect(b, "0:0::1", "::1", 0);
    expect(b, "a.b.localhost", "127.0.0.1 ::1", 0);
    start(b, "localhost", &g);
    wait_for(b, &g);
    assert_memory_equal(g.text, "127.0.0.1", 9);
    assert_int_equal(truncate(dns_resolv_conf, 0), 0);
    expect(b, "x.localhost", "127.0.0.1 ::1", 0);
    refuse(b, "one.test", ERR_CONNECT, "no name server");
}

static void test_no_name(void **state)
{
    struct bench *b = *state;
    char long_label[80], long_name[300];
    memset(long_label, 'a', sizeof long_label);
    memset(long_name, 'a', sizeof long_name);
    for (size_t i = 20; i < sizeof long_name; i += 20)
        long_name[i] = '.';
    long_label[79] = long_name[299] = '\0';
    dns_say(b->dns, "empty.test", DNS_TRUTH, "", 5);
    dns_say(b->dns, "cut.test", DNS_CUT, "127.71.0.1", 5);
    refuse(b, "unknown.test", ERR_NOT_FOUND, "unknown.test has no address");
    refuse(b, "empty.test", ERR_NOT_FOUND, "has no address");
    refuse(b, "cut.test.", ERR_CONNECT, "truncated");
    refuse(b, "a b", ERR_NOT_FOUND, "not a name");
    refuse(b, "", ERR_NOT_FOUND, "not a name");
    refuse(b, ".", ERR_NOT_FOUND, "not a name");
    refuse(b, "a..b", ERR_NOT_FOUND, "not a name");
    refuse(b, "r\xc3\xa4tsel.test", ERR_NOT_FOUND, "not a name");
    refuse(b, long_name, ERR_NOT_FOUND, "not a name");
    refuse(b, long_label, ERR_CONNECT, "could not be resolved");
}

static void test_lies(void **state)
{
    struct bench *b = *state;
    dns_say(b->dns, "id.test", DNS_WRONG_ID, "127.71.0.1", 5);
    dns_say(b->dns, "name.test", DNS_WRONG_NAME, "127.71.0.2", 5);
    dns_say(b->dns, "stranger.test", DNS_STRANGER, "127.71.0.3", 5);
    dns_say(b->dns, "noise.test", DNS_NOISE, "127.71.0.4", 5);
    expect(b, "id.test", "127.71.0.1", 5);
    expect(b, "stranger.test", "127.71.0.3", 5);
    /* these come from the server itself: evdns gives up, unfooled */
    refuse(b, "name.test", ERR_NOT_FOUND, "has no address");
    refuse(b, "noise.test", ERR_NOT_FOUND, "has no address");
}

static void test_many_addresses(void **state)
{
    struct bench *b = *state;
    struct got g;
    char list[512] = "::1";
    for (int i = 1; i <= 24; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), " 127.71.1.%d", i);
    dns_say(b->dns, "many.test", DNS_TRUTH, list, 5);
    start(b, "many.test", &g);
    wait_for(b, &g);
    assert_int_equal(g.count, RESOLVE_MAX);
    assert_non_null(strstr(g.text, "127.71.1.16"));
}

/* Silence ends in bounded time, whatever resolv.conf says; a server that answers for IPv4 and
 * not for IPv6 costs no more than a moment. */
static void test_silence(void **state)
{
    struct bench *b = *state;
    struct got silent, broken, half;
    dns_say(b->dns, "silent.test", DNS_SILENCE, "", 5);
    dns_say(b->dns, "broken.test", DNS_BROKEN, "", 5);
    dns_say(b->dns, "half.test", DNS_IPV4_ONLY, "127.71.0.1", 5);
    int64_t begin_ms = loop_now_ms(b->loop);
    start(b, "silent.test", &silent);
    start(b, "broken.test", &broken);
    start(b, "half.test", &half);
    wait_for(b, &half);
    assert_string_equal(half.text, "127.71.0.1");
    assert_true(half.at_ms - begin_ms < 1000);
    wait_for(b, &silent);
    wait_for(b, &broken);
    assert_int_equal(silent.error.code, ERR_CONNECT);
    assert_int_equal(broken.error.code, ERR_CONNECT);
    assert_true(silent.at_ms - begin_ms >= 4000 && silent.at_ms - begin_ms < 7000);
    assert_int_equal(dns_asked(b->dns, "silent.test"), 3);
}

/* ---- cancel */

static void test_cancel(void **state)
{
    struct bench *b = *state;
    static const char *const names[] = {"silent.test", "one.test", "localhost", "a b"};
    dns_say(b->dns, "one.test", DNS_TRUTH, "127.71.0.1", 5);
    dns_say(b->dns, "silent.test", DNS_SILENCE, "", 5);
    for (size_t i = 0; i < 4; i++) {
        struct got g;
        resolve_cancel(start(b, names[i], &g));
        assert_int_equal(count_fds(), b->fds);
        run_for(b, 10);
        assert_int_equal(g.calls, 0);
    }
    struct got g;
    struct resolve *r = start(b, "silent.test", &g);
    run_for(b, 10);
    resolve_cancel(r);
    run_for(b, 10);
    assert_int_equal(g.calls, 0);
}

/* The name server's answer and the descriptor that cancels are ready in the same poll, in this
 * order: evdns has taken the answer and not told it yet when the look-up is cancelled. */
struct late_cancel {
    struct bench *bench;
    int pipe[2];
    struct resolve *resolve;
    bool free_all;
    int calls;
};

static void make_ready(void *arg)
{
    struct late_cancel *c = arg;
    assert_int_equal(write(c->pipe[1], "x", 1), 1);
}

static void cancel_late(void *arg)
{
    struct late_cancel *c = arg;
    char byte;
    assert_int_equal(read(c->pipe[0], &byte, 1), 1);
    if (c->calls++ > 0) /* the answer for IPv6 */
        return;
    if (c->free_all) {
        resolver_free(c->bench->resolver);
        c->bench->resolver = resolver_new(c->bench->loop);
    } else {
        resolve_cancel(c->resolve);
    }
}

static void test_cancel_before_told(void **state)
{
    struct bench *b = *state;
    dns_say(b->dns, "one.test", DNS_TRUTH, "127.71.0.1", 5);
    for (int round = 0; round < 2; round++) {
        struct late_cancel c = {.bench = b, .free_all = round == 1};
        struct got g;
        assert_int_equal(pipe(c.pipe), 0);
        struct fd_watch *watch = fd_watch_new(b->loop, c.pipe[0], false, cancel_late, &c);
        dns_after_answer(b->dns, make_ready, &c);
        c.resolve = start(b, "one.test", &g);
        run_for(b, 30);
        assert_true(c.calls > 0);
        assert_int_equal(g.calls, 0);
        dns_after_answer(b->dns, NULL, NULL);
        fd_watch_free(watch);
        close(c.pipe[0]);
        close(c.pipe[1]);
    }
}

/* The loop ends without another turn. */
static void test_free_under_way(void **state)
{
    struct bench *b = *state;
    struct got g;
    struct loop *loop = loop_new(NULL);
    struct resolver *resolver = resolver_new(loop);
    resolve_start(resolver, "silent.test", keep, &g);
    resolve_start(resolver, "127.0.0.1", keep, &g);
    resolver_free(resolver);
    loop_free(loop);
    assert_int_equal(count_fds(), b->fds);
}

static void nothing(void *arg)
{
    (void)arg;
}

/* With nothing to look up, nothing keeps a borrowed event base busy. */
static void test_keeps_no_loop(void **state)
{
    struct bench *b = *state;
    struct event_base *base = event_base_new();
    struct loop *loop = loop_new(base);
    struct resolver *resolver = resolver_new(loop);
    struct got g = {.loop = loop};
    struct timer turn;
    int64_t begin_ms = loop_now_ms(loop);
    resolve_start(resolver, "127.0.0.1", keep, &g);
    event_base_dispatch(base);
    assert_int_equal(g.calls, 1);
    resolve_cancel(resolve_start(resolver, "one.test", keep, &g));
    timer_init(&turn, loop, nothing, NULL);
    timer_arm(&turn, 1); /* the loop notices a stopped timer in its next turn */
    event_base_dispatch(base);
    assert_int_equal(g.calls, 1);
    assert_true(loop_now_ms(loop) - begin_ms < 2000);
    resolver_free(resolver);
    loop_free(loop);
    event_base_free(base);
    assert_int_equal(count_fds(), b->fds);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts), CASE(test_answers),       CASE(test_at_hand),
        CASE(test_no_name),           CASE(test_lies),          CASE(test_many_addresses),
        CASE(test_silence),           CASE(test_cancel),        CASE(test_cancel_before_told),
        CASE(test_free_under_way),    CASE(test_keeps_no_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
