/* The runtime `process` after a restart: what it finds, adopts and does not start twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "loop/child.h"
#include "loop/lock.h"
#include "process_help.h"

static char process_state(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    char *text = file_read(path, 4096), *end = text == NULL ? NULL : strrchr(text, ')');
    char letter = end == NULL ? '-' : end[2];
    free(text);
    return letter;
}

static bool is_stopped(void *arg)
{
    return process_state(*(const pid_t *)arg) == 'T';
}

static void until_stopped(struct bench *t, pid_t pid)
{
    assert_true(run_until(t->loop, is_stopped, &pid, 5000));
}

static bool is_over(void *arg)
{
    struct bench *t = arg;
    return list(t).alive == 0;
}

static void test_adopt(void **state)
{
    struct bench *t = *state;
    struct launched a = launch(t, "o.a.1", "s"), b = launch(t, "o.b.1", "s");
    until_ready(t, "o.a.1");
    until_ready(t, "o.b.1");
    close_runtime(t);
    open_runtime(t);
    struct launched c =
        launch(t, "o.c.1", "s"); /* before any adoption: those addresses are held */
    assert_string_equal(c.container.ip, "127.65.8.3");
    runtime_process.adopt(t->rt, &a.container);
    runtime_process.adopt(t->rt, &a.container);
    run_for(t->loop, 50);
    assert_int_equal(t->exits, 0);
    assert_int_equal(stop(t, &a.container, false), ERR_NONE);
    assert_false(exists(t, "o.a.1", ""));
    runtime_process.adopt(t->rt, &b.container);
    char *path = path_of(t, "o.b.1", "lock"), *text = file_read(path, 64);
    kill(atoi(text), SIGKILL);
    free(text);
    free(path);
    until_exit(t, "o.b.1");
    assert_int_equal(stop(t, &b.container, false), ERR_NONE);
}

/* A process of its own, with a session of its own, launches one container, waits for it and is
 * killed while the container is stopped. */
static void launch_and_be_killed(struct bench *t, const char *key)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        t->loop = loop_new(NULL);
        open_runtime(t);
        launch(t, key, "deaf");
        until_ready(t, key);
        char *path = path_of(t, key, "lock");
        pid_t container = lock_read(path).pid;
        if (container > 0 && kill(container, SIGSTOP) == 0)
            until_stopped(t, container);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

/* Our end is no end of theirs, not even of those that do not run at that moment: the group of a
 * stopped process that loses its last relation in its session gets SIGHUP (setpgid(2)). */
static void test_stopped_outlives_us(void **state)
{
    struct bench *t = *state;
    close_runtime(t);
    launch_and_be_killed(t, "o.s.1");
    char *path = path_of(t, "o.s.1", "lock");
    pid_t container = lock_read(path).pid;
    assert_int_equal(getsid(container), container);
    open_runtime(t);
    runtime_process.adopt(t->rt, &(struct container){.id = "o.s.1"});
    run_for(t->loop, 200);
    assert_int_equal(t->exits, 0);
    assert_int_equal(process_state(container), 'T');
    assert_int_equal(kill(container, SIGCONT), 0);
    /* deaf to SIGTERM, and what it runs has its lock: only a kill of the group ends them all */
    assert_int_equal(stop(t, &(struct container){.id = "o.s.1"}, true), ERR_NONE);
    assert_false(lock_held(path));
    free(path);
}

/* The executor of a parent that is killed before it writes the pid. */
static void start_unwritten(const struct bench *t, const char *workspace, const char *lock,
                            const char *ip)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        const char *builddir = getenv("builddir");
        char *program = mem_printf("%s/cleat-executor", builddir != NULL ? builddir : ".");
        struct error e = {.code = ERR_NONE};
        int fd = lock_take(lock, &e);
        if (fd < 0 || fork() != 0)
            _exit(fd < 0);
        char *log = mem_printf("%s/log", t->dir),
             *space = mem_printf("CLEAT_WORKSPACE=%s", workspace);
        char *listen_at = mem_printf("CLEAT_LISTEN=%s:8080", ip);
        char *env[] = {"SESSION_ID=s",
                       "CLEAT_SECRET=" SECRET,
                       "CLEAT_SANDBOX=none",
                       listen_at,
                       space,
                       NULL};
        setsid();
        dup2(fd, CHILD_LOCK_FD);
        if (freopen(log, "w", stdout) != NULL && dup2(1, 2) == 2)
            execle(program, program, NULL, env);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static bool listens(void *arg)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(8080)};
    inet_pton(AF_INET, arg, &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    return connected;
}

static void test_executor_writes_its_pid(void **state)
{
    struct bench *t = *state;
    char *workspace = path_of(t, "o.s.1", ""), *lock = path_of(t, "o.s.1", "lock");
    char *ip = mem_strdup(test_ip());
    assert_int_equal(dir_make(workspace, 0700, NULL), ERR_NONE);
    start_unwritten(t, workspace, lock, ip);
    assert_true(run_until(t->loop, listens, ip, 10000));
    struct lock_owner owner = lock_read(lock); /* before it listens, and by no one else */
    assert_int_not_equal(owner.pid, 0);
    assert_true(process_is(&owner));
    assert_int_equal(getsid(owner.pid), owner.pid);
    runtime_process.adopt(t->rt, &(struct container){.id = "o.s.1"});
    int64_t start = loop_now_ms(t->loop);
    assert_int_equal(stop(t, &(struct container){.id = "o.s.1"}, false), ERR_NONE);
    assert_true(loop_now_ms(t->loop) - start < 900); /* it heard the first signal */
    assert_false(exists(t, "o.s.1", ""));
    free(ip);
    free(lock);
    free(workspace);
}

static void test_adopt_gone(void **state)
{
    struct bench *t = *state;
    struct launched a = launch(t, "o.a.1", "exits");
    until_exit(t, "o.a.1");
    close_runtime(t);
    open_runtime(t);
    t->exits = 0;
    runtime_process.adopt(t->rt, &a.container);
    assert_int_equal(t->exits, 0);
    until_exit(t, "o.a.1");
    struct launched b = launch(t, "o.b.1", "s"); /* a balancer may still list the dead one */
    assert_string_not_equal(b.container.ip, a.container.ip);
}

static void check_end(struct bench *t, const struct container *c, const char *note,
                      const char *cause, bool in_order)
{
    char *path = path_of(t, c->id, "ended");
    assert_int_equal(file_write(path, note, NULL), ERR_NONE);
    close_runtime(t);
    open_runtime(t);
    t->exits = 0;
    runtime_process.adopt(t->rt, c);
    until_exit(t, c->id);
    assert_string_equal(t->cause, cause);
    assert_int_equal(t->in_order, in_order);
    free(path);
}

/* Nobody could wait for it: it has noted its own exit status, or was killed. */
static void test_noted_end(void **state)
{
    static const char *const senseless[] = {"", "0", "\n", "256\n", "-1\n", "0\n0\n", "ok\n"};
    struct bench *t = *state;
    struct launched a = launch(t, "o.a.1", "dies");
    until_exit(t, "o.a.1");
    check_end(t, &a.container, "0\n", "exited with status 0", true);
    check_end(t, &a.container, "1\n", "exited with status 1", false);
    for (size_t i = 0; i < sizeof(senseless) / sizeof(senseless[0]); i++)
        check_end(t, &a.container, senseless[i], "it is not running any more", false);
}

/* The answer to a launch was lost: the same key gives the same container. */
static void test_lost_answer(void **state)
{
    struct bench *t = *state;
    struct launched a = launch(t, "o.a.1", "s"), again = launch(t, "o.a.1", "s");
    assert_string_equal(again.container.ip, a.container.ip);
    launch(t, "o.dead.1", "exits");
    until_exit(t, "o.dead.1");
    close_runtime(t);
    open_runtime(t);
    again = launch(t, "o.a.1", "s");
    assert_int_equal(again.answer.error.code, ERR_NONE);
    assert_string_equal(again.container.ip, a.container.ip);
    assert_int_equal(again.container.port, a.container.port);
    assert_int_equal(list(t).alive, 1);
    again = launch(t, "o.dead.1", "exits"); /* it lived and ended: not started again */
    assert_int_equal(again.answer.error.code, ERR_DIED);
}

/* The crash came between the workspace and the container: the workspace is used. */
static void test_leftover(void **state)
{
    struct bench *t = *state;
    char *path = path_of(t, "o.a.1", ""), *address = path_of(t, "o.a.1", "address");
    assert_int_equal(dir_make(path, 0700, NULL), ERR_NONE);
    assert_int_equal(file_write(address, "127.65.8.5:8080\n", NULL), ERR_NONE);
    struct launched l = launch(t, "o.a.1", "s");
    assert_int_equal(l.answer.error.code, ERR_NONE);
    assert_string_equal(l.container.ip, "127.65.8.1");
    assert_string_equal(list(t).containers[0].ip, "127.65.8.1");
    free(address);
    free(path);
}

/* A live container whose address file is damaged is not handed out, but can be stopped. */
static void test_damaged_address(void **state)
{
    struct bench *t = *state;
    static const char *const bad[] = {"",
                                      "127.65.8.1\n",
                                      "127.65.8.1:0\n",
                                      "127.65.8.1:99999\n",
                                      "127.65.8.1:8080",
                                      "1.2.3.4:8080\n"};
    struct launched l = launch(t, "o.a.1", "s");
    char *address = path_of(t, "o.a.1", "address");
    until_ready(t, "o.a.1");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        close_runtime(t);
        assert_int_equal(file_write(address, bad[i], NULL), ERR_NONE);
        open_runtime(t);
        assert_int_equal(launch(t, "o.a.1", "s").answer.error.code, ERR_LAUNCH);
        assert_int_equal(launch(t, "o.a.1", "s").answer.error.code, ERR_DIED);
    }
    assert_int_equal(stop(t, &l.container, false), ERR_NONE);
    assert_int_equal(list(t).count, 0);
    free(address);
}

/* Kept beside the container, out of its reach. */
static void check_label(const struct bench *t, const struct list *l, const char *key,
                        const char *label)
{
    struct stat st;
    char *path = path_of(t, key, "label");
    size_t i = 0;
    while (strcmp(l->keys[i], key) != 0)
        assert_true(++i < l->count);
    assert_string_equal(l->labels[i], label);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_uid, geteuid());
    free(path);
}

static void without_label(void **state)
{
    struct bench *t = *state;
    char *label = path_of(t, "o.a.1", "label"), *long_one = mem_alloc(LABEL_MAX + 2);
    launch(t, "o.a.1", "s");
    assert_int_equal(unlink(label), 0);
    assert_string_equal(list(t).labels[0], "(none)");
    memset(long_one, 'x', LABEL_MAX + 1);
    assert_int_equal(file_write(label, long_one, NULL), ERR_NONE);
    assert_string_equal(list(t).labels[0], "(none)");
    free(long_one);
    free(label);
}

static void test_list(void **state)
{
    struct bench *t = *state;
    char *stranger = path_of(t, "other.a.1", "");
    assert_int_equal(dir_make(stranger, 0700, NULL), ERR_NONE);
    char *lock = path_of(t, "other.a.1", "lock");
    assert_int_equal(file_write(lock, "", NULL), ERR_NONE);
    launch(t, "o.a.1", "s");
    launch(t, "o.x.1", "exits");
    until_exit(t, "o.x.1");
    struct list l = list(t);
    assert_int_equal(l.count, 2);
    assert_int_equal(l.alive, 1);
    assert_int_equal(l.containers[0].port, 8080);
    close_runtime(t);
    open_runtime(t);
    l = list(t);
    assert_int_equal(l.count, 2);
    check_label(t, &l, "o.a.1", "label-of-s");
    check_label(t, &l, "o.x.1", "label-of-exits");
    for (size_t i = 0; i < l.count;
         i++) /* nobody adopted them: they can be stopped all the same */
        assert_int_equal(stop(t, &l.containers[i], false), ERR_NONE);
    assert_true(run_until(t->loop, path_exists, stranger, 1));
    assert_int_equal(list(t).count, 0);
    assert_true(is_over(t));
    free(lock);
    free(stranger);
}

int main(void)
{
#define REAL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        REAL(test_adopt),
        REAL(test_stopped_outlives_us),
        REAL(test_executor_writes_its_pid),
        REAL(test_adopt_gone),
        REAL(test_noted_end),
        REAL(test_lost_answer),
        REAL(test_leftover),
        REAL(test_damaged_address),
        REAL(test_list),
        REAL(without_label),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
