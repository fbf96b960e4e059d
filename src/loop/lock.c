#include "loop/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "loop/child.h"

static int refuse(int fd, const char *path, struct error *e)
{
    enum error_code code =
        errno == EWOULDBLOCK ? ERR_CONFLICT : error_of_errno(errno, ERR_LAUNCH);
    error_set(e, code, "%s: %s", path,
              code == ERR_CONFLICT ? "locked by a live process" : strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int lock_take(const char *path, struct error *e)
{
    int low = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (low < 0)
        return refuse(-1, path, e);
    /* out of the way of the descriptors that the child gets */
    int fd = fcntl(low, F_DUPFD_CLOEXEC, CHILD_LOCK_FD + 1);
    close(low);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || truncate(path, 0) != 0)
        return refuse(fd, path, e);
    return fd;
}

static unsigned long long start_time(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char *text = file_read(path, 4096);
    /* the name in field 2 may hold anything, a parenthesis too */
    char *rest = text ? strrchr(text, ')') : NULL;
    for (int field = 2; rest && field < 22; field++) {
        rest = strchr(rest, ' ');
        rest = rest ? rest + 1 : NULL;
    }
    unsigned long long start = rest ? strtoull(rest, NULL, 10) : 0;
    free(text);
    return start;
}

enum error_code lock_write(const char *path, pid_t pid, struct error *e)
{
    char line[64];
    int len = snprintf(line, sizeof line, "%d %llu\n", (int)pid, start_time(pid));
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t written = fd >= 0 ? write(fd, line, (size_t)len) : -1;
    enum error_code code = ERR_NONE;
    if (written != len)
        code = error_set(e, error_of_errno(errno, ERR_LAUNCH), "%s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return code;
}

static bool leads_to(const char *path, const struct stat *lock)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_dev == lock->st_dev && st.st_ino == lock->st_ino;
}

int lock_inherited(const char *path)
{
    struct stat lock;
    return fstat(CHILD_LOCK_FD, &lock) == 0 && leads_to(path, &lock) ? CHILD_LOCK_FD : -1;
}

enum error_code lock_claim(const char *path, struct error *e)
{
    struct stat lock;
    if (lock_inherited(path) < 0 || fstat(CHILD_LOCK_FD, &lock) != 0 || lock.st_size > 0)
        return ERR_NONE;
    return lock_write(path, getpid(), e);
}

bool lock_held(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) /* without a descriptor to spare, open(2) does not even look */
        return access(path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR);
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0;
    close(fd);
    return held;
}

struct lock_owner lock_read(const char *path)
{
    struct lock_owner owner = {0};
    char *text = file_read(path, 64);
    int pid, end = 0;
    unsigned long long start;
    if (text && sscanf(text, "%d %llu%n", &pid, &start, &end) == 2 && text[end] == '\n' &&
        pid > 1)
        owner = (struct lock_owner){.pid = pid, .start = start};
    free(text);
    return owner;
}

bool process_is(const struct lock_owner *owner)
{
    return owner->pid > 1 && start_time(owner->pid) == owner->start;
}

/* ---- the holder of a lock whose file says nothing */

static bool has_lock(pid_t pid, const struct stat *lock)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, CHILD_LOCK_FD);
    return leads_to(path, lock);
}

/* The child leads its group; its heirs came later and do not. */
static bool precedes(const struct lock_owner *a, const struct lock_owner *b)
{
    bool leads = getpgid(a->pid) == a->pid, other_leads = getpgid(b->pid) == b->pid;
    return leads == other_leads ? a->start < b->start : leads;
}

/* Asked again when the start time is known: it is that of a process that has the lock. */
static void consider(struct lock_owner *best, pid_t pid, const struct stat *lock)
{
    if (pid <= 1 || pid == getpid() || !has_lock(pid, lock))
        return;
    struct lock_owner other = {.pid = pid, .start = start_time(pid)};
    if (has_lock(pid, lock) && (best->pid == 0 || precedes(&other, best)))
        *best = other;
}

struct lock_owner lock_find(const char *path)
{
    struct lock_owner best = {0};
    struct stat lock;
    DIR *processes = stat(path, &lock) == 0 ? opendir("/proc") : NULL;
    if (!processes)
        return best;
    for (struct dirent *entry; (entry = readdir(processes));)
        consider(&best, (pid_t)atoi(entry->d_name), &lock);
    closedir(processes);
    return best;
}
