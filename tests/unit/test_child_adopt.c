/* The lock of a child, and the processes that find it by that lock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "child_help.h"
#include "loop/lock.h"
#include "own_process.h"

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

/* In a session of its own, before the shell goes on. */
#define ESCAPING_HEIR                                                                          \
    "setsid sh -c 'echo $$; exec sleep 100' & until test -s '%s'; do sleep 0.01; done; "

static void exit_waits_for_the_heirs_of_the_lock(void **state)
{
    (void)state;
    char *script = mem_printf(ESCAPING_HEIR "exit 3", output);
    struct child *c = shell_with(
        script,
        (struct child_spec){.output_path = output, .lock_path = lock, .new_group = true});
    free(script);
    char *line = wait_line(output);
    pid_t heir = (pid_t)atoi(line);
    free(line);
    spin_for(loop, 150);
    assert_int_equal(exits, 0);
    assert_true(lock_held(lock));
    kill(heir, SIGKILL);
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
    child_free(c);
    /* it is reaped while nobody looks; its own child has the lock still */
    for (int i = 0; i < 500 && kill(pid, 0) == 0; i++)
        spin_for(loop, 10);
    assert_false(process_lives(pid));
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

static const char *left;

static int leave_it_to_be_adopted(void)
{
    const char *const argv[] = {"/bin/sh", "-c", left, NULL};
    const char *const envp[] = {"PATH=/bin:/usr/bin", NULL};
    struct child_spec spec = {.argv = argv,
                              .envp = envp,
                              .output_path = output,
                              .lock_path = lock,
                              .new_session = true};
    struct error e = {0};
    if (!child_spawn(loop, &spec, on_exit_status, NULL, &e))
        return 1;
    free(wait_line(output));
    return 0;
}

static void what_is_left_in_the_group_ends_with_an_adopted_child(void **state)
{
    (void)state;
    static const char *const scripts[] = {"sleep 100 & echo $!; wait", /* an heir of the lock */
                                          "sleep 100 3<&- & echo $!; wait"};
    for (size_t i = 0; i < 2; i++) {
        exits = 0;
        unlink(output);
        left = scripts[i];
        in_own_process(leave_it_to_be_adopted);
        char *line = wait_line(output);
        pid_t grandchild = (pid_t)atoi(line);
        free(line);
        struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
        assert_non_null(c);
        assert_true(process_lives(grandchild));
        kill(child_pid(c), SIGKILL);
        wait_exit();
        assert_true(dies(grandchild));
        child_free(c);
    }
}

/* A process of that very pid; needs root. */
static pid_t make_stranger(pid_t pid)
{
    struct clone_args args = {
        .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1};
    long made = syscall(SYS_clone3, &args, sizeof args);
    if (made == 0) {
        setsid();
        execl("/bin/sleep", "sleep", "100", NULL);
        _exit(1);
    }
    return (pid_t)made;
}

/* An adopted child is reaped by another process: then its number may be given again, to the
 * leader of a group as well, while an heir has the lock. */
static void a_pid_that_is_reused_after_the_end_is_never_killed(void **state)
{
    (void)state;
    if (geteuid() != 0)
        return;
    char *script = mem_printf(ESCAPING_HEIR "sleep 100", output);
    left = script;
    in_own_process(leave_it_to_be_adopted);
    free(script);
    char *line = wait_line(output);
    pid_t heir = (pid_t)atoi(line);
    free(line);
    struct child *c = child_adopt(loop, lock, on_exit_status, NULL);
    pid_t pid = child_pid(c), stranger = -1;
    kill(pid, SIGKILL);
    for (int i = 0; i < 500 && stranger < 0;
         i++) { /* until it is reaped, and its group empty */
        spin_for(loop, 10);
        stranger = make_stranger(pid);
    }
    assert_int_equal(stranger, pid);
    while (getpgid(pid) != pid)
        spin_for(loop, 10);
    child_kill(c, SIGKILL, true);
    spin_for(loop, 120);
    assert_int_equal(exits, 0);
    assert_true(process_lives(stranger));
    kill(heir, SIGKILL);
    wait_exit();
    child_free(c);
    assert_true(process_lives(stranger));
    kill(stranger, SIGKILL);
    waitpid(stranger, NULL, 0);
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
    if (lock_claim(lock, &e) || lock_read(lock).pid != 0 || lock_inherited(lock) >= 0)
        return 2; /* another file */
    dup2(fd, CHILD_LOCK_FD);
    if (lock_inherited(lock) != CHILD_LOCK_FD)
        return 5;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loop(the_lock_is_held_as_long_as_the_child_lives),
        with_loop(the_lock_cannot_be_written_through_the_childs_descriptor),
        with_loop(exit_waits_for_the_heirs_of_the_lock),
        with_loop(a_lock_may_not_be_a_link),
        with_loop(a_second_process_adopts),
        with_loop(an_adopted_child_is_killed_alone),
        with_loop(what_is_left_in_the_group_ends_with_an_adopted_child),
        with_loop(a_pid_that_is_reused_after_the_end_is_never_killed),
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
