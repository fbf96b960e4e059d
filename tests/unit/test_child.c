#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "loop/child.h"
#include "loop/lock.h"
#include "spin.h"

static struct loop *loop;
static char dir[64], lock[96], output[96];
static int exits, exit_status;

static int make_loop(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/cleat-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(lock, sizeof lock, "%s/lock", dir);
    snprintf(output, sizeof output, "%s/output", dir);
    loop = loop_new(NULL);
    exits = 0;
    exit_status = -2;
    return 0;
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static int free_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void on_exit_status(void *arg, int status)
{
    (void)arg;
    exits++;
    exit_status = status;
}

static struct child *shell_with(const char *script, struct child_spec spec)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const char *const envp[] = {"PATH=/bin:/usr/bin", "X=1", NULL};
    struct error e = {0};
    spec.argv = argv;
    spec.envp = envp;
    struct child *c = child_spawn(loop, &spec, on_exit_status, NULL, &e);
    assert_string_equal(e.message, "");
    assert_non_null(c);
    return c;
}

static struct child *shell(const char *script)
{
    return shell_with(script, (struct child_spec){.output_path = output, .lock_path = lock});
}

static void wait_exit(void)
{
    assert_true(spin(loop, &exits, 1, 10000));
    assert_int_equal(exits, 1);
}

/* Until the file has a line. */
static char *wait_line(const char *path)
{
    for (int i = 0; i < 1000; i++) {
        char *text = file_read(path, 4096);
        if (text && strchr(text, '\n'))
            return text;
        free(text);
        spin_for(loop, 10);
    }
    fail_msg("%s stays empty", path);
    return NULL;
}

static bool process_lives(pid_t pid)
{
    struct buf path = {0};
    buf_printf(&path, "/proc/%d/stat", (int)pid);
    char *text = file_read(path.data, 4096);
    char *rest = text ? strrchr(text, ')') : NULL;
    bool lives = rest && rest[2] != 'Z' && rest[2] != 'X';
    free(text);
    buf_free(&path);
    return lives;
}

static bool dies(pid_t pid)
{
    for (int i = 0; i < 500 && process_lives(pid); i++)
        spin_for(loop, 10);
    return !process_lives(pid);
}

/* ---- spawn and exit */

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

/* ---- limits: in a process of its own, 0 is success */

static void in_own_process(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(fn());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

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
    if (e.code != ERR_LAUNCH || !strstr(e.message, "cannot be watched: Too many open files"))
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

/* ---- the lock */

static void the_lock_is_held_as_long_as_the_child_lives(void **state)
{
    (void)state;
    struct child *c = shell("exec sleep 100");
    assert_true(lock_held(lock));
    struct error e = {0};
    const char *const argv[] = {"/bin/true", NULL};
    struct child_spec spec = {.argv = argv, .lock_path = lock};
    assert_null(child_spawn(loop, &spec, on_exit_status, NULL, &e));
    assert_int_equal(e.code, ERR_CONFLICT);
    assert_int_equal(lock_read(lock).pid, child_pid(c)); /* the second one changed nothing */
    /* nobody but the child has it: killed, it is free at once */
    kill(child_pid(c), SIGKILL);
    wait_exit();
    assert_false(lock_held(lock));
    child_free(c);
    assert_false(lock_held("/nonexistent/lock"));
}

static void the_lock_cannot_be_written_through_the_childs_descriptor(void **state)
{
    (void)state;
    struct child *c = shell("echo 1 1 >&3 && exit 0; exit 9");
    wait_exit();
    assert_true(WEXITSTATUS(exit_status) != 0);
    assert_int_equal(lock_read(lock).pid, child_pid(c));
    child_free(c);
}

static void exit_waits_for_the_heirs_of_the_lock(void **state)
{
    (void)state;
    struct child *c = shell_with(
        "sleep 100 & echo $!; exit 3",
        (struct child_spec){.output_path = output, .lock_path = lock, .new_group = true});
    char *line = wait_line(output);
    pid_t heir = (pid_t)atoi(line);
    free(line);
    spin_for(loop, 150);
    assert_int_equal(exits, 0);
    assert_true(lock_held(lock));
    child_kill(c, SIGKILL, true);
    wait_exit();
    assert_int_equal(WEXITSTATUS(exit_status), 3);
    assert_true(dies(heir));
    child_free(c);
}

static void a_lock_may_not_be_a_link(void **state)
{
    (void)state;
    const char *const argv[] = {"/bin/true", NULL};
    struct child_spec spec = {.argv = argv, .lock_path = lock};
    struct error e = {0};
    assert_int_equal(symlink("/tmp/cleat-test-elsewhere", lock), 0);
    assert_null(child_spawn(loop, &spec, on_exit_status, NULL, &e));
    assert_int_equal(e.code, ERR_LAUNCH);
    assert_int_equal(access("/tmp/cleat-test-elsewhere", F_OK), -1);
}

/* ---- adoption */

static int spawn_and_leave(void)
{
    const char *const argv[] = {"/bin/sh", "-c", "sleep 100 & echo up; wait", NULL};
    const char *const envp[] = {"PATH=/bin:/usr/bin", NULL};
    struct child_spec spec = {.argv = argv,
                              .envp = envp,
                              .output_path = output,
                              .lock_path = lock,
                              .new_group = true};
    struct error e = {0};
    if (!child_spawn(loop, &spec, on_exit_status, NULL, &e))
        return 1;
    free(wait_line(output)); /* its own child runs */
    return 0;
}

static void a_second_process_adopts(void **state)
{
    (void)state;
    in_own_process(spawn_and_leave);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_non_null(c);
    pid_t pid = child_pid(c);
    assert_true(process_lives(pid));
    spin_for(loop, 120);
    assert_int_equal(exits, 0);
    child_kill(c, SIGKILL, true);
    wait_exit();
    assert_int_equal(exit_status, CHILD_STATUS_UNKNOWN);
    assert_false(process_lives(pid));
    assert_false(lock_held(lock));
    child_free(c);
    assert_null(child_adopt(loop, lock, on_exit_status, NULL));
}

static void an_adopted_child_is_killed_alone(void **state)
{
    (void)state;
    in_own_process(spawn_and_leave);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_non_null(c);
    pid_t pid = child_pid(c);
    child_kill(c, SIGKILL, false);
    assert_true(dies(pid));
    assert_int_equal(exits, 0); /* its own child has the lock still */
    child_free(c);
    /* adopted once more, now without a leader: the group can still be ended */
    c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_non_null(c);
    child_kill(c, SIGKILL, false);
    spin_for(loop, 120);
    assert_int_equal(exits, 0);
    child_kill(c, SIGKILL, true);
    wait_exit();
    child_free(c);
}

static void what_is_gone_is_not_adopted(void **state)
{
    (void)state;
    assert_null(child_adopt(loop, lock, on_exit_status, NULL));
    struct error e;
    assert_int_equal(file_write(lock, "1 1\n", &e), ERR_NONE);
    assert_null(child_adopt(loop, lock, on_exit_status, NULL));
}

/* A stranger: alive, but not who the lock's line means. */
static void a_reused_pid_is_never_killed(void **state)
{
    (void)state;
    struct child *stranger =
        shell_with("exec sleep 100", (struct child_spec){.new_group = true});
    struct error e;
    char line[64];
    snprintf(line, sizeof line, "%d 1\n", (int)child_pid(stranger));
    assert_int_equal(file_write(lock, line, &e), ERR_NONE);
    int fd = open(lock, O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_non_null(c);
    child_kill(c, SIGKILL, true);
    child_kill(c, SIGKILL, false);
    spin_for(loop, 120);
    assert_int_equal(exits, 0);
    assert_true(process_lives(child_pid(stranger)));
    close(fd);
    wait_exit();
    child_free(c);
    child_kill(stranger, SIGKILL, true);
    assert_true(spin(loop, &exits, 2, 5000));
    child_free(stranger);
}

static void a_lock_without_a_pid_counts_as_alive(void **state)
{
    (void)state;
    static const char *const lines[] = {"", "12", "12 3", "x y\n", "1 1\n", "-1 5\n", "0 0\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct error e;
        exits = 0;
        assert_int_equal(file_write(lock, lines[i], &e), ERR_NONE);
        int fd = open(lock, O_RDONLY | O_CLOEXEC);
        assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
        struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
        assert_non_null(c);
        assert_int_equal(child_pid(c), 0);
        child_kill(c, SIGKILL, true);
        spin_for(loop, 60);
        assert_int_equal(exits, 0);
        close(fd);
        wait_exit();
        child_free(c);
    }
}

static void a_pid_that_is_written_late_is_found(void **state)
{
    (void)state;
    struct child *other = shell_with("exec sleep 100", (struct child_spec){.new_group = true});
    int fd = open(lock, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_int_equal(child_pid(c), 0);
    struct error e = {0};
    assert_int_equal(lock_write(lock, child_pid(other), &e), ERR_NONE);
    for (int i = 0; i < 200 && child_pid(c) == 0; i++)
        spin_for(loop, 10);
    assert_int_equal(child_pid(c), child_pid(other));
    child_kill(c, SIGKILL, true);
    close(fd);
    assert_true(spin(loop, &exits, 2, 5000));
    child_free(c);
    child_free(other);
}

/* The parent that is killed between the spawn and the writing of the pid: the child, made by a
 * process of its own, has the lock and the file is empty. */
static void spawn_without_the_pid(int (*child)(int lock_fd))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct error e = {0};
        int fd = lock_take(lock, &e);
        pid_t made = fd < 0 ? -1 : fork();
        if (made == 0)
            _exit(child(fd));
        _exit(made < 0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int lead_heirs(int lock_fd)
{
    setsid();
    dup2(lock_fd, CHILD_LOCK_FD);
    close(lock_fd);
    execl("/bin/sh", "sh", "-c", "sleep 100 & sleep 100 & echo up >$0; wait", output, NULL);
    return 1;
}

static int leave_heirs_only(int lock_fd)
{
    setsid();
    dup2(lock_fd, CHILD_LOCK_FD);
    close(lock_fd);
    execl("/bin/sh", "sh", "-c", "sleep 100 & exit 0", NULL);
    return 1;
}

static int have_the_lock_late(int lock_fd)
{
    for (int i = 0; i < 2000 && access(output, F_OK) != 0; i++)
        usleep(5000);
    dup2(lock_fd, CHILD_LOCK_FD);
    close(lock_fd);
    execl("/bin/sleep", "sleep", "100", NULL);
    return 1;
}

static int claim_the_lock(int lock_fd)
{
    struct error e = {0};
    dup2(lock_fd, CHILD_LOCK_FD);
    close(lock_fd);
    if (lock_claim(lock, &e) != ERR_NONE)
        return 1;
    execl("/bin/sleep", "sleep", "100", NULL);
    return 1;
}

static void until_known(const struct child *c)
{
    for (int i = 0; i < 500 && child_pid(c) == 0; i++)
        spin_for(loop, 10);
    assert_int_not_equal(child_pid(c), 0);
}

static void a_child_whose_parent_wrote_no_pid_is_found(void **state)
{
    (void)state;
    spawn_without_the_pid(lead_heirs);
    free(wait_line(output));
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_non_null(c);
    until_known(c);
    pid_t pid = child_pid(c);
    assert_int_equal(getsid(pid), pid); /* the leader, none of its heirs */
    assert_int_equal(lock_read(lock).pid, pid);
    child_kill(c, SIGKILL, true);
    wait_exit();
    assert_false(lock_held(lock));
    child_free(c);
}

static void heirs_of_an_unwritten_lock_are_found(void **state)
{
    (void)state;
    spawn_without_the_pid(leave_heirs_only);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_non_null(c);
    child_kill(c, SIGKILL, true);
    wait_exit();
    assert_false(lock_held(lock));
    child_free(c);
}

static void a_signal_waits_for_an_unknown_pid(void **state)
{
    (void)state;
    spawn_without_the_pid(have_the_lock_late);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_non_null(c);
    assert_int_equal(child_pid(c), 0);
    child_kill(c, SIGTERM, false);
    spin_for(loop, 120);
    assert_int_equal(exits, 0);
    struct error e;
    assert_int_equal(file_replace(output, "", &e), ERR_NONE);
    wait_exit();
    assert_int_not_equal(child_pid(c), 0);
    child_free(c);
}

static void a_child_claims_its_lock(void **state)
{
    (void)state;
    spawn_without_the_pid(claim_the_lock);
    char *line = wait_line(lock), expected[64];
    struct lock_owner owner = lock_read(lock);
    assert_true(process_is(&owner));
    snprintf(expected, sizeof expected, "%d %llu\n", (int)owner.pid, owner.start);
    assert_string_equal(line, expected);
    free(line);
    /* the parent that lives writes the same line at the same time */
    struct error e = {0};
    assert_int_equal(lock_write(lock, owner.pid, &e), ERR_NONE);
    line = file_read(lock, 100);
    assert_string_equal(line, expected);
    free(line);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    assert_int_equal(child_pid(c), owner.pid);
    child_kill(c, SIGKILL, false);
    wait_exit();
    child_free(c);
}

/* 0: as expected. CHILD_LOCK_FD may be in use: in a process of its own. */
static int claim_what_is_not_ours(void)
{
    struct error e = {0};
    char other[128];
    snprintf(other, sizeof other, "%s/other", dir);
    int fd = lock_take(lock, &e), other_fd = lock_take(other, &e);
    close(CHILD_LOCK_FD);
    if (lock_claim(lock, &e) || lock_read(lock).pid != 0) /* nothing inherited */
        return 1;
    dup2(other_fd, CHILD_LOCK_FD);
    if (lock_claim(lock, &e) || lock_read(lock).pid != 0) /* another file */
        return 2;
    dup2(fd, CHILD_LOCK_FD);
    if (lock_write(lock, getppid(), &e) || lock_claim(lock, &e) ||
        lock_read(lock).pid != getppid()) /* written already */
        return 3;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){0, 0});
    if (truncate(lock, 0) != 0 || lock_claim(lock, &e) != ERR_LAUNCH)
        return 4;
    return 0;
}

static void only_its_own_empty_lock_is_claimed(void **state)
{
    (void)state;
    in_own_process(claim_what_is_not_ours);
}

static int adopt_with_few_descriptors(void)
{
    int next = dup(0);
    close(next);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + 1, 4096});
    int last = dup(0); /* the lock cannot be looked at: that is no proof of death */
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    if (!c || child_pid(c) != 0)
        return 1;
    spin_for(loop, 120);
    if (exits > 0)
        return 2;
    close(last);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next + 8, 4096});
    for (int i = 0; i < 200 && child_pid(c) == 0; i++)
        spin_for(loop, 10);
    if (child_pid(c) == 0)
        return 3;
    child_kill(c, SIGKILL, true);
    return spin(loop, &exits, 1, 5000) ? 0 : 4;
}

static void adoption_survives_a_shortage_of_descriptors(void **state)
{
    (void)state;
    in_own_process(spawn_and_leave);
    in_own_process(adopt_with_few_descriptors);
}

#define with_loop(test) cmocka_unit_test_setup_teardown(test, make_loop, free_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loop(exit_status_arrives_from_the_loop),
        with_loop(a_kill_is_seen_as_such),
        with_loop(a_group_kill_reaches_grandchildren),
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
        with_loop(the_lock_is_held_as_long_as_the_child_lives),
        with_loop(the_lock_cannot_be_written_through_the_childs_descriptor),
        with_loop(exit_waits_for_the_heirs_of_the_lock),
        with_loop(a_lock_may_not_be_a_link),
        with_loop(a_second_process_adopts),
        with_loop(an_adopted_child_is_killed_alone),
        with_loop(what_is_gone_is_not_adopted),
        with_loop(a_reused_pid_is_never_killed),
        with_loop(a_lock_without_a_pid_counts_as_alive),
        with_loop(a_pid_that_is_written_late_is_found),
        with_loop(a_child_whose_parent_wrote_no_pid_is_found),
        with_loop(heirs_of_an_unwritten_lock_are_found),
        with_loop(a_signal_waits_for_an_unknown_pid),
        with_loop(a_child_claims_its_lock),
        with_loop(only_its_own_empty_lock_is_claimed),
        with_loop(adoption_survives_a_shortage_of_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
