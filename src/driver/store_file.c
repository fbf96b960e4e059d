#include "driver/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include "base/mem.h"
#include "loop/child.h"

static bool fail(const struct store_file *f, struct error *e, const char *why)
{
    error_set(e, ERR_STORE, "%s: %s", f->path, why);
    return false;
}

static bool is_network(const struct statfs *fs)
{
    switch ((uint32_t)fs->f_type) {
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case CIFS_SUPER_MAGIC:
    case SMB2_SUPER_MAGIC:
    case CEPH_SUPER_MAGIC:
    case AFS_SUPER_MAGIC:
    case AFS_FS_MAGIC:
    case CODA_SUPER_MAGIC:
    case NCP_SUPER_MAGIC:
    case V9FS_MAGIC:
        return true;
    default:
        return false;
    }
}

static bool make_parent(struct store_file *f, struct error *e)
{
    const char *slash = strrchr(f->path, '/');
    if (!slash || slash == f->path)
        return true;
    char *parent = mem_strndup(f->path, (size_t)(slash - f->path));
    struct error why;
    bool ok = dir_make(parent, 0700, &why) == ERR_NONE;
    if (!ok)
        error_set(e, ERR_STORE, "%s", why.message);
    free(parent);
    return ok;
}

static bool take_lock(struct store_file *f, struct error *e)
{
    char *path = mem_printf("%s.lock", f->path);
    f->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    free(path);
    if (f->lock_fd >= 0 && flock(f->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    return fail(f, e,
                errno == EWOULDBLOCK ? "in use by another process (a second cleatd?)"
                                     : strerror(errno));
}

/* SQLite would create the file by the umask; its -wal and -shm take the mode of the file. */
static bool make_file(struct store_file *f, struct error *e)
{
    int fd = open(f->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(f, e, strerror(errno));
    struct statfs fs;
    struct stat st;
    bool ok = fstatfs(fd, &fs) == 0 && fchmod(fd, 0600) == 0 && fstat(fd, &st) == 0;
    if (!ok)
        fail(f, e, strerror(errno));
    else if (is_network(&fs))
        ok = fail(f, e, "is on a network file system, whose locks cannot be relied upon");
    if (ok) {
        f->device = st.st_dev;
        f->inode = st.st_ino;
    }
    close(fd);
    return ok;
}

bool store_file_open(struct store_file *f, const char *path, struct error *e)
{
    *f = (struct store_file){
        .path = mem_strdup(path), .log = mem_printf("%s-wal", path), .lock_fd = -1};
    return make_parent(f, e) && take_lock(f, e) && make_file(f, e);
}

void store_file_close(struct store_file *f)
{
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    free(f->path);
    free(f->log);
}

const char *store_file_lost(const struct store_file *f)
{
    struct stat st;
    if (stat(f->path, &st) != 0)
        return errno == ENOENT ? "the file was removed" : strerror(errno);
    if (st.st_dev != f->device || st.st_ino != f->inode)
        return "the file was replaced by another one";
    if (stat(f->log, &st) != 0)
        return "its -wal file was removed";
    return NULL;
}
