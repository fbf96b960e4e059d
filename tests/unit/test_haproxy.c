/* The balancer `haproxy` against real HAProxy processes, started by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "driver/balancer.h"
#include "driver/haproxy_node.h"
#include "driver_help.h"

#define IP test_ip()
#define FRONT 21310 /* of node 0; node 1 has the next */
#define WEB 21320
#define NODES 2
#define TARGETS_MAX 160
#define CHECKED                                                                                \
    "balance roundrobin\n  option httpchk GET /health\n  http-check expect status 200\n"

struct seen {
    char id[40];
    char states[64]; /* C, H, U, G in the order they were reported */
    char reason[64];
};

struct bench {
    struct loop *loop;
    struct class *class;
    struct balancer *b;
    char *dir;
    pid_t haproxy[NODES];
    struct seen seen[TARGETS_MAX];
    size_t count;
};

/* ---- HAProxy processes ---- */

static char *socket_of(const struct bench *t, int node)
{
    return mem_printf("%s/s%d", t->dir, node);
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    mem_copy_string(a.sun_path, sizeof(a.sun_path), path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

/* A question of the test's own. free() */
static char *raw(const struct bench *t, int node, const char *command)
{
    char *path = socket_of(t, node), *text = mem_alloc(65536);
    int fd = connect_to(path);
    size_t len = 0;
    ssize_t n;
    assert_true(fd >= 0);
    dprintf(fd, "%s\n", command);
    while (len < 65535 && (n = read(fd, text + len, 65535 - len)) > 0)
        len += (size_t)n;
    close(fd);
    free(path);
    return text;
}

static bool listed(const struct bench *t, int node, const char *word)
{
    char *text = raw(t, node, "show servers state be");
    bool found = strstr(text, word) != NULL;
    free(text);
    return found;
}

static bool is_listening(void *arg)
{
    int fd = connect_to(arg);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void haproxy_start(struct bench *t, int node, const char *level, const char *backend)
{
    char *config = mem_printf("%s/c%d", t->dir, node), *path = socket_of(t, node);
    FILE *f = fopen(config, "w");
    fprintf(f,
            "global\n  stats socket %s mode 600 level %s\ndefaults\n  mode http\n"
            "  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n"
            "frontend f\n  bind %s:%d\n  default_backend be\nbackend be\n  %s",
            path, level, IP, FRONT + node, backend);
    fclose(f);
    t->haproxy[node] = fork();
    if (t->haproxy[node] == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("haproxy", "haproxy", "-db", "-f", config, NULL);
        execl("/usr/sbin/haproxy", "haproxy", "-db", "-f", config, NULL);
        _exit(127);
    }
    assert_true(run_until(t->loop, is_listening, path, 5000));
    free(config);
    free(path);
}

static void haproxy_stop(struct bench *t, int node)
{
    if (t->haproxy[node] <= 0)
        return;
    kill(t->haproxy[node], SIGKILL);
    waitpid(t->haproxy[node], NULL, 0);
    t->haproxy[node] = 0;
}

/* ---- the bench ---- */

static struct seen *seen_of(struct bench *t, const char *id)
{
    size_t i = 0;
    while (i < t->count && strcmp(t->seen[i].id, id) != 0)
        i++;
    if (i == t->count) {
        assert_true(t->count < TARGETS_MAX);
        mem_copy_string(t->seen[t->count++].id, sizeof(t->seen[i].id), id);
    }
    return &t->seen[i];
}

static void note_target(void *arg, const char *id, enum target_state s, const char *reason)
{
    struct seen *seen = seen_of(arg, id);
    size_t len = strlen(seen->states);
    assert_true(len < sizeof(seen->states) - 1);
    seen->states[len] = "?CHUG"[s];
    mem_copy_string(seen->reason, sizeof(seen->reason), reason);
}

static int set_up(void **state)
{
    struct bench *t = mem_alloc(sizeof(*t));
    t->loop = loop_new(NULL);
    t->dir = directory_new();
    t->class = class_new();
    class_set(t->class, "haproxy_backend", "be");
    class_set(t->class, "check_interval_ms", "50");
    *state = t;
    return 0;
}

static void open_balancer(struct bench *t, int nodes)
{
    char *sockets =
        nodes == 1 ? mem_printf("%s/s0", t->dir) : mem_printf("%s/s0,%s/s1", t->dir, t->dir);
    class_set(t->class, "haproxy_sockets", sockets);
    class_set(t->class, "haproxy_urls", nodes == 1 ? "http://a" : "http://a,http://b");
    free(sockets);
    struct balancer_env env = {
        .loop = t->loop, .class = t->class, .owner = "o", .on_target = note_target, .arg = t};
    struct error e = {.code = ERR_NONE};
    t->b = balancer_haproxy.open(&env, &e);
    if (t->b == NULL)
        fail_msg("%s", e.message);
}

static void close_balancer(struct bench *t)
{
    if (t->b != NULL)
        balancer_haproxy.close(t->b);
    t->b = NULL;
}

static int tear_down(void **state)
{
    struct bench *t = *state;
    close_balancer(t);
    for (int i = 0; i < NODES; i++)
        haproxy_stop(t, i);
    loop_free(t->loop);
    class_free(t->class);
    directory_remove(t->dir);
    free(t);
    return 0;
}

static struct error add_to(struct bench *t, const char *id, const char *ip, uint16_t port)
{
    struct answer a = {0};
    balancer_haproxy.add(t->b, &(struct target){.id = id, .ip = ip, .port = port}, take_answer,
                         &a);
    assert_int_equal(a.calls, 0);
    answer_of(t->loop, &a);
    return a.error;
}

static enum error_code add(struct bench *t, const char *id, uint16_t port)
{
    return add_to(t, id, IP, port).code;
}

static enum error_code take_out(struct bench *t, const char *id)
{
    struct answer a = {0};
    balancer_haproxy.remove(t->b, id, take_answer, &a);
    assert_int_equal(a.calls, 0);
    return answer_of(t->loop, &a);
}

struct goal {
    struct bench *t;
    const char *id;
    char state;
};

static bool is_reached(void *arg)
{
    struct goal *g = arg;
    const char *states = seen_of(g->t, g->id)->states;
    size_t len = strlen(states);
    return len > 0 && states[len - 1] == g->state;
}

static void reach(struct bench *t, const char *id, char state)
{
    struct goal g = {t, id, state};
    if (!run_until(t->loop, is_reached, &g, 15000))
        fail_msg("%s: \"%s\" (%s), not %c", id, seen_of(t, id)->states, seen_of(t, id)->reason,
                 state);
}

static int fetch(int node, const char *cookie, char *answer, size_t size)
{
    return web_get(IP, (uint16_t)(FRONT + node), "/", cookie, answer, size);
}

/* ---- one node ---- */

static void test_life(void **state)
{
    struct bench *t = *state;
    char answer[1024];
    haproxy_start(t, 0, "admin", CHECKED);
    open_balancer(t, 1);
    assert_int_equal(add(t, "o.one", WEB), ERR_NONE);
    run_for(t->loop, 300); /* nobody listens: checks fail, and no request may reach it */
    assert_string_equal(seen_of(t, "o.one")->states, "C");
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 503);
    assert_int_equal(balancer_haproxy.healthy(t->b), 0);
    struct web w = web_start(IP, WEB, "one");
    reach(t, "o.one", 'H');
    assert_string_equal(seen_of(t, "o.one")->reason, "L7OK");
    assert_int_equal(balancer_haproxy.healthy(t->b), 1);
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

static void check_problem(struct bench *t, const char *word)
{
    json_t *status = balancer_haproxy.status(t->b);
    json_t *node = json_array_get(json_object_get(status, "nodes"), 0);
    const char *problem = json_string_value(json_object_get(node, "problem"));
    assert_non_null(problem);
    if (strstr(problem, word) == NULL)
        fail_msg("\"%s\" does not tell of %s", problem, word);
    json_decref(status);
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
    balancer_haproxy.remove(t->b, "o.two", take_answer, &out);
    balancer_haproxy.add(t->b, &(struct target){.id = "o.two", .ip = IP, .port = WEB},
                         take_answer, &again);
    assert_int_equal(answer_of(t->loop, &again), ERR_CONFLICT);
    assert_int_equal(answer_of(t->loop, &out), ERR_NONE);
    reach(t, "o.two", 'G');
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
    balancer_haproxy.remove(t->b, "o.one", take_answer, &out);
    balancer_haproxy.remove(t->b, "o.one", take_answer, &twice);
    assert_int_equal(answer_of(t->loop, &in), ERR_CANCELLED);
    assert_int_equal(answer_of(t->loop, &out), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &twice), ERR_NONE);
    reach(t, "o.one", 'G');
    assert_false(listed(t, 0, "o.one"));
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
    assert_int_equal(balancer_haproxy.healthy(t->b), 2); /* the static one, too */
    assert_true(listed(t, 0, "other.a"));
    web_stop(&w);
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
        balancer_haproxy.remove(t->b, id, take_answer, &out[i]);
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

/* ---- several nodes ---- */

static void test_two_nodes(void **state)
{
    struct bench *t = *state;
    const char *const *urls;
    char answer[1024];
    struct web w = web_start(IP, WEB, "one");
    haproxy_start(t, 0, "admin", CHECKED);
    haproxy_start(t, 1, "admin", CHECKED);
    open_balancer(t, 2);
    assert_int_equal(balancer_haproxy.nodes(t->b, &urls), 2);
    assert_string_equal(urls[1], "http://b");
    add(t, "o.one", WEB);
    reach(t, "o.one", 'H');
    assert_int_equal(fetch(0, NULL, answer, sizeof(answer)), 200);
    assert_int_equal(fetch(1, NULL, answer, sizeof(answer)), 200);
    assert_int_equal(balancer_haproxy.healthy(t->b), 1);

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
    struct answer in = {0}, out = {0};
    balancer_haproxy.add(t->b, &(struct target){.id = "o.one", .ip = IP, .port = WEB},
                         take_answer, &in);
    run_for(t->loop, 200);
    balancer_haproxy.remove(t->b, "o.one", take_answer, &out);
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

static char *problem_of(const struct bench *t)
{
    json_t *status = balancer_haproxy.status(t->b);
    json_t *node = json_array_get(json_object_get(status, "nodes"), 0);
    const char *problem = json_string_value(json_object_get(node, "problem"));
    char *copy = mem_strdup(problem == NULL ? "" : problem);
    json_decref(status);
    return copy;
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
    balancer_haproxy.remove(t->b, "o.one", take_answer, &out);
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
        REAL(test_life),
        REAL(test_no_traffic_before_checks),
        REAL(test_remove_drains),
        REAL(test_remove_cuts_off),
        REAL(test_restart),
        REAL(test_away),
        REAL(test_socket_missing),
        REAL(test_refused),
        REAL(test_conflict),
        REAL(test_remove_at_once),
        REAL(test_bad_names),
        REAL(test_class_check),
        REAL(test_adopt),
        REAL(test_list),
        REAL(test_many),
        REAL(test_dynamic_cookie),
        REAL(test_two_nodes),
        REAL(test_node_away),
        REAL(test_nonsense),
        REAL(test_remove_refused),
        REAL(test_remove_in_flight),
        REAL(test_refused_once),
        REAL(test_queue_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
