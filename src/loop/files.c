#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/child.h"
#include "loop/lock.h"

static enum error_code fail(const char *path, struct error *e)
{
    return error_set(e, error_of_errno(errno, ERR_INTERNAL), "%s: %s", path, strerror(errno));
}

static bool make_one(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0)
        return true;
    int why = errno;
    struct stat st;
    bool exists = why == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    errno = why;
    return exists;
}

enum error_code dir_make(const char *path, mode_t mode, struct error *e)
{
    char *copy = mem_strdup(path);
    enum error_code code = ERR_NONE;
    for (char *slash = strchr(copy + 1, '/'); slash && !code; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (!make_one(copy, 0755))
            code = fail(copy, e);
        *slash = '/';
    }
    if (!code && !make_one(path, mode))
        code = fail(path, e);
    free(copy);
    return code;
}

void dir_list_locked(const char *root, dir_each_fn *each, void *arg)
{
    DIR *dir = opendir(root);
    if (!dir) {
        if (errno != ENOENT)
            log_warn("dir.unreadable", KV("path", root), KV("error", strerror(errno)));
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        char *lock = mem_printf("%s/%s/lock", root, entry->d_name);
        struct stat st;
        if (lstat(lock, &st) == 0 && S_ISREG(st.st_mode))
            each(arg, entry->d_name, lock_held(lock));
        free(lock);
    }
    closedir(dir);
}

static bool write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t written = write(fd, text, len);
        if (written < 0 && errno != EINTR)
            return false;
        if (written > 0) {
            text += written;
            len -= (size_t)written;
        }
    }
    return true;
}

static bool write_new(const char *path, const char *text, bool sync)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, text, strlen(text)) && (!sync || fsync(fd) == 0);
    int why = errno;
    close(fd);
    errno = why;
    return ok;
}

/* Without this a renamed file may lose its name with the power. */
static bool sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent =
        slash ? mem_strndup(path, slash > path ? (size_t)(slash - path) : 1) : mem_strdup(".");
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(parent);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static enum error_code replace(const char *path, const char *text, bool sync, struct error *e)
{
    char *fresh = mem_printf("%s.new", path);
    enum error_code code = ERR_NONE;
    if (!write_new(fresh, text, sync) || rename(fresh, path) != 0 ||
        (sync && !sync_parent(path))) {
        code = fail(path, e);
        unlink(fresh);
    }
    free(fresh);
    return code;
}

enum error_code file_replace(const char *path, const char *text, struct error *e)
{
    return replace(path, text, false, e);
}

enum error_code file_write(const char *path, const char *text, struct error *e)
{
    return replace(path, text, true, e);
}

/* Takes fd. */
static char *read_whole(int fd, size_t max)
{
    struct buf text = {0};
    char chunk[4096];
    ssize_t got = 0;
    while (text.len <= max && (got = read(fd, chunk, sizeof chunk)) > 0)
        buf_add(&text, chunk, (size_t)got);
    close(fd);
    if (got == 0 && text.len <= max)
        return buf_take(&text);
    buf_free(&text);
    return NULL;
}

char *file_read(const char *path, size_t max)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd < 0 ? NULL : read_whole(fd, max);
}

char *file_read_private(const char *path, size_t max, struct error *e)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0)
        error_set(e, ERR_CONFIG, "%.200s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        error_set(e, ERR_CONFIG, "%.200s is no file", path);
    else if ((st.st_mode & 077) || (st.st_uid != geteuid() && st.st_uid != 0))
        error_set(e, ERR_CONFIG, "%.200s: others than its owner may read it", path);
    else {
        char *text = read_whole(fd, max);
        if (!text)
            error_set(e, ERR_CONFIG, "%.200s cannot be read, or is too long", path);
        return text;
    }
    if (fd >= 0)
        close(fd);
    return NULL;
}

bool file_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 || errno != ENOENT;
}

/* ---- removal by rm(1): unlinking a large tree takes longer than a turn may */

#define ASIDE ".removed." /* in the same directory, on its way out */

struct removal {
    struct loop *loop;
    struct child *rm;
    struct task failed;
    struct loop_guest guest;
    struct error error;
    void (*done)(void *arg, const struct error *);
    void *arg;
    char *path;
};

static void drop_removal(void *arg)
{
    struct removal *r = arg;
    task_stop(&r->failed);
    child_free(r->rm);
    free(r->path);
    free(r);
}

static void report_removal(void *arg)
{
    struct removal *r = arg;
    r->done(r->arg, r->error.code ? &r->error : NULL);
    loop_guest_remove(r->loop, &r->guest);
    drop_removal(r);
}

static void on_rm_exit(void *arg, int status)
{
    struct removal *r = arg;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        error_set(&r->error, ERR_INTERNAL, "%s: cannot be removed completely", r->path);
    report_removal(r);
}

/* rm(1) outlives us: what gets the name anew is none of its business. Returns where the tree is
 * now; it stays where it is when that does not work. */
static char *put_aside(struct loop *loop, const char *path)
{
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    const char *name = strrchr(path, '/');
    loop_random(loop, random, sizeof random);
    hex_encode(hex, random, sizeof random);
    char *aside = mem_printf("%.*s" ASIDE "%s", name ? (int)(name - path) + 1 : 0, path, hex);
    if (rename(path, aside) == 0)
        return aside;
    free(aside);
    return mem_strdup(path);
}

void dir_remove(struct loop *loop, const char *path,
                void (*done)(void *arg, const struct error *), void *arg)
{
    struct removal *r = mem_alloc(sizeof *r);
    *r = (struct removal){.loop = loop, .done = done, .arg = arg};
    r->path = mem_strdup(path);
    char *aside = put_aside(loop, path);
    r->guest = (struct loop_guest){.drop = drop_removal, .arg = r};
    loop_guest_add(loop, &r->guest);
    task_init(&r->failed, loop, report_removal, r);
    const char *const argv[] = {"/bin/rm", "-rf", "--", aside, NULL};
    r->rm = child_spawn(loop, &(struct child_spec){.argv = argv}, on_rm_exit, r, &r->error);
    free(aside);
    if (!r->rm)
        task_wake(&r->failed);
}

static void ignore(void *arg, const struct error *e)
{
    (void)arg;
    (void)e;
}

void dir_remove_rest(struct loop *loop, const char *root)
{
    DIR *dir = opendir(root);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strncmp(entry->d_name, ASIDE, strlen(ASIDE)) != 0)
            continue;
        char *path = mem_printf("%s/%s", root, entry->d_name);
        dir_remove(loop, path, ignore, NULL);
        free(path);
    }
    closedir(dir);
}
