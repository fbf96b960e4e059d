#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "child_help.h"

struct loop *loop;
char dir[64], lock[96], output[96];
int exits, exit_status;

int make_loop(void **state)
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

int free_loop(void **state)
{
    (void)state;
    loop_free(loop);
    return nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

void on_exit_status(void *arg, int status)
{
    (void)arg;
    exits++;
    exit_status = status;
}

struct child *shell_with(const char *script, struct child_spec spec)
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

struct child *shell(const char *script)
{
    return shell_with(script, (struct child_spec){.output_path = output, .lock_path = lock});
}

void wait_exit(void)
{
    assert_true(spin(loop, &exits, 1, 10000));
    assert_int_equal(exits, 1);
}

/* Until the file has a line. */
char *wait_line(const char *path)
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

bool process_lives(pid_t pid)
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

bool dies(pid_t pid)
{
    for (int i = 0; i < 500 && process_lives(pid); i++)
        spin_for(loop, 10);
    return !process_lives(pid);
}
