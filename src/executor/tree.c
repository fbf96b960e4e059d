#include "executor/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

bool tree_path_valid(const char *path)
{
    while (true) {
        size_t len = strcspn(path, "/");
        if (len == 0 || (len == 1 && path[0] == '.') ||
            (len == 2 && memcmp(path, "..", 2) == 0))
            return false;
        if (!path[len])
            return true;
        path += len + 1;
    }
}

/* ---- listing */

static void add(struct tree *t, const char *path, int64_t size, const char *skipped)
{
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 64;
        t->files = mem_grow(t->files, t->room * sizeof *t->files);
    }
    t->files[t->count++] =
        (struct tree_file){.path = mem_strdup(path), .size = size, .skipped = skipped};
    if (!skipped)
        t->bytes += size;
}

static const char *reason_to_skip(const struct tree *t, const struct stat *st)
{
    if (S_ISLNK(st->st_mode))
        return "symbolic link";
    if (!S_ISREG(st->st_mode))
        return "special file";
    if (t->owner != TREE_ANY_OWNER && st->st_uid != t->owner)
        return "another owner";
    return NULL;
}

static enum error_code walk(struct tree *t, int fd, const char *prefix, int depth,
                            struct error *e);

static enum error_code walk_into(struct tree *t, int at, const char *name, const char *path,
                                 int depth, struct error *e)
{
    if (depth >= TREE_DEPTH_MAX) {
        add(t, path, 0, "too deep");
        return ERR_NONE;
    }
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        add(t, path, 0, "cannot be opened");
        return ERR_NONE;
    }
    return walk(t, fd, path, depth + 1, e);
}

static enum error_code visit(struct tree *t, int fd, const char *name, const char *path,
                             int depth, struct error *e)
{
    struct stat st;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return ERR_NONE;
    if (S_ISDIR(st.st_mode))
        return walk_into(t, fd, name, path, depth, e);
    if (t->count >= TREE_FILES_MAX)
        return error_set(e, ERR_TOO_LARGE, "more than %d files", TREE_FILES_MAX);
    add(t, path, st.st_size, reason_to_skip(t, &st));
    return ERR_NONE;
}

/* Takes fd. */
static enum error_code walk(struct tree *t, int fd, const char *prefix, int depth,
                            struct error *e)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return error_set(e, ERR_INTERNAL, "%s: %s", prefix, strerror(errno));
    }
    enum error_code code = ERR_NONE;
    for (struct dirent *entry; !code && (entry = readdir(dir));) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        char *path = *prefix ? mem_printf("%s/%s", prefix, name) : mem_strdup(name);
        code = visit(t, dirfd(dir), name, path, depth, e);
        free(path);
    }
    closedir(dir);
    return code;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct tree_file *)a)->path, ((const struct tree_file *)b)->path);
}

enum error_code tree_read(struct tree *t, int at, const char *dir, uid_t owner, struct error *e)
{
    *t = (struct tree){.owner = owner};
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    t->root = at == AT_FDCWD ? open(dir, flags)
              : *dir         ? tree_open_dir(at, dir, false, 0, TREE_ANY_OWNER, e)
                             : openat(at, ".", flags);
    if (t->root < 0 && errno == ENOENT) {
        e->code = ERR_NONE;
        return ERR_NONE;
    }
    if (t->root < 0)
        return e->code ? e->code : error_set(e, ERR_INTERNAL, "%s: %s", dir, strerror(errno));
    int fd = openat(t->root, ".", flags);
    if (fd < 0)
        return error_set(e, ERR_INTERNAL, "%s: %s", dir, strerror(errno));
    if (walk(t, fd, "", 0, e))
        return e->code;
    if (t->count)
        qsort(t->files, t->count, sizeof *t->files, by_path);
    return ERR_NONE;
}

void tree_free(struct tree *t)
{
    for (size_t i = 0; i < t->count; i++)
        free(t->files[i].path);
    free(t->files);
    if (t->root >= 0)
        close(t->root);
    *t = (struct tree){.root = -1};
}

size_t tree_wanted(const struct tree *t)
{
    size_t wanted = 0;
    for (size_t i = 0; i < t->count; i++)
        wanted += !t->files[i].skipped;
    return wanted;
}

/* ---- directories */

static int make_dir(int at, const char *name, mode_t mode, uid_t owner)
{
    if (mkdirat(at, name, mode) != 0)
        return errno == EEXIST ? 0 : -1;
    if (owner != TREE_ANY_OWNER && fchownat(at, name, owner, owner, AT_SYMLINK_NOFOLLOW) != 0)
        return -1;
    return fsync(at);
}

int tree_open_dir(int root, const char *dir, bool make, mode_t mode, uid_t owner,
                  struct error *e)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int at = openat(root, ".", flags);
    if (*dir && !tree_path_valid(dir)) {
        errno = EINVAL;
        close(at);
        at = -1;
    }
    char *copy = mem_strdup(dir), *rest = copy;
    for (char *name; at >= 0 && (name = strsep(&rest, "/")) && *name;) {
        int next = make && make_dir(at, name, mode, owner) != 0 ? -1 : openat(at, name, flags);
        int why = errno;
        close(at);
        errno = why;
        at = next;
    }
    free(copy);
    if (at < 0) {
        int why = errno;
        error_set(e, ERR_INTERNAL, "directory %s: %s", dir, strerror(why));
        errno = why;
    }
    return at;
}
