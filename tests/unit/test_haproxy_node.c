/* The balancer `haproxy` against real HAProxy processes: nodes that come, go and are several,
 * and what is found on them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/mem.h"
#include "haproxy_help.h"

/* ---- one node ---- */

static void test_restart(void **state)
{
    struct bench *t = *state;
    char answer[1024];
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    haproxy_stop(t, 0);
    haproxy_start(t, 0, "admin", CHECKED);
    reach(t, "o.one", 'U');
    assert_string_equal(seen_of(t, "o.one")->reason, "missing");
    reach(t, "o.one", 'H'); /* put back: checked like a new one */
    assert_string_equal(seen_of(t, "o.one")->states, "CHUCH");
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 200);
    web_stop(&w);
}

/* HAProxy comes after us, and goes for longer than its listing is believed. */
static void test_away(void **state)
{
    struct bench *t = *state;
    struct web w = web_start(IP, WEB, "one");
    open_balancer(t, 1);
    struct answer a = {0};
    balancer_haproxy.add(t->b, &(struct target){.id = "o.one", .ip = IP, .port = WEB},
                         take_answer, &a);
    run_for(t->loop, 200);
    assert_int_equal(a.calls, 0);
    haproxy_start(t, 0, "admin", CHECKED);
    assert_int_equal(answer_of(t->loop, &a), ERR_NONE);
    reach(t, "o.one", 'H');
    haproxy_stop(t, 0);
    reach(t, "o.one", 'U');
    assert_string_equal(seen_of(t, "o.one")->reason, "no answer");
    assert_int_equal(take_out(t, "o.one"), ERR_NONE); /* nobody routes to it */
    reach(t, "o.one", 'G');
    web_stop(&w);
}

/* ---- adoption and lists ---- */

static void test_adopt(void **state)
{
    struct bench *t = *state;
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    close_balancer(t);
    assert_true(listed(t, 0, "o.one"));
    t->count = 0;
    memset(t->seen, 0, sizeof(t->seen));
    open_balancer(t, 1);
    balancer_haproxy.adopt(t->b, &(struct target){.id = "o.one", .ip = IP, .port = WEB});
    balancer_haproxy.adopt(t->b, &(struct target){.id = "o.two", .ip = IP, .port = WEB});
    reach(t, "o.two", 'H');
    assert_string_equal(seen_of(t, "o.one")->states, "H");
    assert_string_equal(seen_of(t, "o.two")->states, "UCH"); /* it was missing, and put back */
    close_balancer(t);
    open_balancer(t, 1);
    assert_int_equal(take_out(t, "o.one"), ERR_NONE); /* without adoption, too */
    reach(t, "o.one", 'G');
    assert_false(listed(t, 0, "o.one"));
    assert_int_equal(take_out(t, "o.never"), ERR_NONE);
    reach(t, "o.never", 'G');
    web_stop(&w);
}

struct list {
    struct answer answer;
    char text[256];
};

static void list_target(void *arg, const struct target *target, enum target_state s)
{
    struct list *l = arg;
    size_t len = strlen(l->text);
    snprintf(l->text + len, sizeof(l->text) - len, "%s=%s:%u/%c ", target->id, target->ip,
             target->port, "?CHUG"[s]);
}

static void list_done(void *arg, const struct error *e)
{
    take_answer(&((struct list *)arg)->answer, e);
}

static void test_list(void **state)
{
    struct bench *t = *state;
    struct web w = web_start(IP, WEB, "one");
    char *backend = mem_printf("%s  server st %s:21320\n", CHECKED, IP);
    haproxy_start(t, 0, "admin", backend);
    free(backend);
    open_balancer(t, 1);
    free(raw(t, 0, "add server be/other.a 127.0.0.9:9"));
    free(raw(t, 0, "add server be/o.orphan 127.0.0.9:8"));
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    struct list l = {.text = ""};
    balancer_haproxy.list(t->b, list_target, list_done, &l);
    assert_string_equal(l.text, "");
    assert_int_equal(answer_of(t->loop, &l.answer), ERR_NONE);
    char *expected = mem_printf("o.one=%s:21320/H o.orphan=127.0.0.9:8/C ", IP);
    assert_string_equal(l.text, expected);
    free(expected);
    assert_int_equal(balancer_haproxy.healthy(t->b, 0), 2); /* the static one, too */
    assert_true(listed(t, 0, "other.a"));
    web_stop(&w);
}

/* ---- several nodes ---- */

static void test_two_nodes(void **state)
{
    struct bench *t = *state;
    const struct balancer_node *nodes;
    char answer[1024];
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    haproxy_start(t, 1, "admin", CHECKED);
    open_balancer(t, 2);
    assert_int_equal(balancer_haproxy.nodes(t->b, 0, &nodes), 2);
    assert_string_equal(nodes[1].url, "http://b");
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 200);
    assert_int_equal(fetch(1, NULL, answer, sizeof(answer)), 200);
    assert_int_equal(balancer_haproxy.healthy(t->b, 0), 1);

    free(raw(t, 1,
             "set server be/o.one state maint")); /* out of rotation on one is not healthy */
    reach(t, "o.one", 'U');
    assert_string_equal(seen_of(t, "o.one")->reason, "maintenance");
    free(raw(t, 1, "set server be/o.one state ready"));
    reach(t, "o.one", 'H');

    haproxy_stop(t, 1);
    haproxy_start(t, 1, "admin", CHECKED);
    reach(t, "o.one", 'U');
    reach(t, "o.one", 'H');
    assert_int_equal(fetch(1, NULL, answer, sizeof(answer)), 200);

    assert_int_equal(take_out(t, "o.one"), ERR_NONE);
    reach(t, "o.one", 'G');
    assert_false(listed(t, 0, "o.one"));
    assert_false(listed(t, 1, "o.one"));
    web_stop(&w);
}

/* Taken out while one node has not answered the add: what it listed before says nothing. */
static void test_remove_in_flight(void **state)
{
    struct bench *t = *state;
    haproxy_start(t, 0, "admin", CHECKED);
    haproxy_start(t, 1, "admin", CHECKED);
    open_balancer(t, 2);
    run_for(t->loop, 300);
    kill(t->haproxy[0], SIGSTOP);
    assert_int_equal(waitpid(t->haproxy[0], NULL, WUNTRACED), t->haproxy[0]);
    struct answer in = {0}, out = {0};
    balancer_haproxy.add(t->b, &(struct target){.id = "o.one", .ip = IP, .port = WEB},
                         take_answer, &in);
    run_for(t->loop, 200);
    balancer_haproxy.remove(t->b, &(struct target){.id = "o.one"}, take_answer, &out);
    run_for(t->loop, 600);
    assert_int_equal(out.calls, 0);
    assert_string_equal(seen_of(t, "o.one")->states, "");
    kill(t->haproxy[0], SIGCONT);
    assert_int_equal(answer_of(t->loop, &out), ERR_NONE);
    reach(t, "o.one", 'G');
    assert_false(listed(t, 0, "o.one"));
    assert_false(listed(t, 1, "o.one"));
}

static bool is_away(void *arg)
{
    struct bench *t = arg;
    json_t *status = balancer_haproxy.status(t->b);
    json_t *node = json_array_get(json_object_get(status, "nodes"), 1);
    bool away = json_is_false(json_object_get(node, "answers")) &&
                json_object_get(node, "problem") != NULL &&
                json_integer_value(json_object_get(node, "servers")) == 0;
    json_decref(status);
    return away;
}

/* A node that is away does not keep the others from working; it is put right when it returns.
 */
static void test_node_away(void **state)
{
    struct bench *t = *state;
    char answer[1024];
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    haproxy_start(t, 1, "admin", CHECKED);
    open_balancer(t, 2);
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    haproxy_stop(t, 1);
    assert_true(run_until(t->loop, is_away, t, 10000));
    assert_string_equal(seen_of(t, "o.one")->states, "CH");
    assert_int_equal(add(t, "o.two", WEB), ERR_NONE);
    reach(t, "o.two", 'H');
    assert_int_equal(take_out(t, "o.one"), ERR_NONE);
    reach(t, "o.one", 'G');
    haproxy_start(t, 1, "admin", CHECKED);
    reach(t, "o.two", 'U');
    reach(t, "o.two", 'H');
    assert_int_equal(fetch(1, NULL, answer, sizeof(answer)), 200);
    assert_false(listed(t, 1, "o.one"));
    web_stop(&w);
}

int main(void)
{
#define REAL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        REAL(test_restart),
        REAL(test_away),
        REAL(test_adopt),
        REAL(test_list),
        REAL(test_two_nodes),
        REAL(test_node_away),
        REAL(test_remove_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
