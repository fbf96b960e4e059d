/* The runtime `process` with a shell script in the executor's place. */
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
#include "driver/runtime.h"
#include "driver_help.h"
#include "loop/child.h"
#include "loop/lock.h"

#define SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

/* What it does is said by its session id. */
static const char script[] = "#!/bin/sh\n"
                             "env >$CLEAT_WORKSPACE/env.new; mv $CLEAT_WORKSPACE/env.new "
                             "$CLEAT_WORKSPACE/env\n"
                             "case $SESSION_ID in\n"
                             "exits) exit 3;;\n"
                             "dies) kill -9 $$;;\n"
                             "deaf) trap '' TERM;;\n"
                             "*) trap 'exit 0' TERM;;\n"
                             "esac\n"
                             "echo ready; >$CLEAT_WORKSPACE/ready\n"
                             "while :; do sleep 0.02; done\n";

struct bench {
    struct loop *loop;
    struct class *class;
    struct runtime *rt;
    char *dir;
    char *executor;
    int exits;
    char exited[128], cause[64];
};

static void note_exit(void *arg, const char *id, const char *cause)
{
    struct bench *t = arg;
    t->exits++;
    mem_copy_string(t->exited, sizeof(t->exited), id);
    mem_copy_string(t->cause, sizeof(t->cause), cause);
}

static struct runtime *open_with(struct bench *t, const char *state_dir, struct error *e)
{
    struct runtime_env env = {
        .loop = t->loop,
        .class = t->class,
        .owner = "o",
        .state_dir = state_dir,
        .executor = t->executor,
        .on_exit = note_exit,
        .arg = t,
    };
    return runtime_process.open(&env, e);
}

static void open_runtime(struct bench *t)
{
    struct error e = {.code = ERR_NONE};
    t->rt = open_with(t, t->dir, &e);
    if (t->rt == NULL)
        fail_msg("%s", e.message);
}

static void close_runtime(struct bench *t)
{
    if (t->rt != NULL)
        runtime_process.close(t->rt);
    t->rt = NULL;
}

static int set_up(void **state)
{
    struct bench *t = mem_alloc(sizeof(*t));
    t->loop = loop_new(NULL);
    t->dir = directory_new();
    t->class = class_new();
    t->executor = mem_printf("%s/an executor", t->dir);
    assert_int_equal(file_write(t->executor, script, NULL), ERR_NONE);
    assert_int_equal(chmod(t->executor, 0755), 0);
    class_set(t->class, "address_range", "127.65.8.0/29");
    class_set(t->class, "stop_grace_s", "1");
    open_runtime(t);
    *state = t;
    return 0;
}

struct list {
    struct answer answer;
    size_t count, alive;
    char keys[8][KEY_SIZE];
    struct container containers[8];
};

static void list_one(void *arg, const char *key, const struct container *c, bool alive)
{
    struct list *l = arg;
    assert_true(l->count < 8);
    assert_string_equal(key, c->id);
    mem_copy_string(l->keys[l->count], KEY_SIZE, key);
    l->containers[l->count++] = *c;
    l->alive += alive;
}

static void list_done(void *arg, const struct error *e)
{
    take_answer(&((struct list *)arg)->answer, e);
}

static struct list list(struct bench *t)
{
    struct list l = {.count = 0};
    runtime_process.list(t->rt, list_one, list_done, &l);
    assert_int_equal(l.count, 0);
    assert_int_equal(answer_of(t->loop, &l.answer), ERR_NONE);
    return l;
}

static enum error_code stop(struct bench *t, const struct container *c, bool keep)
{
    struct answer a = {0};
    runtime_process.stop(t->rt, c, keep, take_answer, &a);
    assert_int_equal(a.calls, 0);
    return answer_of(t->loop, &a);
}

static int tear_down(void **state)
{
    struct bench *t = *state;
    if (t->rt == NULL)
        open_runtime(t);
    class_set(t->class, "stop_grace_s", "0");
    struct list l = list(t);
    for (size_t i = 0; i < l.count; i++)
        assert_int_equal(stop(t, &l.containers[i], false), ERR_NONE);
    close_runtime(t);
    loop_free(t->loop);
    class_free(t->class);
    directory_remove(t->dir);
    free(t->executor);
    free(t);
    return 0;
}

struct launched {
    struct answer answer;
    struct container container;
};

static void note_launched(void *arg, const struct error *e, const struct container *c)
{
    struct launched *l = arg;
    take_answer(&l->answer, e);
    assert_true((e == NULL) == (c != NULL));
    if (c != NULL)
        l->container = *c;
}

static struct launched launch(struct bench *t, const char *key, const char *session)
{
    struct launched l = {.answer = {0}};
    struct launch spec = {
        .key = key,
        .owner = "o",
        .session = session,
        .attempt = 2,
        .secret = SECRET,
        .idle_timeout_s = 77,
        .lifetime_s = 88,
    };
    runtime_process.launch(t->rt, &spec, note_launched, &l);
    assert_int_equal(l.answer.calls, 0);
    answer_of(t->loop, &l.answer);
    return l;
}

static char *path_of(const struct bench *t, const char *key, const char *name)
{
    return mem_printf("%s/workspaces/%s%s%s", t->dir, key, *name == '\0' ? "" : "/", name);
}

static bool exists(const struct bench *t, const char *key, const char *name)
{
    char *path = path_of(t, key, name);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static bool has_line(const char *text, const char *line)
{
    const char *at = strstr(text, line);
    return at != NULL && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

static bool path_exists(void *arg)
{
    return access(arg, F_OK) == 0;
}

static void until_ready(struct bench *t, const char *key)
{
    char *path = path_of(t, key, "ready");
    assert_true(run_until(t->loop, path_exists, path, 5000));
    free(path);
}

static bool has_exited(void *arg)
{
    return ((struct bench *)arg)->exits > 0;
}

static void until_exit(struct bench *t, const char *id)
{
    assert_true(run_until(t->loop, has_exited, t, 5000));
    assert_int_equal(t->exits, 1);
    assert_string_equal(t->exited, id);
}

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

/* ---- launching ---- */

static int syncs;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    syncs++;
    return __real_fsync(fd);
}

/* A machine that loses its power loses its containers, too. */
static void test_launch_waits_for_no_disk(void **state)
{
    struct bench *t = *state;
    syncs = 0;
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_NONE);
    assert_true(exists(t, "o.s.1", "address"));
    assert_false(exists(t, "o.s.1", "address.new"));
    assert_int_equal(syncs, 0);
    assert_int_equal(file_write(t->executor, script, NULL), ERR_NONE);
    assert_true(syncs > 0); /* these are counted */
}

static void test_environment(void **state)
{
    struct bench *t = *state;
    close_runtime(t);
    class_set(t->class, "memory_mb", "64");
    class_set(t->class, "processes", "9");
    class_set(t->class, "sandbox", "bwrap");
    class_set(t->class, "artifacts", "file:///nowhere");
    open_runtime(t);
    struct launched l = launch(t, "o.s.2", "s");
    assert_int_equal(l.answer.error.code, ERR_NONE);
    assert_string_equal(l.container.id, "o.s.2");
    assert_string_equal(l.container.ip, "127.65.8.1");
    assert_int_equal(l.container.port, 8080);
    until_ready(t, "o.s.2");
    char *path = path_of(t, "o.s.2", "env"), *text = file_read(path, 65536);
    char *workspace = path_of(t, "o.s.2", "");
    char *expected = mem_printf("CLEAT_WORKSPACE=%s", workspace);
    static const char *const lines[] = {
        "SESSION_ID=s",
        "CLEAT_ATTEMPT=2",
        "CLEAT_OWNER=o",
        ("CLEAT_SECRET=" SECRET),
        "CLEAT_SANDBOX=bwrap",
        "CLEAT_LISTEN=127.65.8.1:8080",
        "CLEAT_NETWORK=none",
        "CLEAT_MEMORY_MB=64",
        "CLEAT_PROCESSES=9",
        "CLEAT_CPU_S=0",
        "CLEAT_IDLE_TIMEOUT_S=77",
        "CLEAT_LIFETIME_S=88",
        "LANG=C.UTF-8",
        "CLEAT_OPEN_FILES=0",
        "CLEAT_FILE_SIZE_MB=0",
        "CLEAT_ARTIFACTS=file:///nowhere",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_true(has_line(text, lines[i]));
    assert_true(has_line(text, expected));
    assert_true(
        has_line(text, geteuid() == 0 ? "CLEAT_SANDBOX_UID=200001" : "CLEAT_SANDBOX_UID=0"));
    assert_null(strstr(text, "HOME=")); /* nothing of ours is inherited */
    struct stat st;
    assert_int_equal(stat(workspace, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    free(expected);
    free(workspace);
    free(text);
    free(path);
    path = path_of(t, "o.s.2", "executor.log");
    text = file_read(path, 4096);
    assert_string_equal(text, "ready\n");
    free(text);
    free(path);
}

static void test_command(void **state)
{
    struct bench *t = *state;
    close_runtime(t);
    char *copy = mem_printf("%s/plain", t->dir), *command = mem_printf("/bin/sh  %s ", copy);
    assert_int_equal(file_write(copy, script, NULL), ERR_NONE);
    class_set(t->class, "command", command);
    open_runtime(t);
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_NONE);
    until_ready(t, "o.s.1");
    free(command);
    free(copy);
}

static void test_bad_key(void **state)
{
    struct bench *t = *state;
    static const char *const bad[] = {
        "",    "..", "o/../x",
        "o s", ".o", "o.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    struct container c = {.id = "../x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(launch(t, bad[i], "s").answer.error.code, ERR_INVALID);
    assert_int_equal(stop(t, &c, false), ERR_INVALID);
    runtime_process.adopt(t->rt, &c);
    runtime_process.release(t->rt, &c);
    assert_int_equal(list(t).count, 0);
}

/* Nothing stays of a launch that failed, neither workspace nor address. */
static void test_no_executor(void **state)
{
    struct bench *t = *state;
    close_runtime(t);
    char *late = mem_printf("%s/late", t->dir);
    class_set(t->class, "command", late);
    open_runtime(t);
    char *path = path_of(t, "o.s.1", "");
    for (int i = 0; i < 8; i++) { /* more than there are addresses */
        assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_LAUNCH);
        for (int k = 0; k < 500 && access(path, F_OK) == 0; k++)
            run_for(t->loop, 5);
        assert_int_not_equal(access(path, F_OK), 0);
        run_for(t->loop, 20);
    }
    free(path);
    json_t *status = runtime_process.status(t->rt);
    assert_int_equal(json_integer_value(json_object_get(status, "addresses_free")), 6);
    json_decref(status);
    assert_int_equal(file_write(late, script, NULL), ERR_NONE);
    assert_int_equal(chmod(late, 0755), 0);
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_NONE);
    free(late);
}

static void test_addresses(void **state)
{
    struct bench *t = *state;
    char key[16];
    struct launched all[6], l;
    for (int i = 0; i < 6; i++) {
        snprintf(key, sizeof(key), "o.s.%d", i);
        all[i] = launch(t, key, "s");
        assert_int_equal(all[i].answer.error.code, ERR_NONE);
    }
    assert_string_equal(all[5].container.ip, "127.65.8.6");
    assert_int_equal(launch(t, "o.s.6", "s").answer.error.code, ERR_CAPACITY);
    assert_false(exists(t, "o.s.6", ""));
    runtime_process.release(t->rt, &all[2].container); /* not stopped: nothing happens */
    assert_int_equal(launch(t, "o.s.6", "s").answer.error.code, ERR_CAPACITY);
    stop(t, &all[4].container, false);
    stop(t, &all[1].container, false);
    assert_int_equal(launch(t, "o.s.6", "s").answer.error.code,
                     ERR_CAPACITY); /* not released */
    runtime_process.release(t->rt, &all[4].container);
    runtime_process.release(t->rt, &all[1].container);
    runtime_process.release(t->rt, &all[1].container);
    l = launch(t, "o.s.6", "s");
    assert_string_equal(l.container.ip, all[4].container.ip); /* free for longer */
    l = launch(t, "o.s.7", "s");
    assert_string_equal(l.container.ip, all[1].container.ip);
}

/* Two classes of one range never give the same address. */
static void test_shared_range(void **state)
{
    struct bench *t = *state;
    struct runtime *other = open_with(t, t->dir, NULL), *mine = t->rt;
    struct launched a = launch(t, "o.a.1", "s");
    t->rt = other;
    struct launched b = launch(t, "o.b.1", "s");
    assert_string_equal(a.container.ip, "127.65.8.1");
    assert_string_equal(b.container.ip, "127.65.8.2");
    t->rt = mine;
    runtime_process.close(other);
    class_set(t->class, "address_range", "127.65.8.0/28");
    struct error e = {.code = ERR_NONE};
    assert_null(open_with(t, t->dir, &e)); /* overlaps */
    assert_int_equal(e.code, ERR_CONFIG);
    class_set(t->class, "address_range", "127.65.8.0/29");
}

static void test_bad_state_dir(void **state)
{
    struct bench *t = *state;
    struct error e = {.code = ERR_NONE};
    char *path = mem_printf("%s/file", t->dir);
    assert_int_equal(file_write(path, "x", NULL), ERR_NONE);
    assert_null(open_with(t, path, &e));
    assert_int_not_equal(e.code, ERR_NONE);
    free(path);
}

/* ---- ending ---- */

static void test_exit(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.x.1", "exits");
    until_exit(t, "o.x.1");
    assert_string_equal(t->cause, "exited with status 3");
    assert_int_equal(launch(t, "o.x.1", "exits").answer.error.code, ERR_DIED); /* never twice */
    assert_int_equal(stop(t, &l.container, true), ERR_NONE);
    assert_true(exists(t, "o.x.1", "executor.log")); /* kept */
    assert_int_equal(stop(t, &l.container, false), ERR_NONE);
    assert_false(exists(t, "o.x.1", ""));
    assert_int_equal(stop(t, &l.container, false), ERR_NONE);
    runtime_process.release(t->rt, &l.container);
    assert_int_equal(stop(t, &l.container, false), ERR_NONE); /* unknown by now */
    assert_int_equal(t->exits, 1);
}

static void test_killed(void **state)
{
    struct bench *t = *state;
    launch(t, "o.x.1", "dies");
    until_exit(t, "o.x.1");
    assert_string_equal(t->cause, "killed by signal 9");
}

static void test_stop(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.s.1", "s");
    until_ready(t, "o.s.1");
    struct answer first = {0}, second = {0};
    int64_t start = loop_now_ms(t->loop);
    runtime_process.stop(t->rt, &l.container, false, take_answer, &first);
    runtime_process.stop(t->rt, &l.container, false, take_answer, &second);
    assert_int_equal(launch(t, "o.s.1", "s").answer.error.code, ERR_DIED);
    assert_int_equal(answer_of(t->loop, &first), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &second), ERR_NONE);
    assert_true(loop_now_ms(t->loop) - start < 900); /* it heard the first signal */
    assert_false(exists(t, "o.s.1", ""));
    run_for(t->loop, 50);
    assert_int_equal(t->exits, 0); /* it was asked to */
    assert_int_equal(list(t).count, 0);
}

static void test_force(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.s.1", "deaf");
    until_ready(t, "o.s.1");
    int64_t start = loop_now_ms(t->loop);
    assert_int_equal(stop(t, &l.container, false), ERR_NONE);
    assert_true(loop_now_ms(t->loop) - start >= 990);
    assert_false(exists(t, "o.s.1", ""));
}

/* One of those who stop it together wants its files. */
static void test_keep(void **state)
{
    struct bench *t = *state;
    struct launched l = launch(t, "o.s.1", "s");
    until_ready(t, "o.s.1");
    struct answer first = {0}, second = {0};
    runtime_process.stop(t->rt, &l.container, false, take_answer, &first);
    runtime_process.stop(t->rt, &l.container, true, take_answer, &second);
    assert_int_equal(answer_of(t->loop, &first), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &second), ERR_NONE);
    assert_true(exists(t, "o.s.1", "env"));
}

/* Closed and freed in the middle of everything: nothing is called back, nothing leaks. */
static void test_close_while_stopping(void **state)
{
    struct bench *t = *state;
    struct launched a = launch(t, "o.a.1", "s"), b = launch(t, "o.b.1", "exits");
    struct answer first = {0}, second = {0};
    until_exit(t, "o.b.1");
    runtime_process.stop(t->rt, &a.container, false, take_answer, &first);
    runtime_process.stop(t->rt, &b.container, false, take_answer, &second);
    close_runtime(t);
    run_for(t->loop, 200);
    assert_int_equal(first.calls + second.calls, 0);
}

/* ---- after a restart ---- */

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
static void start_unwritten(const struct bench *t, const char *workspace, const char *lock)
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
        char *env[] = {"SESSION_ID=s",
                       "CLEAT_SECRET=" SECRET,
                       "CLEAT_LISTEN=127.65.8.9:8080",
                       "CLEAT_SANDBOX=none",
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
    assert_int_equal(dir_make(workspace, 0700, NULL), ERR_NONE);
    start_unwritten(t, workspace, lock);
    assert_true(run_until(t->loop, listens, "127.65.8.9", 10000));
    struct lock_owner owner = lock_read(lock); /* before it listens, and by no one else */
    assert_int_not_equal(owner.pid, 0);
    assert_true(process_is(&owner));
    assert_int_equal(getsid(owner.pid), owner.pid);
    runtime_process.adopt(t->rt, &(struct container){.id = "o.s.1"});
    int64_t start = loop_now_ms(t->loop);
    assert_int_equal(stop(t, &(struct container){.id = "o.s.1"}, false), ERR_NONE);
    assert_true(loop_now_ms(t->loop) - start < 900); /* it heard the first signal */
    assert_false(exists(t, "o.s.1", ""));
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
    for (size_t i = 0; i < l.count;
         i++) /* nobody adopted them: they can be stopped all the same */
        assert_int_equal(stop(t, &l.containers[i], false), ERR_NONE);
    assert_true(run_until(t->loop, path_exists, stranger, 1));
    assert_int_equal(list(t).count, 0);
    assert_true(is_over(t));
    free(lock);
    free(stranger);
}

static void test_status(void **state)
{
    struct bench *t = *state;
    launch(t, "o.a.1", "s");
    json_t *status = runtime_process.status(t->rt);
    assert_string_equal(json_string_value(json_object_get(status, "name")), "process");
    assert_string_equal(json_string_value(json_object_get(status, "sandbox")), "auto");
    assert_int_equal(json_integer_value(json_object_get(status, "containers")), 1);
    assert_int_equal(json_integer_value(json_object_get(status, "addresses_free")), 5);
    assert_null(json_object_get(status, "isolation"));
    json_t *limit = json_array_get(json_object_get(status, "limits_not_enforced"), 0);
    assert_non_null(json_string_value(json_object_get(limit, "limit")));
    assert_non_null(strstr(json_string_value(json_object_get(limit, "reason")), "cgroup"));
    json_decref(status);
    close_runtime(t);
    class_set(t->class, "sandbox", "none");
    open_runtime(t);
    status = runtime_process.status(t->rt);
    assert_string_equal(json_string_value(json_object_get(status, "isolation")), "none");
    json_decref(status);
}

int main(void)
{
#define REAL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        REAL(test_launch_waits_for_no_disk),
        REAL(test_environment),
        REAL(test_command),
        REAL(test_bad_key),
        REAL(test_no_executor),
        REAL(test_addresses),
        REAL(test_shared_range),
        REAL(test_bad_state_dir),
        REAL(test_exit),
        REAL(test_killed),
        REAL(test_stop),
        REAL(test_force),
        REAL(test_keep),
        REAL(test_close_while_stopping),
        REAL(test_adopt),
        REAL(test_stopped_outlives_us),
        REAL(test_executor_writes_its_pid),
        REAL(test_adopt_gone),
        REAL(test_lost_answer),
        REAL(test_leftover),
        REAL(test_damaged_address),
        REAL(test_list),
        REAL(test_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
