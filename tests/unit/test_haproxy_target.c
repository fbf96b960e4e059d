/* The balancer `haproxy` against real HAProxy processes: the life of a target. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "haproxy_help.h"

static bool is_refused(void *seen)
{
    return strcmp(((struct seen *)seen)->reason, "L4CON") == 0;
}

static void test_life(void **state)
{
    struct bench *t = *state;
    char answer[1024];
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    assert_int_equal(add(t, "o.one", WEB), ERR_NONE);
    assert_true(run_until(t->loop, is_refused, seen_of(t, "o.one"), 15000));
    run_for(t->loop, 300); /* nobody listens: checks fail, and no request may reach it */
    assert_string_equal(seen_of(t, "o.one")->states, "C");
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 503);
    assert_int_equal(balancer_haproxy.healthy(t->b, 0), 0);
    struct web w = web_start(IP, WEB, "one");
    reach(t, "o.one", 'H');
    assert_string_equal(seen_of(t, "o.one")->reason, "L7OK");
    assert_int_equal(balancer_haproxy.healthy(t->b, 0), 1);
    assert_int_equal(w.control->served, 0);
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 200);
    assert_int_equal(w.control->served, 1);
    w.control->status = 503;
    reach(t, "o.one", 'U');
    assert_string_equal(seen_of(t, "o.one")->reason, "L7STS");
    w.control->status = 200;
    reach(t, "o.one", 'H');
    assert_int_equal(take_out(t, "o.one"), ERR_NONE);
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 503);
    reach(t, "o.one", 'G');
    assert_false(listed(t, 0, "o.one"));
    assert_string_equal(seen_of(t, "o.one")->states, "CHUHG");
    web_stop(&w);
}

/* Registered but not healthy: it must not get a request before its first checks have passed. */
static void test_no_traffic_before_checks(void **state)
{
    struct bench *t = *state;
    char answer[1024];
    class_set(t->class, "check_interval_ms", "400");
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    assert_int_equal(add(t, "o.one", WEB), ERR_NONE);
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 503);
    assert_int_equal(w.control->served, 0);
    reach(t, "o.one", 'H');
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 200);
    web_stop(&w);
}

static pid_t start_slow_request(int *result)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char answer[1024];
        int status = web_get(IP, FRONT, "/slow", NULL, answer, sizeof(answer));
        _exit(write(fds[1], &status, sizeof(status)) != sizeof(status));
    }
    close(fds[1]);
    *result = fds[0];
    return pid;
}

static int end_slow_request(pid_t pid, int fd)
{
    int status = -1;
    assert_int_equal(read(fd, &status, sizeof(status)), sizeof(status));
    close(fd);
    waitpid(pid, NULL, 0);
    return status;
}

static bool has_session(void *arg)
{
    char *text = raw(arg, 0, "show stat be 4 -1");
    bool busy = strstr(text, "\nbe,o.one,0,0,1,") != NULL;
    free(text);
    return busy;
}

/* A request under way may end; only then is the server deleted. */
static void test_remove_drains(void **state)
{
    struct bench *t = *state;
    int result;
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    w.control->hold = 1;
    pid_t pid = start_slow_request(&result);
    assert_true(run_until(t->loop, has_session, t, 5000));
    assert_int_equal(take_out(t, "o.one"), ERR_NONE);
    run_for(t->loop, 600);
    assert_string_equal(seen_of(t, "o.one")->states, "CH");
    assert_true(listed(t, 0, "o.one"));
    w.control->hold = 0;
    reach(t, "o.one", 'G');
    assert_int_equal(end_slow_request(pid, result), 200);
    web_stop(&w);
}

/* One that does not end is cut off after a while. */
static void test_remove_cuts_off(void **state)
{
    struct bench *t = *state;
    int result;
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    w.control->hold = 1;
    pid_t pid = start_slow_request(&result);
    assert_true(run_until(t->loop, has_session, t, 5000));
    int64_t start = loop_now_ms(t->loop);
    assert_int_equal(take_out(t, "o.one"), ERR_NONE);
    assert_true(loop_now_ms(t->loop) - start < 4000); /* accepted long before it is gone */
    reach(t, "o.one", 'G');
    assert_int_not_equal(end_slow_request(pid, result), 200);
    assert_false(listed(t, 0, "o.one"));
    web_stop(&w);
}

/* Taken out before the add was answered: nothing stays behind. */
static void test_remove_at_once(void **state)
{
    struct bench *t = *state;
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    struct answer in = {0}, out = {0}, twice = {0};
    balancer_haproxy.add(t->b, &(struct target){.id = "o.one", .ip = IP, .port = WEB},
                         take_answer, &in);
    balancer_haproxy.remove(t->b, &(struct target){.id = "o.one"}, take_answer, &out);
    balancer_haproxy.remove(t->b, &(struct target){.id = "o.one"}, take_answer, &twice);
    assert_int_equal(answer_of(t->loop, &in), ERR_CANCELLED);
    assert_int_equal(answer_of(t->loop, &out), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &twice), ERR_NONE);
    reach(t, "o.one", 'G');
    assert_false(listed(t, 0, "o.one"));
}

/* More commands than one question holds. */
static void test_many(void **state)
{
    struct bench *t = *state;
    struct answer in[150] = {0}, out[150] = {0};
    char id[40];
    struct web w = web_start(IP, WEB, "one");
    class_set(t->class, "check_interval_ms", "1000");
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    for (int i = 0; i < 150; i++) {
        snprintf(id, sizeof(id), "o.target-number-%d", i);
        balancer_haproxy.add(t->b, &(struct target){.id = id, .ip = IP, .port = WEB},
                             take_answer, &in[i]);
    }
    for (int i = 0; i < 150; i++)
        assert_int_equal(answer_of(t->loop, &in[i]), ERR_NONE);
    for (int i = 0; i < 150; i++) {
        snprintf(id, sizeof(id), "o.target-number-%d", i);
        reach(t, id, 'H');
        balancer_haproxy.remove(t->b, &(struct target){.id = id}, take_answer, &out[i]);
    }
    for (int i = 0; i < 150; i++) {
        snprintf(id, sizeof(id), "o.target-number-%d", i);
        assert_int_equal(answer_of(t->loop, &out[i]), ERR_NONE);
        reach(t, id, 'G');
    }
    assert_false(listed(t, 0, "o.target"));
    web_stop(&w);
}

/* ---- dynamic cookies ---- */

static char *cookie_in(const char *answer)
{
    const char *at = strcasestr(answer, "\r\nset-cookie: ");
    return at == NULL ? NULL : mem_strndup(at + 14, strcspn(at + 14, ";\r"));
}

static void test_dynamic_cookie(void **state)
{
    struct bench *t = *state;
    char answer[1024];
    struct web one = web_start(IP, WEB, "body-one"), two = web_start(IP, WEB + 1, "body-two");
    class_set(t->class, "dynamic_cookie_key", "secret-key");
    haproxy_start(t, 0, "admin", CHECKED "  cookie SRV insert nocache dynamic\n");
    open_balancer(t, 1);
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 200);
    char *cookie = cookie_in(answer);
    assert_non_null(cookie);
    add(t, "o.two", WEB + 1);
    reach(t, "o.two", 'H');
    for (int i = 0; i < 4; i++) {
        assert_int_equal(fetch(0, cookie, answer, sizeof(answer)), 200);
        assert_non_null(strstr(answer, "body-one"));
        assert_null(cookie_in(answer)); /* neither replaced nor deleted */
    }
    int cookies = 0, bodies = 0;
    for (int i = 0; i < 4; i++) { /* the second one has a cookie of its own */
        assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 200);
        char *other = cookie_in(answer);
        assert_non_null(other);
        assert_true(strlen(other) > strlen("SRV=")); /* an empty one deletes it */
        cookies += strcmp(other, cookie) != 0;
        bodies += strstr(answer, "body-two") != NULL;
        free(other);
    }
    assert_int_equal(cookies, 2);
    assert_int_equal(bodies, 2);
    free(cookie);
    web_stop(&one);
    web_stop(&two);
}

int main(void)
{
#define REAL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        REAL(test_life),           REAL(test_no_traffic_before_checks),
        REAL(test_remove_drains),  REAL(test_remove_cuts_off),
        REAL(test_remove_at_once), REAL(test_many),
        REAL(test_dynamic_cookie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
