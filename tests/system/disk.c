/* For LD_PRELOAD: a disk that is bad, or not ours. What the file named by CLEAT_TEST_DISK says
 * happens to every write of a file whose name has "journal.db" in it: "EIO", "EROFS" or
 * "ENOSPC"; with "nfs" each file system says that it is NFS. Empty or absent: all is well.
 * In the directory CLEAT_TEST_KEPT is what a loss of power would leave of those files: each as
 * it was when it was flushed the last time. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static int says(char *word, size_t size)
{
    const char *path = getenv("CLEAT_TEST_DISK");
    int fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = fd >= 0 ? syscall(SYS_read, fd, word, size - 1) : 0;
    if (fd >= 0)
        syscall(SYS_close, fd);
    word[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* Whether it is one of the journal's. */
static int is_journal(int fd, char *name, size_t size)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, name, size - 1);
    name[len > 0 ? len : 0] = '\0';
    return strstr(name, "journal.db") != NULL;
}

static int error_of(int fd)
{
    char word[16], name[4096];
    if (!says(word, sizeof word) || !is_journal(fd, name, sizeof name))
        return 0;
    return strcmp(word, "EIO") == 0      ? EIO
           : strcmp(word, "EROFS") == 0  ? EROFS
           : strcmp(word, "ENOSPC") == 0 ? ENOSPC
                                         : 0;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    int e = error_of(fd);
    if (e == 0)
        return syscall(SYS_pwrite64, fd, bytes, count, at);
    errno = e;
    return -1;
}

int fstatfs(int fd, struct statfs *out)
{
    char word[16];
    int rc = (int)syscall(SYS_fstatfs, fd, out);
    if (rc == 0 && says(word, sizeof word) && strcmp(word, "nfs") == 0)
        out->f_type = NFS_SUPER_MAGIC;
    return rc;
}

static void copy(int from, int to)
{
    char bytes[65536];
    off64_t at = 0;
    for (ssize_t n; (n = syscall(SYS_pread64, from, bytes, sizeof bytes, at)) > 0; at += n)
        if (syscall(SYS_pwrite64, to, bytes, n, at) != n)
            abort();
}

static void keep(int fd)
{
    const char *kept = getenv("CLEAT_TEST_KEPT");
    char name[4096], path[8192], new[8200];
    if (!kept || !is_journal(fd, name, sizeof name))
        return;
    snprintf(path, sizeof path, "%s/%s", kept, strrchr(name, '/') + 1);
    snprintf(new, sizeof new, "%s.new", path);
    int to = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    copy(fd, to);
    close(to);
    rename(new, path);
}

int fdatasync(int fd)
{
    keep(fd);
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    keep(fd);
    return (int)syscall(SYS_fsync, fd);
}
