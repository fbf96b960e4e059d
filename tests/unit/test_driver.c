/* The parts of the drivers that need no other program: options, addresses, HAProxy's answers as
 * text, deferred callbacks, and the balancer `direct`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "driver/addresses.h"
#include "driver/balancer.h"
#include "driver/haproxy_state.h"
#include "driver/later.h"
#include "driver_help.h"

#define IP test_ip()

/* ---- options ---- */

static void test_class_defaults(void **state)
{
    (void)state;
    struct class *c = class_new();
    assert_int_equal(c->runtime, RUNTIME_PROCESS);
    assert_int_equal(c->balancer, BALANCER_DIRECT);
    assert_int_equal(c->proof, PROOF_REQUIRED);
    assert_int_equal(c->sandbox, SANDBOX_AUTO);
    assert_int_equal(c->network, NETWORK_NONE);
    assert_string_equal(c->command, "");
    assert_string_equal(c->address_range, "127.64.0.0/16");
    assert_string_equal(c->cookies[0], "AWSALB");
    assert_string_equal(c->cookies[1], "AWSALBCORS");
    assert_null(c->cookies[2]);
    assert_int_equal(c->port, 8080);
    assert_int_equal(c->backoff_base_ms, 3000);
    assert_int_equal(c->salvage_limit_s, 3600);
    class_free(c);
}

static void test_class_choices(void **state)
{
    (void)state;
    struct class *c = class_new();
    class_set(c, "balancer", "haproxy");
    assert_int_equal(c->balancer, BALANCER_HAPROXY);
    class_set(c, "proof", "none");
    assert_int_equal(c->proof, PROOF_NONE);
    class_set(c, "direct_path", "never");
    assert_int_equal(c->direct_path, DIRECT_PATH_NEVER);
    class_set(c, "sandbox", "bwrap");
    assert_int_equal(c->sandbox, SANDBOX_BWRAP);
    class_set(c, "network", "host");
    assert_int_equal(c->network, NETWORK_HOST);
    class_free(c);
}

/* Every option has a default within its own range, and says what it is for. */
static void test_class_table(void **state)
{
    (void)state;
    struct class *c = class_new();
    for (const struct option *o = class_options; o->key != NULL; o++) {
        struct error e = {.code = ERR_NONE};
        if (option_set(class_options, c, o->key, o->fallback, &e) != ERR_NONE)
            fail_msg("%s: %s", o->key, e.message);
        assert_non_null(o->help);
        assert_in_range(strlen(o->help), 10, 400);
        assert_int_equal(o->help[strlen(o->help) - 1], '.');
    }
    class_free(c);
}

/* ---- addresses ---- */

static void test_address_order(void **state)
{
    (void)state;
    char a[ADDRESS_SIZE], b[ADDRESS_SIZE], c[ADDRESS_SIZE], d[ADDRESS_SIZE];
    struct addresses *r = addresses_open("127.65.9.0/29", NULL); /* .1 to .6 */
    assert_int_equal(addresses_free_count(r), 6);
    assert_true(addresses_take(r, "a", a));
    assert_true(addresses_take(r, "b", b));
    assert_string_equal(a, "127.65.9.1");
    assert_string_equal(b, "127.65.9.2");
    addresses_release(r, b, "b");
    addresses_release(r, a, "a");
    for (int i = 3; i <= 6; i++) { /* never used: free for longer than any other */
        assert_true(addresses_take(r, "x", c));
        assert_int_equal(addresses_index(r, c), i);
    }
    assert_true(addresses_take(r, "y", c));
    assert_true(addresses_take(r, "y", d));
    assert_string_equal(c, b);
    assert_string_equal(d, a);
    assert_false(addresses_take(r, "z", c));
    assert_int_equal(addresses_free_count(r), 0);
    addresses_close(r);
}

static void test_address_reserve(void **state)
{
    (void)state;
    char ip[ADDRESS_SIZE];
    struct addresses *r = addresses_open("127.65.9.0/30", NULL); /* .1 and .2 */
    struct addresses *same = addresses_open("127.65.9.0/30", NULL);
    assert_ptr_equal(r, same);
    assert_true(addresses_reserve(r, "127.65.9.1", "a"));
    assert_true(addresses_reserve(same, "127.65.9.1", "a"));
    assert_false(addresses_reserve(same, "127.65.9.1", "b"));
    addresses_release(r, "127.65.9.1", "b"); /* not its holder */
    assert_false(addresses_reserve(r, "127.65.9.1", "b"));
    assert_true(addresses_take(r, "b", ip));
    assert_string_equal(ip, "127.65.9.2");
    assert_false(addresses_take(r, "c", ip));
    addresses_release(r, "127.65.9.1", "a");
    assert_true(addresses_reserve(r, "127.65.9.1", "c")); /* out of the queue of the free */
    assert_false(addresses_take(r, "d", ip));
    assert_false(addresses_reserve(r, "127.65.9.3", "d")); /* broadcast */
    assert_false(addresses_reserve(r, "127.65.9.0", "d"));
    assert_false(addresses_reserve(r, "10.0.0.1", "d"));
    assert_false(addresses_reserve(r, "nonsense", "d"));
    addresses_close(same);
    assert_false(addresses_reserve(r, "127.65.9.1", "d"));
    addresses_close(r);
}

static void test_address_ranges(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "127.0.0.0",
        "127.0.0.0/7",
        "127.0.0.0/31",
        "10.0.0.0/16",
        "127.1.2.3/16",
        "127.256.0.0/16",
        "127.0.0.0/16x",
        "127.0.0.0/",
        "fe80::/16",
    };
    struct error e;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(addresses_open(bad[i], &e));
        assert_int_equal(e.code, ERR_CONFIG);
    }
    struct addresses *r = addresses_open("127.65.0.0/16", &e), *other;
    assert_null(addresses_open("127.65.7.0/24", &e));
    assert_int_equal(e.code, ERR_CONFIG);
    assert_null(addresses_open("127.64.0.0/15", &e));
    other = addresses_open("127.66.0.0/16", &e);
    assert_non_null(other);
    addresses_close(other);
    addresses_close(r);
    r = addresses_open("127.65.7.0/24", &e); /* nobody has the larger one any more */
    assert_non_null(r);
    addresses_close(r);
}

/* ---- HAProxy's answers ---- */

#define STATE_HEAD                                                                             \
    "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight "    \
    "srv_iweight srv_time_since_last_change srv_check_status srv_check_result "                \
    "srv_check_health "                                                                        \
    "srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port "        \
    "srvrecord "                                                                               \
    "srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
#define STAT_HEAD "# pxname,svname,qcur,scur,status,check_status,check_rise,check_fall,\n"

static const char listing[] =
    "New server registered.\n\n\n" STATE_HEAD
    "3 be 1 st 127.0.0.1 2 0 1 1 1 1 0 0 2 0 0 0 - 81 - 0 0 - - 0\n"
    "3 be 2 o.b 127.0.0.2 2 0 1 1 1 15 3 4 6 0 0 0 - 82 - 0 0 - - 0\n"
    "3 be 3 o.a 127.0.0.3 0 1 1 1 1 15 0 4 7 0 0 0 - 83 - 0 0 - - 0\n"
    "3 be 4 o.c 127.0.0.4 0 1 1 1 1 8 2 0 14 0 0 0 - 84 - 0 0 - - 0\n"
    "3 be 5 o.d 127.0.0.5 2 8 1 1 1 15 3 4 6 0 0 0 - 85 - 0 0 - - 0\n"
    "3 be 6 o.e 127.0.0.6 0 0 1 1 1 8 2 0 6 0 0 0 - 86 - 0 0 - - 0\n"
    "\n" STAT_HEAD
    "be,st,0,1,no check,,,,\nbe,o.b,0,5,UP,* L7OK,2,3,\nbe,o.a,0,0,MAINT,L4OK,4,3,\n"
    "be,new,0,0,MAINT,INI,2,3,\nbe,o.c,0,0,MAINT,L4CON,2,3,\n\n";

static enum error_code read_text(struct haproxy_state *s, const char *text)
{
    return haproxy_state_read(s, "be", text, strlen(text), NULL);
}

static void test_state_read(void **state)
{
    (void)state;
    struct haproxy_state s;
    assert_int_equal(read_text(&s, listing), ERR_NONE);
    assert_int_equal(s.count, 6);
    assert_int_equal(s.rotating, 2);
    assert_true(s.shallow_checks);
    const struct haproxy_server *b = haproxy_state_find(&s, "o.b");
    assert_string_equal(b->ip, "127.0.0.2");
    assert_int_equal(b->port, 82);
    assert_true(b->rotating && b->checked && !b->maint && !b->paused && !b->failing);
    assert_int_equal(b->health, 4);
    assert_int_equal(b->rise, 2);
    assert_int_equal(b->sessions, 5);
    assert_string_equal(b->check, "L7OK");
    const struct haproxy_server *a = haproxy_state_find(&s, "o.a");
    assert_true(a->maint && a->checked && !a->paused && !a->failing && !a->rotating);
    const struct haproxy_server *c = haproxy_state_find(&s, "o.c");
    assert_true(c->maint && c->paused && c->failing);
    assert_false(haproxy_state_find(&s, "o.d")->rotating); /* drained */
    const struct haproxy_server *e = haproxy_state_find(&s, "o.e");
    assert_true(!e->rotating && !e->maint);
    assert_int_equal(e->sessions, -1); /* went before the second listing */
    assert_null(haproxy_state_find(&s, "new"));
    haproxy_state_free(&s);
}

static void test_state_empty(void **state)
{
    (void)state;
    struct haproxy_state s;
    assert_int_equal(read_text(&s, STATE_HEAD "\n" STAT_HEAD "\n"), ERR_NONE);
    assert_int_equal(s.count, 0);
    assert_null(haproxy_state_find(&s, "o.a"));
    haproxy_state_free(&s);
    assert_int_equal(read_text(&s, "Can't find backend.\n\nNo such proxy.\n\n"), ERR_CONFIG);
    assert_null(s.servers);
}

/* However short an answer is cut, it is never taken for a listing with fewer servers. */
static void test_state_truncated(void **state)
{
    (void)state;
    struct haproxy_state s;
    for (size_t len = 0; len < strlen(listing); len++) {
        char *cut = mem_strndup(listing, len);
        assert_int_equal(haproxy_state_read(&s, "be", cut, len, NULL), ERR_PROTOCOL);
        assert_null(s.text);
        free(cut);
    }
}

static void test_state_garbled(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Unknown command\n",
        STATE_HEAD "\n",
        STAT_HEAD "\n" STATE_HEAD "\n", /* the other way round */
        STATE_HEAD
        "3 other 1 a 127.0.0.1 2 0 1 1 1 1 0 0 2 0 0 0 - 81 - 0 0 - - 0\n\n" STAT_HEAD "\n",
        STATE_HEAD "3 be 1 a 127.0.0.1 2 x 1 1 1 1 0 0 2 0 0 0 - 81 - 0 0 - - 0\n\n" STAT_HEAD
                   "\n",
        STATE_HEAD
        "3 be 1 a 127.0.0.1 2 0 1 1 1 1 0 0 2 0 0 0 - 70000 - 0 0 - - 0\n\n" STAT_HEAD "\n",
        STATE_HEAD "3 be 1 a 127.0.0.1 2 0 1 1\n\n" STAT_HEAD "\n",
        STATE_HEAD "3 be 1 a 127.0.0.1 2 0 1 1 1 1 0 0 2 0 0 0 - 81 - 0 0 - - 0\n"
                   "3 be 2 a 127.0.0.2 2 0 1 1 1 1 0 0 2 0 0 0 - 81 - 0 0 - - 0\n\n" STAT_HEAD
                   "\n",
        STATE_HEAD "3 be 1 a 127.0.0.1 2 0 1 1 1 1 0 0 2 0 0 0 - 81 - 0 0 - - 0\n\n" STAT_HEAD
                   "be,a,0,-1,UP,L7OK,2,3,\n\n",
        STATE_HEAD "3 be 1 a 127.0.0.1 2 0 1 1 1 1 0 0 2 0 0 0 - 81 - 0 0 - - 0\n\n" STAT_HEAD
                   "zz,a,0,1,UP,L7OK,2,3,\n\n",
        "1\n# be_id be_name srv_name\n\n" STAT_HEAD "\n",
    };
    struct haproxy_state s;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(read_text(&s, bad[i]), ERR_PROTOCOL);
    assert_int_equal(haproxy_state_read(&s, "be", "a\0b", 3, NULL), ERR_PROTOCOL);
}

/* Whatever bytes come: a listing or a typed error, and nothing left behind. */
static void test_state_mutated(void **state)
{
    (void)state;
    static const char spice[] = "\n ,#-019:a\0\xff";
    uint32_t seed = 12345;
    for (int round = 0; round < 20000; round++) {
        char *text = mem_strndup(listing, strlen(listing));
        size_t len = strlen(listing);
        for (int i = 0; i < 1 + round % 4; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[(seed >> 8) % len] = spice[(seed >> 4) % (sizeof(spice) - 1)];
        }
        struct haproxy_state s;
        struct error e;
        enum error_code code = haproxy_state_read(&s, "be", text, len, &e);
        assert_true(code == ERR_NONE || code == ERR_PROTOCOL);
        assert_true(code == ERR_NONE || (s.text == NULL && s.count == 0));
        haproxy_refusal(text, len, &e);
        haproxy_state_free(&s);
        free(text);
    }
}

static enum error_code refusal(const char *text, struct error *e)
{
    e->code = ERR_NONE;
    return haproxy_refusal(text, strlen(text), e);
}

static void test_refusals(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(refusal(listing, &e), ERR_NONE);
    assert_int_equal(
        refusal("\nServer deleted.\nNo such server.\n\nAlready exists a server with the "
                "same name in backend.\n\n",
                &e),
        ERR_NONE);
    assert_int_equal(refusal("\n\nPermission denied\n\n" STATE_HEAD, &e), ERR_CONFIG);
    assert_non_null(strstr(e.message, "level admin"));
    assert_int_equal(refusal("No such backend.\n", &e), ERR_CONFIG);
    assert_int_equal(refusal("Backend must use a dynamic load balancing to support dynamic "
                             "servers.\n",
                             &e),
                     ERR_CONFIG);
    assert_non_null(strstr(e.message, "roundrobin"));
    assert_int_equal(refusal("character '$' is not permitted in server name 'a$'.\n\n", &e),
                     ERR_REGISTER);
    assert_non_null(strstr(e.message, "not permitted"));
    assert_int_equal(refusal("", &e), ERR_NONE);
}

static void test_names(void **state)
{
    (void)state;
    assert_true(haproxy_name_valid("cleat-1.0195e3.a_1"));
    assert_false(haproxy_name_valid(""));
    assert_false(haproxy_name_valid("a b"));
    assert_false(haproxy_name_valid("a;b"));
    assert_false(haproxy_name_valid("a\nb"));
    assert_false(haproxy_name_valid("a/b"));
}

/* ---- deferred callbacks ---- */

struct trace {
    struct later *later;
    char text[32];
};

struct letter {
    struct trace *trace;
    char letter;
};

static void write_letter(void *payload)
{
    struct letter *l = payload;
    size_t len = strlen(l->trace->text);
    l->trace->text[len] = l->letter;
    if (l->letter == 'a') {
        struct letter *more = later_call(l->trace->later, write_letter, sizeof(*more));
        *more = (struct letter){.trace = l->trace, .letter = 'z'};
    }
}

static bool is_written(void *arg)
{
    return strlen(((struct trace *)arg)->text) == 3;
}

static void test_later_order(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct later later;
    struct trace trace = {.later = &later};
    later_init(&later, loop);
    for (const char *c = "ab"; *c != '\0'; c++) {
        struct letter *l = later_call(&later, write_letter, sizeof(*l));
        *l = (struct letter){.trace = &trace, .letter = *c};
    }
    assert_string_equal(trace.text, "");
    assert_true(run_until(loop, is_written, &trace, 2000));
    assert_string_equal(trace.text, "abz");
    later_call(&later, write_letter, 64);
    later_drop(&later);
    run_for(loop, 20);
    assert_string_equal(trace.text, "abz");
    loop_free(loop);
}

/* ---- balancer direct ---- */

struct bench {
    struct loop *loop;
    struct http_client *client;
    struct class *class;
    struct balancer *b;
    enum target_state last;
    int changes;
    char reason[64];
};

static void note_target(void *arg, const char *id, enum target_state s, const char *reason)
{
    struct bench *t = arg;
    assert_string_equal(id, "o.one");
    t->changes += s != TARGET_CHECKING || t->last != s;
    t->last = s;
    mem_copy_string(t->reason, sizeof(t->reason), reason);
}

static int open_direct(void **state)
{
    struct bench *t = mem_alloc(sizeof(*t));
    t->loop = loop_new(NULL);
    t->client = http_client_new(t->loop);
    t->class = class_new();
    class_set(t->class, "check_interval_ms", "30");
    struct balancer_env env = {.loop = t->loop,
                               .client = t->client,
                               .class = t->class,
                               .owner = "o",
                               .on_target = note_target,
                               .arg = t};
    t->b = balancer_direct.open(&env, NULL);
    *state = t;
    return 0;
}

static int close_direct(void **state)
{
    struct bench *t = *state;
    balancer_direct.close(t->b);
    http_client_free(t->client);
    loop_free(t->loop);
    class_free(t->class);
    free(t);
    return 0;
}

static enum error_code add_direct(struct bench *t, uint16_t port)
{
    struct answer a = {0};
    struct target target = {.id = "o.one", .ip = IP, .port = port};
    balancer_direct.add(t->b, &target, take_answer, &a);
    assert_int_equal(a.calls, 0);
    return answer_of(t->loop, &a);
}

static bool is_healthy(void *arg)
{
    return ((struct bench *)arg)->last == TARGET_HEALTHY;
}

static bool is_unhealthy(void *arg)
{
    return ((struct bench *)arg)->last == TARGET_UNHEALTHY;
}

static bool is_gone(void *arg)
{
    return ((struct bench *)arg)->last == TARGET_GONE;
}

static bool is_refused(void *arg)
{
    return strcmp(((struct bench *)arg)->reason, "connect_failed") == 0;
}

static void test_direct_life(void **state)
{
    struct bench *t = *state;
    assert_int_equal(add_direct(t, 21300), ERR_NONE);
    assert_true(run_until(t->loop, is_refused, t, 5000)); /* nobody listens yet */
    run_for(t->loop, 150);                                /* it stays in checking */
    assert_int_equal(t->last, TARGET_CHECKING);
    assert_int_equal(balancer_direct.healthy(t->b, 0), 0);
    struct web w = web_start(IP, 21300, "one");
    assert_true(run_until(t->loop, is_healthy, t, 5000));
    assert_string_equal(t->reason, "HTTP 200");
    assert_int_equal(balancer_direct.healthy(t->b, 0), 1);
    assert_int_equal(w.control->served, 0);
    w.control->status = 503;
    assert_true(run_until(t->loop, is_unhealthy, t, 5000));
    assert_string_equal(t->reason, "HTTP 503");
    w.control->status = 200;
    assert_true(run_until(t->loop, is_healthy, t, 5000));
    web_kill(&w);
    assert_true(run_until(t->loop, is_unhealthy, t, 5000));
    assert_string_equal(t->reason, "connect_failed");
    assert_int_equal(balancer_direct.healthy(t->b, 0), 0);
    web_stop(&w);
    struct answer a = {0};
    balancer_direct.remove(t->b, &(struct target){.id = "o.one"}, take_answer, &a);
    assert_int_equal(answer_of(t->loop, &a), ERR_NONE);
    assert_true(run_until(t->loop, is_gone, t, 1000));
    int changes = t->changes;
    run_for(t->loop, 100);
    assert_int_equal(t->changes, changes);
}

static void test_direct_conflict(void **state)
{
    struct bench *t = *state;
    assert_int_equal(add_direct(t, 21300), ERR_NONE);
    assert_int_equal(add_direct(t, 21300), ERR_NONE);
    assert_int_equal(add_direct(t, 21301), ERR_CONFLICT);
    char id[100] = "";
    memset(id, 'x', sizeof(id) - 1);
    struct answer a = {0};
    balancer_direct.add(t->b, &(struct target){.id = id, .ip = IP, .port = 1}, take_answer, &a);
    assert_int_equal(answer_of(t->loop, &a), ERR_INVALID);
}

static void count_target(void *arg, const struct target *target, enum target_state s)
{
    assert_string_equal(target->id, "o.one");
    assert_int_equal(s, TARGET_CHECKING);
    ++*(int *)arg;
}

struct direct_list {
    struct answer answer;
    int targets;
};

static void each_target(void *arg, const struct target *target, enum target_state s)
{
    count_target(&((struct direct_list *)arg)->targets, target, s);
}

static void list_done(void *arg, const struct error *e)
{
    take_answer(&((struct direct_list *)arg)->answer, e);
}

static void test_direct_list(void **state)
{
    struct bench *t = *state;
    struct direct_list l = {.targets = 0};
    const struct balancer_node *nodes;
    add_direct(t, 21300);
    balancer_direct.list(t->b, each_target, list_done, &l);
    assert_int_equal(l.targets, 0);
    assert_int_equal(answer_of(t->loop, &l.answer), ERR_NONE);
    assert_int_equal(l.targets, 1);
    assert_int_equal(balancer_direct.nodes(t->b, 0, &nodes), 0);
    json_t *status = balancer_direct.status(t->b);
    assert_int_equal(json_integer_value(json_object_get(status, "targets")), 1);
    json_decref(status);
}

static void test_direct_adopt(void **state)
{
    struct bench *t = *state;
    struct web w = web_start(IP, 21300, "one");
    balancer_direct.adopt(t->b, &(struct target){.id = "o.one", .ip = IP, .port = 21300});
    assert_true(run_until(t->loop, is_healthy, t, 5000));
    assert_int_equal(t->changes, 1); /* not by way of checking: it was registered before */
    web_stop(&w);
}

/* An adopted target that never answers is reported too. */
static void test_direct_adopt_dead(void **state)
{
    struct bench *t = *state;
    balancer_direct.adopt(t->b, &(struct target){.id = "o.one", .ip = IP, .port = 21300});
    assert_true(run_until(t->loop, is_unhealthy, t, 5000));
}

int main(void)
{
#define DIRECT(test) cmocka_unit_test_setup_teardown(test, open_direct, close_direct)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_class_defaults),
        cmocka_unit_test(test_class_choices),
        cmocka_unit_test(test_class_table),
        cmocka_unit_test(test_address_order),
        cmocka_unit_test(test_address_reserve),
        cmocka_unit_test(test_address_ranges),
        cmocka_unit_test(test_state_read),
        cmocka_unit_test(test_state_empty),
        cmocka_unit_test(test_state_truncated),
        cmocka_unit_test(test_state_garbled),
        cmocka_unit_test(test_state_mutated),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_later_order),
        DIRECT(test_direct_life),
        DIRECT(test_direct_conflict),
        DIRECT(test_direct_list),
        DIRECT(test_direct_adopt),
        DIRECT(test_direct_adopt_dead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
