#include "loop/datafile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"

static enum error_code fail(const char *path, struct error *e)
{
    return error_set(e, ERR_STORE, "%.180s: %s", path, strerror(errno));
}

static int open_for(const char *path, int flags)
{
    return open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
}

static bool write_at(int fd, uint64_t at, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            at += (uint64_t)n;
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

enum error_code datafile_write(const char *path, uint64_t at, const void *data, size_t len,
                               struct error *e)
{
    int fd = open_for(path, O_WRONLY | O_CREAT);
    if (fd < 0)
        return fail(path, e);
    enum error_code code = write_at(fd, at, data, len) ? ERR_NONE : fail(path, e);
    close(fd);
    return code;
}

size_t datafile_read(const char *path, uint64_t at, void *out, size_t size)
{
    size_t got = 0;
    int fd = open_for(path, O_RDONLY);
    while (fd >= 0 && got < size) {
        ssize_t n = pread(fd, (char *)out + got, size - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    return got;
}

int64_t datafile_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

void datafile_cut(const char *path, uint64_t size)
{
    if (truncate(path, (off_t)size) != 0 && errno != ENOENT)
        log_error("datafile.cut", KV("path", path), KV("error", strerror(errno)));
}

enum error_code datafile_sync(const char *path, struct error *e)
{
    int fd = open_for(path, O_RDONLY);
    if (fd < 0)
        return errno == ENOENT ? ERR_NONE : fail(path, e);
    enum error_code code = fdatasync(fd) == 0 ? ERR_NONE : fail(path, e);
    close(fd);
    return code;
}

void datafile_remove(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT)
        log_warn("datafile.remove", KV("path", path), KV("error", strerror(errno)));
}

void datafile_list(const char *directory, datafile_each_fn *each, void *arg)
{
    DIR *dir = opendir(directory);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(arg, entry->d_name);
    closedir(dir);
}
