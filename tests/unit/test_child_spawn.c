/* Children: how they are started, what they get, and how they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_help.h"
#include "loop/lock.h"
#include "own_process.h"

static void exit_status_arrives_from_the_loop(void **state)
{
    (void)state;
    struct child *c = shell("exit 7");
    assert_int_equal(exits, 0);
    wait_exit();
    assert_true(WIFEXITED(exit_status));
    assert_int_equal(WEXITSTATUS(exit_status), 7);
    assert_int_equal(waitpid(child_pid(c), NULL, WNOHANG), -1); /* reaped */
    child_kill(c, SIGKILL, true);
    child_kill(c, SIGKILL, false);
    child_free(c);
    child_free(NULL);
}

static void a_kill_is_seen_as_such(void **state)
{
    (void)state;
    struct child *c = shell("exec sleep 100");
    assert_int_equal(lock_read(lock).pid, child_pid(c));
    child_kill(c, SIGTERM, false);
    wait_exit();
    assert_true(WIFSIGNALED(exit_status));
    assert_int_equal(WTERMSIG(exit_status), SIGTERM);
    child_free(c);
}

static void a_group_kill_reaches_grandchildren(void **state)
{
    (void)state;
    struct child_spec specs[] = {{.new_group = true}, {.new_session = true}};
    for (int i = 0; i < 2; i++) {
        exits = 0;
        unlink(output);
        specs[i].output_path = output;
        specs[i].lock_path = lock;
        struct child *c = shell_with("sleep 100 & echo $!; wait", specs[i]);
        char *line = wait_line(output);
        pid_t grandchild = (pid_t)atoi(line);
        free(line);
        assert_true(process_lives(grandchild));
        assert_int_equal(getsid(child_pid(c)) == child_pid(c), specs[i].new_session);
        child_kill(c, SIGKILL, true);
        wait_exit();
        assert_int_equal(WTERMSIG(exit_status), SIGKILL);
        assert_true(dies(grandchild));
        child_free(c);
    }
}

static void what_is_left_in_the_group_ends_with_the_child(void **state)
{
    (void)state;
    static const char *const scripts[] = {"sleep 100 & echo $!; wait", /* an heir of the lock */
                                          "sleep 100 3<&- & echo $!; wait"};
    for (size_t i = 0; i < 2; i++) {
        exits = 0;
        unlink(output);
        struct child *c = shell_with(
            scripts[i],
            (struct child_spec){.output_path = output, .lock_path = lock, .new_session = true});
        char *line = wait_line(output);
        pid_t grandchild = (pid_t)atoi(line);
        free(line);
        kill(child_pid(c), SIGKILL);
        wait_exit();
        assert_int_equal(WTERMSIG(exit_status), SIGKILL);
        assert_true(dies(grandchild));
        child_free(c);
    }
}

static void a_child_without_its_own_group_is_killed_alone(void **state)
{
    (void)state;
    struct child *c = shell("exec sleep 100");
    assert_int_equal(getpgid(child_pid(c)), getpgrp());
    child_kill(c, SIGTERM, true); /* we are in that group */
    wait_exit();
    child_free(c);
}

static void a_missing_program_is_an_error(void **state)
{
    (void)state;
    const char *const argv[] = {"/nonexistent/program", NULL};
    struct child_spec spec = {.argv = argv, .lock_path = lock};
    struct error e = {0};
    assert_null(child_spawn(loop, &spec, on_exit_status, NULL, &e));
    assert_int_equal(e.code, ERR_LAUNCH);
    assert_string_equal(e.message, "/nonexistent/program: No such file or directory");
    assert_false(lock_held(lock));
    spin_for(loop, 20);
    assert_int_equal(exits, 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void a_missing_directory_is_an_error(void **state)
{
    (void)state;
    const char *const argv[] = {"/bin/true", NULL};
    struct error e = {0};
    struct child_spec spec = {.argv = argv, .cwd = "/nonexistent"};
    assert_null(child_spawn(loop, &spec, on_exit_status, NULL, &e));
    assert_int_equal(e.code, ERR_LAUNCH);
    spec = (struct child_spec){.argv = argv, .output_path = "/nonexistent/output"};
    assert_null(child_spawn(loop, &spec, on_exit_status, NULL, &e));
    assert_int_equal(e.code, ERR_LAUNCH);
    spec = (struct child_spec){.argv = argv, .lock_path = "/nonexistent/lock"};
    assert_null(child_spawn(loop, &spec, on_exit_status, NULL, &e));
    assert_string_equal(e.message, "/nonexistent/lock: No such file or directory");
}

static void output_is_appended_privately(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        exits = 0;
        struct child *c = shell("echo out; echo err >&2");
        wait_exit();
        child_free(c);
    }
    char *text = file_read(output, 100);
    assert_string_equal(text, "out\nerr\nout\nerr\n");
    free(text);
    struct stat st;
    assert_int_equal(stat(output, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(lock, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void nothing_is_inherited_but_what_is_given(void **state)
{
    (void)state;
    int leak = open("/dev/null", O_RDONLY); /* without O_CLOEXEC */
    assert_true(leak > 2);
    sigset_t blocked, old;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &old);
    signal(SIGPIPE, SIG_IGN);
    struct child *c = shell_with(
        "cd /proc/$$/fd; echo *; env; pwd; exec grep -E 'SigBlk|SigIgn' /proc/self/status",
        (struct child_spec){.output_path = output, .cwd = "/"});
    wait_exit();
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
    close(leak);
    char *text = file_read(output, 4096);
    assert_ptr_equal(strstr(text, "0 1 2"), text);
    assert_non_null(strstr(text, "X=1\n"));
    assert_null(strstr(text, "HOME="));
    const char *masks = strstr(text, "SigBlk:");
    unsigned long long blocked_there, ignored_there;
    assert_non_null(masks);
    assert_int_equal(sscanf(masks, "SigBlk: %llx SigIgn: %llx", &blocked_there, &ignored_there),
                     2);
    assert_int_equal(blocked_there, 0);
    assert_int_equal(ignored_there & 0x7fffffff, 0); /* 32 and 33 are the C library's own */
    assert_null(strstr(text, "0 1 2 3 4"));
    free(text);
    child_free(c);
}

static void descriptors_are_passed_on(void **state)
{
    (void)state;
    int out[2], err[2];
    char text[16] = "";
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    struct child *c = shell_with(
        "echo o; echo e >&2",
        (struct child_spec){.pipe_fd = out[1], .error_fd = err[1], .lock_path = lock});
    close(out[1]);
    close(err[1]);
    wait_exit();
    assert_int_equal(read(out[0], text, sizeof text), 2);
    assert_memory_equal(text, "o\n", 2);
    assert_int_equal(read(err[0], text, sizeof text), 2);
    assert_memory_equal(text, "e\n", 2);
    assert_int_equal(read(out[0], text, sizeof text), 0); /* nobody else has the other end */
    close(out[0]);
    close(err[0]);
    child_free(c);
}

static void standard_output_alone_may_be_a_pipe(void **state)
{
    (void)state;
    int out[2];
    char text[16] = "";
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    struct child *c = shell_with("echo o; echo e >&2",
                                 (struct child_spec){.pipe_fd = out[1], .output_path = output});
    close(out[1]);
    wait_exit();
    assert_int_equal(read(out[0], text, sizeof text), 2);
    close(out[0]);
    char *line = file_read(output, 100);
    assert_string_equal(line, "e\n");
    free(line);
    child_free(c);
}

static void a_freed_child_goes_on_and_is_reaped(void **state)
{
    (void)state;
    struct child *c = shell("read x < fifo; exit 0");
    pid_t pid = child_pid(c);
    child_free(c);
    c = shell_with("exit 0", (struct child_spec){0});
    pid_t quick = child_pid(c);
    child_free(c);
    for (int i = 0; i < 500 && kill(quick, 0) == 0; i++)
        spin_for(loop, 10);
    assert_int_equal(kill(quick, 0), -1); /* not even a zombie */
    kill(pid, SIGKILL);
    assert_int_equal(exits, 0);
    c = shell_with("exec sleep 100", (struct child_spec){0});
    pid = child_pid(c);
    child_free(c); /* free_loop drops the watcher of a live one */
    kill(pid, SIGKILL);
}

/* ---- limits: each in a process of its own */

static int spawn_without_room_for_the_pid(void)
{
    const char *const argv[] = {"/bin/sleep", "100", NULL};
    struct child_spec spec = {.argv = argv, .lock_path = lock, .new_group = true};
    struct error e = {0};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){0, 0});
    if (child_spawn(loop, &spec, on_exit_status, NULL, &e))
        return 1;
    if (e.code != ERR_LAUNCH || !strstr(e.message, "/lock: File too large"))
        return 2;
    return waitpid(-1, NULL, WNOHANG) == -1 && !lock_held(lock) ? 0 : 3;
}

static void a_pid_that_cannot_be_written_ends_the_child(void **state)
{
    (void)state;
    in_own_process(spawn_without_room_for_the_pid);
}

static int spawn_with_few_descriptors(void)
{
    const char *const argv[] = {"/bin/sleep", "100", NULL};
    struct child_spec spec = {.argv = argv};
    struct error e = {0};
    int next = dup(0);
    close(next);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, 4096});
    if (child_spawn(loop, &spec, on_exit_status, NULL, &e))
        return 1;
    if (e.code != ERR_CAPACITY || !strstr(e.message, "cannot be watched: Too many open files"))
        return 2;
    spec.lock_path = lock;
    if (child_spawn(loop, &spec, on_exit_status, NULL, &e) || !strstr(e.message, "Too many"))
        return 3;
    return waitpid(-1, NULL, WNOHANG) == -1 ? 0 : 4;
}

static void a_child_that_cannot_be_watched_is_ended(void **state)
{
    (void)state;
    in_own_process(spawn_with_few_descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loop(exit_status_arrives_from_the_loop),
        with_loop(a_kill_is_seen_as_such),
        with_loop(a_group_kill_reaches_grandchildren),
        with_loop(what_is_left_in_the_group_ends_with_the_child),
        with_loop(a_child_without_its_own_group_is_killed_alone),
        with_loop(a_missing_program_is_an_error),
        with_loop(a_missing_directory_is_an_error),
        with_loop(output_is_appended_privately),
        with_loop(nothing_is_inherited_but_what_is_given),
        with_loop(descriptors_are_passed_on),
        with_loop(standard_output_alone_may_be_a_pipe),
        with_loop(a_freed_child_goes_on_and_is_reaped),
        with_loop(a_pid_that_cannot_be_written_ends_the_child),
        with_loop(a_child_that_cannot_be_watched_is_ended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
