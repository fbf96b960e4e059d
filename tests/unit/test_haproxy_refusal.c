/* The balancer `haproxy`: what it refuses, and a HAProxy that refuses, talks nonsense or is
 * silent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "driver/haproxy_node.h"
#include "haproxy_help.h"

static char *problem_of(const struct bench *t)
{
    json_t *status = balancer_haproxy.status(t->b);
    json_t *node = json_array_get(json_object_get(status, "nodes"), 0);
    const char *problem = json_string_value(json_object_get(node, "problem"));
    char *copy = mem_strdup(problem == NULL ? "" : problem);
    json_decref(status);
    return copy;
}

static void check_problem(struct bench *t, const char *word)
{
    char *problem = problem_of(t);
    if (strstr(problem, word) == NULL)
        fail_msg("\"%s\" does not tell of %s", problem, word);
    free(problem);
}

static void each_target(void *arg, const struct target *target, enum target_state s)
{
    (void)arg;
    (void)target;
    (void)s;
    fail();
}

static void test_socket_missing(void **state)
{
    struct bench *t = *state;
    class_set(t->class, "step_timeout_s", "1");
    open_balancer(t, 1);
    struct error e = add_to(t, "o.one", IP, WEB);
    assert_int_equal(e.code, ERR_TIMEOUT);
    assert_true(e.of_engine);
    assert_non_null(strstr(e.message, "/s0"));
    check_problem(t, "/s0");
    assert_int_equal(take_out(t, "o.one"), ERR_TIMEOUT); /* a restart may be under way */
    struct answer a = {0};
    balancer_haproxy.list(t->b, each_target, take_answer, &a);
    assert_int_equal(answer_of(t->loop, &a), ERR_TIMEOUT);
    reach(t, "o.one", 'G'); /* but in the end there is nobody who could route to it */
    balancer_haproxy.list(t->b, each_target, take_answer, &a);
    assert_int_equal(answer_of(t->loop, &a), ERR_CONNECT);
}

static void test_refused(void **state)
{
    struct bench *t = *state;
    haproxy_start(t, 0, "admin", "balance uri\n");
    open_balancer(t, 1);
    struct error e = add_to(t, "o.one", IP, WEB);
    assert_int_equal(e.code, ERR_CONFIG);
    assert_non_null(strstr(e.message, "roundrobin"));
    check_problem(t, "roundrobin");
    close_balancer(t);
    haproxy_stop(t, 0);

    haproxy_start(t, 0, "operator", CHECKED);
    open_balancer(t, 1);
    e = add_to(t, "o.one", IP, WEB);
    assert_int_equal(e.code, ERR_CONFIG);
    assert_non_null(strstr(e.message, "level admin"));
    close_balancer(t);

    class_set(t->class, "haproxy_backend", "nobody");
    open_balancer(t, 1);
    e = add_to(t, "o.one", IP, WEB);
    assert_int_equal(e.code, ERR_CONFIG);
    assert_non_null(strstr(e.message, "nobody"));
    check_problem(t, "nobody");
    assert_int_equal(seen_of(t, "o.one")->states[0], '\0'); /* no state of what never was */
}

/* HAProxy refuses to take it out: then it is not accepted, for requests still reach it. */
static void test_remove_refused(void **state)
{
    struct bench *t = *state;
    class_set(t->class, "step_timeout_s", "1");
    haproxy_start(t, 0, "operator", CHECKED "  server o.one 127.65.0.1:21320\n");
    open_balancer(t, 1);
    assert_int_equal(take_out(t, "o.one"), ERR_TIMEOUT);
    check_problem(t, "level admin");
    assert_int_equal(seen_of(t, "o.one")->states[0], '\0');
}

static void test_conflict(void **state)
{
    struct bench *t = *state;
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    free(raw(t, 0, "add server be/o.one 127.0.0.99:1 check inter 50"));
    assert_int_equal(add(t, "o.one", WEB), ERR_CONFLICT);
    run_for(t->loop, 300);
    assert_true(listed(t, 0, "127.0.0.99")); /* not ours to delete */
    assert_int_equal(add(t, "o.two", WEB), ERR_NONE);
    assert_int_equal(add(t, "o.two", WEB), ERR_NONE);
    assert_int_equal(add(t, "o.two", WEB + 1), ERR_CONFLICT);
    struct answer out = {0}, again = {0};
    balancer_haproxy.remove(t->b, &(struct target){.id = "o.two"}, take_answer, &out);
    balancer_haproxy.add(t->b, &(struct target){.id = "o.two", .ip = IP, .port = WEB},
                         take_answer, &again);
    assert_int_equal(answer_of(t->loop, &again), ERR_CONFLICT);
    assert_int_equal(answer_of(t->loop, &out), ERR_NONE);
    reach(t, "o.two", 'G');
}

static void test_bad_names(void **state)
{
    struct bench *t = *state;
    static const char *const bad[] = {"x.one",  "o.a b", "o.a;disable server be/x",
                                      "o.a\nb", "",      "o"};
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(add(t, bad[i], WEB), ERR_INVALID);
        assert_int_equal(take_out(t, bad[i]), ERR_INVALID);
    }
    assert_int_equal(add_to(t, "o.one", "1.2.3.4;quit", WEB).code, ERR_INVALID);
}

static void test_class_check(void **state)
{
    struct bench *t = *state;
    struct balancer_env env = {
        .loop = t->loop, .class = t->class, .owner = "o", .on_target = note_target, .arg = t};
    static const char *const bad[][2] = {
        {"haproxy_sockets", ""},          {"haproxy_urls", "http://a,http://b"},
        {"haproxy_backend", "a b"},       {"haproxy_backend", ""},
        {"dynamic_cookie_key", "a;quit"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {.code = ERR_NONE};
        class_set(t->class, "haproxy_sockets", "/tmp/s");
        class_set(t->class, "haproxy_urls", "http://a");
        class_set(t->class, "haproxy_backend", "be");
        class_set(t->class, bad[i][0], bad[i][1]);
        assert_null(balancer_haproxy.open(&env, &e));
        assert_int_equal(e.code, ERR_CONFIG);
    }
}

/* ---- a HAProxy that talks nonsense ---- */

static pid_t liar_start(struct bench *t, const char *answer)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char *path = socket_of(t, 0);
    mem_copy_string(a.sun_path, sizeof(a.sun_path), path);
    unlink(path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 16), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char question[32768];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) {
            int fd = accept(listener, NULL, NULL);
            if (read(fd, question, sizeof(question)) <= 0 ||
                write(fd, answer, strlen(answer)) < 0)
                _exit(1);
            close(fd);
        }
    }
    close(listener);
    free(path);
    return pid;
}

static void test_nonsense(void **state)
{
    struct bench *t = *state;
    static const char *const answers[] = {
        "",
        "\n\n\n",
        "1\n# be_id be_name srv_id srv_name\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "1\n# pxname,svname\n\n",
    };
    class_set(t->class, "step_timeout_s", "1");
    struct web w = web_start(IP, WEB, "one");
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        pid_t liar = liar_start(t, answers[i]);
        open_balancer(t, 1);
        struct error e = add_to(t, "o.one", IP, WEB);
        assert_int_equal(e.code, ERR_TIMEOUT);
        if (strstr(e.message, i == 0 ? "without an answer" : "makes no sense") == NULL)
            fail_msg("%zu: %s", i, e.message);
        assert_int_equal(take_out(t, "o.one"), ERR_TIMEOUT); /* it may well route: not gone */
        kill(liar, SIGKILL);
        waitpid(liar, NULL, 0);
        close_balancer(t);
    }
    assert_int_equal(t->count, 0);
    char *path = socket_of(t, 0);
    unlink(path);
    free(path);
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    assert_int_equal(add(t, "o.one", WEB), ERR_NONE);
    reach(t, "o.one", 'H');
    web_stop(&w);
}

/* ---- who listens may route ---- */

/* Somebody who has the socket but neither accepts nor answers: a HAProxy that is stopped. */
static int silent_start(struct bench *t, int backlog)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char *path = socket_of(t, 0);
    mem_copy_string(a.sun_path, sizeof(a.sun_path), path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, backlog), 0);
    free(path);
    return listener;
}

struct complaint {
    struct bench *t;
    const char *word;
};

static bool is_said(void *arg)
{
    const struct complaint *c = arg;
    char *problem = problem_of(c->t);
    bool said = strstr(problem, c->word) != NULL;
    free(problem);
    return said;
}

/* It has timed out for long, and then a connect is refused: only refusals for a while mean that
 * it is gone. */
static void test_refused_once(void **state)
{
    struct bench *t = *state;
    class_set(t->class, "step_timeout_s", "60");
    int listener = silent_start(t, 16);
    open_balancer(t, 1);
    struct answer out = {0};
    balancer_haproxy.remove(t->b, &(struct target){.id = "o.one"}, take_answer, &out);
    assert_true(
        run_until(t->loop, is_said, &(struct complaint){t, "no complete answer"}, 9000));
    run_for(t->loop, HAPROXY_AWAY_MS + 500);
    close(listener);
    assert_true(run_until(t->loop, is_said, &(struct complaint){t, "refused"}, 5000));
    int64_t start = loop_now_ms(t->loop);
    run_for(t->loop, 3000);
    assert_int_equal(out.calls, 0);
    assert_string_equal(seen_of(t, "o.one")->states, "");
    assert_int_equal(answer_of(t->loop, &out), ERR_NONE); /* nobody is there to route */
    assert_true(loop_now_ms(t->loop) - start >= 4500);
    reach(t, "o.one", 'G');
}

/* Its queue is full, for as long as you like: it listens, so it may route again. */
static void test_queue_full(void **state)
{
    struct bench *t = *state;
    char *path = socket_of(t, 0);
    class_set(t->class, "step_timeout_s", "12");
    int listener = silent_start(t, 0), in_queue = connect_to(path);
    assert_true(in_queue >= 0);
    open_balancer(t, 1);
    assert_int_equal(take_out(t, "o.one"), ERR_TIMEOUT);
    check_problem(t, "not accepted in time");
    assert_string_equal(seen_of(t, "o.one")->states, "");
    close(in_queue);
    close(listener);
    free(path);
}

int main(void)
{
#define REAL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        REAL(test_socket_missing), REAL(test_refused),      REAL(test_conflict),
        REAL(test_bad_names),      REAL(test_class_check),  REAL(test_nonsense),
        REAL(test_remove_refused), REAL(test_refused_once), REAL(test_queue_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
