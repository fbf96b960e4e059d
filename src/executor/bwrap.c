#include "executor/bwrap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/mem.h"
#include "executor/enter.h"

/* Arguments end with NUL each: the form that --args reads, out of sight of ps(1). */
static void add(struct buf *b, const char *arg)
{
    buf_add(b, arg, strlen(arg) + 1);
}

static void add2(struct buf *b, const char *option, const char *value)
{
    add(b, option);
    add(b, value);
}

static void add3(struct buf *b, const char *option, const char *first, const char *second)
{
    add2(b, option, first);
    add(b, second);
}

static void add_namespaces(struct buf *b, bool network)
{
    add(b, "--unshare-user");
    add(b, "--unshare-pid");
    add(b, "--unshare-ipc");
    if (!network)
        add(b, "--unshare-net");
    add(b, "--die-with-parent");
    add(b, "--new-session");
}

/* /bin and its like are links into /usr on a merged system, directories elsewhere. */
static void add_system_dir(struct buf *b, const char *path)
{
    char link[256];
    ssize_t len = readlink(path, link, sizeof link - 1);
    if (len > 0) {
        link[len] = '\0';
        add3(b, "--symlink", link, path);
    } else {
        add3(b, "--ro-bind-try", path, path);
    }
}

static void add_system(struct buf *b)
{
    static const char *const dirs[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
    static const char *const files[] = {
        "/etc/alternatives",    "/etc/ca-certificates", "/etc/group",
        "/etc/hosts",           "/etc/ld.so.cache",     "/etc/ld.so.conf",
        "/etc/ld.so.conf.d",    "/etc/localtime",       "/etc/mime.types",
        "/etc/nsswitch.conf",   "/etc/passwd",          "/etc/python3",
        "/etc/python3.11",      "/etc/resolv.conf",     "/etc/ssl/certs",
        "/etc/ssl/openssl.cnf", "/etc/timezone"};
    add3(b, "--ro-bind", "/usr", "/usr");
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        add_system_dir(b, dirs[i]);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        add3(b, "--ro-bind-try", files[i], files[i]);
}

static void add_tmpfs(struct buf *b, int64_t mb, const char *path)
{
    char *size = mem_printf("%" PRId64, (mb ? mb : 1024) << 20);
    add2(b, "--size", size);
    add2(b, "--tmpfs", path);
    free(size);
}

static void add_files(struct buf *b, const struct bwrap_spec *s)
{
    add_system(b);
    add2(b, "--proc", "/proc");
    add2(b, "--dev", "/dev");
    add_tmpfs(b, s->tmp_mb, "/dev/shm");
    add_tmpfs(b, s->tmp_mb, "/tmp");
    if (s->code_fd >= 0) {
        char *fd = mem_printf("%d", s->code_fd),
             *path = mem_printf(ENTER_CODE "%s", s->code_name);
        add2(b, "--perms", "0444");
        add3(b, "--ro-bind-data", fd, path);
        free(fd);
        free(path);
    }
    add3(b, "--bind", s->home, ENTER_HOME);
    add2(b, "--remount-ro", "/"); /* the root that all this is mounted on is a tmpfs, too */
    add2(b, "--chdir", ENTER_HOME);
}

static void add_environment(struct buf *b, char *const *env)
{
    add(b, "--clearenv");
    for (; *env; env++) {
        const char *equals = strchr(*env, '=');
        if (!equals)
            continue;
        add(b, "--setenv");
        buf_add(b, *env, (size_t)(equals - *env));
        buf_add(b, "", 1);
        add(b, equals + 1);
    }
}

static int readable_copy(const struct buf *b)
{
    int fd = memfd_create("arguments", 0);
    for (size_t done = 0; fd >= 0 && done < b->len;) {
        ssize_t n = write(fd, b->data + done, b->len - done);
        if (n < 0)
            return -1;
        done += (size_t)n;
    }
    return fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 ? fd : -1;
}

char **bwrap_command(const struct bwrap_spec *s)
{
    struct buf options = {0};
    add_namespaces(&options, s->network);
    add_files(&options, s);
    add_environment(&options, s->env);
    int fd = readable_copy(&options);
    buf_free(&options);
    if (fd < 0)
        return NULL;
    size_t count = 0;
    while (s->argv[count])
        count++;
    char **argv = mem_array(count + 5, sizeof *argv);
    char **next = argv;
    *next++ = mem_strdup("bwrap");
    *next++ = mem_strdup("--args");
    *next++ = mem_printf("%d", fd);
    *next++ = mem_strdup("--");
    memcpy(next, s->argv, count * sizeof *argv);
    return argv;
}
