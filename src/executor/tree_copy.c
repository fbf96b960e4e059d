#include "executor/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"

#define CHUNK 262144

static int open_source(int root, const char *path)
{
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* What the walk saw may have been replaced since. */
static const char *check_source(const struct tree *t, int fd)
{
    struct stat st;
    if (fd < 0)
        return "cannot be opened";
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return "special file";
    if (t->owner != TREE_ANY_OWNER && st.st_uid != t->owner)
        return "another owner";
    return NULL;
}

int tree_open_file(const struct tree *t, struct tree_file *f)
{
    int fd = open_source(t->root, f->path);
    f->skipped = check_source(t, fd);
    if (f->skipped && fd >= 0)
        close(fd);
    return f->skipped ? -1 : fd;
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

/* A hole stays a hole: a sparse file must not cost the store what it never cost its user. */
static bool write_or_skip(int to, const char *data, size_t len)
{
    bool empty = data[0] == '\0' && memcmp(data, data + 1, len - 1) == 0;
    return empty ? lseek(to, (off_t)len, SEEK_CUR) >= 0 : write_all(to, data, len);
}

static bool copy_bytes(int from, int to, EVP_MD_CTX *digest, struct tree_file *f,
                       const struct tree_target *target)
{
    static char chunk[CHUNK];
    f->size = 0;
    for (ssize_t n; (n = read(from, chunk, sizeof chunk)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || !write_or_skip(to, chunk, (size_t)n) ||
            !EVP_DigestUpdate(digest, chunk, (size_t)n))
            return false;
        f->size += n;
        if (target->copied)
            target->copied(target->arg, n, false);
    }
    return ftruncate(to, f->size) == 0; /* a hole at the end */
}

static bool copy_content(int from, int to, struct tree_file *f,
                         const struct tree_target *target)
{
    uint8_t sum[32];
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    if (!digest || !EVP_DigestInit_ex(digest, EVP_sha256(), NULL)) {
        log_error("copy.digest_failed");
        abort();
    }
    bool ok = copy_bytes(from, to, digest, f, target) && EVP_DigestFinal_ex(digest, sum, NULL);
    EVP_MD_CTX_free(digest);
    if (ok)
        hex_encode(f->sha256, sum, sizeof sum);
    return ok;
}

int tree_stage(const struct tree_target *target, const char *stage, struct error *e)
{
    unlinkat(target->root, stage, 0);
    int fd = openat(target->root, stage, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    target->file_mode);
    if (fd < 0)
        error_set(e, ERR_INTERNAL, "%.160s: %s", stage, strerror(errno));
    return fd;
}

static bool close_target(struct tree_target *target)
{
    bool ok = true;
    if (target->open_path) {
        ok = fsync(target->open_fd) == 0;
        close(target->open_fd);
        free(target->open_path);
    }
    target->open_path = NULL;
    return ok;
}

static int open_target(struct tree_target *target, const char *path, struct error *e)
{
    if (target->open_path && strcmp(target->open_path, path) == 0)
        return target->open_fd;
    if (!close_target(target)) {
        error_set(e, ERR_INTERNAL, "fsync: %s", strerror(errno));
        return -1;
    }
    target->open_fd =
        tree_open_dir(target->root, path, true, target->dir_mode, target->owner, e);
    if (target->open_fd >= 0)
        target->open_path = mem_strdup(path);
    return target->open_fd;
}

static int open_target_of(struct tree_target *target, const char *path, struct error *e)
{
    char *whole = *target->dir ? mem_printf("%s/%s", target->dir, path) : mem_strdup(path);
    char *slash = strrchr(whole, '/');
    if (slash)
        *slash = '\0';
    int dir = open_target(target, slash ? whole : "", e);
    free(whole);
    return dir;
}

static bool finish_file(int fd, const struct tree_target *target)
{
    bool ok = target->owner == TREE_ANY_OWNER || fchown(fd, target->owner, target->owner) == 0;
    return ok && fsync(fd) == 0;
}

enum error_code tree_place(struct tree_target *target, int fd, const char *stage,
                           const char *path, struct error *e)
{
    const char *slash = strrchr(path, '/');
    bool ok = finish_file(fd, target);
    ok = close(fd) == 0 && ok;
    int dir = ok ? open_target_of(target, path, e) : -1;
    ok = dir >= 0 && renameat(target->root, stage, dir, slash ? slash + 1 : path) == 0;
    int why = errno;
    if (!ok)
        unlinkat(target->root, stage, 0);
    if (!ok && !e->code)
        error_set(e, ERR_INTERNAL, "%.160s: %s", path, strerror(why));
    return e->code;
}

static enum error_code copy_file(struct tree *t, struct tree_file *f,
                                 struct tree_target *target, struct error *e)
{
    int from = tree_open_file(t, f);
    int to = from < 0 ? -1 : tree_stage(target, target->stage, e);
    if (to >= 0 && copy_content(from, to, f, target)) {
        tree_place(target, to, target->stage, f->path, e);
    } else if (to >= 0) {
        error_set(e, ERR_INTERNAL, "%.160s: %s", f->path, strerror(errno));
        close(to);
        unlinkat(target->root, target->stage, 0);
    }
    if (from >= 0)
        close(from);
    if (!e->code && !f->skipped && target->copied)
        target->copied(target->arg, 0, true);
    return e->code;
}

enum error_code tree_target_close(struct tree_target *target, struct error *e)
{
    if (!close_target(target) && !e->code)
        error_set(e, ERR_INTERNAL, "fsync: %s", strerror(errno));
    return e->code;
}

enum error_code tree_copy(struct tree *t, struct tree_target *target, struct error *e)
{
    for (size_t i = 0; i < t->count && !e->code; i++)
        if (!t->files[i].skipped)
            copy_file(t, &t->files[i], target, e);
    return tree_target_close(target, e);
}
