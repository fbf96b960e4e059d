#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "loop/child.h"
#include "own_process.h"
#include "spin.h"

static struct loop *loop;
static char dir[64];

static int make_loop(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/cleat-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    loop = loop_new(NULL);
    return 0;
}

static int removals;
static struct error removal_error;

static void on_removed(void *arg, const struct error *e)
{
    (void)arg;
    removals++;
    removal_error = e ? *e : (struct error){0};
}

static int free_loop(void **state)
{
    (void)state;
    removals = 0;
    dir_remove(loop, dir, on_removed, NULL);
    bool removed = spin(loop, &removals, 1, 10000) && access(dir, F_OK) != 0;
    loop_free(loop);
    return removed ? 0 : -1;
}

/* Below dir; the text stays valid until the next call but one. */
static const char *in_dir(const char *name)
{
    static char paths[2][512];
    static int next;
    next = !next;
    snprintf(paths[next], sizeof paths[next], "%s/%s", dir, name);
    return paths[next];
}

static void dir_make_makes_the_parents_too(void **state)
{
    (void)state;
    struct stat st;
    struct error e = {0};
    assert_int_equal(dir_make(in_dir("a/b//c"), 0700, &e), ERR_NONE);
    assert_int_equal(stat(in_dir("a/b/c"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(dir_make(in_dir("a/b/c"), 0755, &e), ERR_NONE);
    assert_int_equal(dir_make(in_dir("a/d/"), 0700, &e), ERR_NONE);
    assert_int_equal(e.code, ERR_NONE);
}

static void dir_make_says_what_is_in_the_way(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(file_write(in_dir("file"), "", &e), ERR_NONE);
    assert_int_equal(dir_make(in_dir("file"), 0700, &e), ERR_INTERNAL);
    assert_non_null(strstr(e.message, "/file: File exists"));
    assert_int_equal(dir_make(in_dir("file/sub/x"), 0700, &e), ERR_INTERNAL);
    assert_int_equal(dir_make("/proc/cleat/x", 0700, &e), ERR_INTERNAL);
    assert_string_equal(e.message, "/proc/cleat: No such file or directory");
}

static char listed[128];

static void list_one(void *arg, const char *name, bool locked)
{
    (void)arg;
    strncat(listed, name, 32);
    strcat(listed, locked ? "+" : "-");
}

static void dir_list_finds_the_lock_files(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(dir_make(in_dir("free"), 0700, &e), ERR_NONE);
    assert_int_equal(file_write(in_dir("free/lock"), "", &e), ERR_NONE);
    listed[0] = '\0';
    dir_list_locked(dir, list_one, NULL);
    assert_string_equal(listed, "free-");
    int fd = open(in_dir("free/lock"), O_RDONLY | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(dir_make(in_dir("without"), 0700, &e), ERR_NONE);
    assert_int_equal(dir_make(in_dir("wrong/lock"), 0700, &e), ERR_NONE);
    assert_int_equal(file_write(in_dir("file"), "", &e), ERR_NONE);
    listed[0] = '\0';
    dir_list_locked(dir, list_one, NULL);
    assert_string_equal(listed, "free+");
    close(fd);
}

static char logged[256];

static void keep_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    (void)level;
    mem_copy_string(logged, sizeof logged, line);
}

static void dir_list_of_nothing_is_empty(void **state)
{
    (void)state;
    struct error e;
    listed[0] = logged[0] = '\0';
    log_set_sink(keep_line, NULL);
    dir_list_locked(in_dir("absent"), list_one, NULL);
    assert_string_equal(logged, "");
    assert_int_equal(file_write(in_dir("file"), "", &e), ERR_NONE);
    dir_list_locked(in_dir("file"), list_one, NULL);
    assert_non_null(strstr(logged, "event=dir.unreadable"));
    log_set_sink(NULL, NULL);
    assert_string_equal(listed, "");
}

static void files_are_written_and_read(void **state)
{
    (void)state;
    struct error e = {0};
    struct stat st;
    assert_int_equal(file_write(in_dir("f"), "one", &e), ERR_NONE);
    assert_int_equal(file_write(in_dir("f"), "three", &e), ERR_NONE);
    char *text = file_read(in_dir("f"), 5);
    assert_string_equal(text, "three");
    free(text);
    assert_null(file_read(in_dir("f"), 4));
    assert_null(file_read(in_dir("absent"), 10));
    assert_null(file_read(dir, 10));
    assert_int_equal(stat(in_dir("f"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(access(in_dir("f.new"), F_OK), -1);
    assert_int_equal(chdir(dir), 0);
    assert_int_equal(file_write("here", "x", &e), ERR_NONE);
    assert_int_equal(access(in_dir("here"), F_OK), 0);
    assert_int_equal(chdir("/"), 0);
}

static int write_beyond_the_limit(void)
{
    struct error e = {0};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){4, 4});
    if (file_write(in_dir("f"), "longer than that", &e) != ERR_INTERNAL)
        return 1;
    if (!strstr(e.message, "/f: File too large") || access(in_dir("f.new"), F_OK) == 0)
        return 2;
    char *text = file_read(in_dir("f"), 10);
    return text && strcmp(text, "old") == 0 ? 0 : 3;
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    struct error e = {0};
    assert_int_equal(file_write(in_dir("f"), "old", &e), ERR_NONE);
    in_own_process(write_beyond_the_limit);
    assert_int_equal(file_write(in_dir("absent/f"), "x", &e), ERR_INTERNAL);
    assert_int_equal(dir_make(in_dir("full/sub"), 0700, &e), ERR_NONE);
    assert_int_equal(file_write(in_dir("full"), "x", &e), ERR_INTERNAL); /* cannot be renamed */
    assert_int_equal(access(in_dir("full.new"), F_OK), -1);
}

static int count_entries(const char *path)
{
    int n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2; /* . and .. */
}

static void dir_remove_removes_trees(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(dir_make(in_dir("-rf/b c/d"), 0700, &e), ERR_NONE);
    assert_int_equal(file_write(in_dir("-rf/b c/f"), "x", &e), ERR_NONE);
    removals = 0;
    dir_remove(loop, in_dir("-rf"), on_removed, NULL);
    assert_int_equal(removals, 0);
    assert_true(spin(loop, &removals, 1, 10000));
    assert_int_equal(removal_error.code, ERR_NONE);
    assert_int_equal(access(in_dir("-rf"), F_OK), -1);
    dir_remove(loop, in_dir("absent"), on_removed, NULL);
    assert_true(spin(loop, &removals, 2, 10000));
    assert_int_equal(removal_error.code, ERR_NONE);
}

/* rm(1) may outlive a crash: what takes the name meanwhile stays, and the next start goes on.
 */
static void a_removed_name_is_free_at_once(void **state)
{
    (void)state;
    struct error e;
    assert_int_equal(dir_make(in_dir("again"), 0700, &e), ERR_NONE);
    assert_int_equal(dir_make(in_dir(".removed.0123456789abcdef/left"), 0700, &e), ERR_NONE);
    removals = 0;
    dir_remove(loop, in_dir("again"), on_removed, NULL);
    assert_int_equal(access(in_dir("again"), F_OK), -1);
    assert_int_equal(file_write(in_dir("again"), "new", &e), ERR_NONE);
    dir_remove_rest(loop, dir);
    assert_true(spin(loop, &removals, 1, 10000));
    for (int i = 0; i < 500 && count_entries(dir) > 1; i++)
        spin_for(loop, 10);
    assert_int_equal(count_entries(dir), 1);
    assert_int_equal(access(in_dir("again"), F_OK), 0);
}

static void dir_remove_says_what_it_could_not(void **state)
{
    (void)state;
    removals = 0;
    dir_remove(loop, "/proc/self/fdinfo", on_removed, NULL);
    assert_true(spin(loop, &removals, 1, 10000));
    assert_int_equal(removal_error.code, ERR_INTERNAL);
    assert_string_equal(removal_error.message,
                        "/proc/self/fdinfo: cannot be removed completely");
}

static int remove_without_descriptors(void)
{
    int next = dup(0);
    close(next);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){(rlim_t)next, 4096});
    removals = 0;
    dir_remove(loop, dir, on_removed, NULL);
    if (removals > 0)
        return 1;
    return spin(loop, &removals, 1, 5000) && removal_error.code == ERR_CAPACITY ? 0 : 2;
}

static void dir_remove_reports_what_did_not_start(void **state)
{
    (void)state;
    in_own_process(remove_without_descriptors);
}

static void a_removal_is_dropped_with_its_loop(void **state)
{
    (void)state;
    struct loop *mine = loop_new(NULL);
    removals = 0;
    dir_remove(mine, in_dir("absent"), on_removed, NULL);
    loop_free(mine);
    spin_for(loop, 20);
    assert_int_equal(removals, 0);
    while (wait(NULL) < 0 && errno == EINTR)
        continue;
}

#define with_loop(test) cmocka_unit_test_setup_teardown(test, make_loop, free_loop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_loop(dir_make_makes_the_parents_too),
        with_loop(dir_make_says_what_is_in_the_way),
        with_loop(dir_list_finds_the_lock_files),
        with_loop(dir_list_of_nothing_is_empty),
        with_loop(files_are_written_and_read),
        with_loop(a_failed_write_leaves_the_old_file),
        with_loop(dir_remove_removes_trees),
        with_loop(a_removed_name_is_free_at_once),
        with_loop(dir_remove_says_what_it_could_not),
        with_loop(dir_remove_reports_what_did_not_start),
        with_loop(a_removal_is_dropped_with_its_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
