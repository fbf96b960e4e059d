#include "executor/lease_wipe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 16 /* of directories that are not the user's */

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static DIR *open_dir(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir && fd >= 0)
        close(fd);
    return dir;
}

/* Its owner may have closed it for himself, and then for us when we are he. */
static DIR *open_any_dir(int at, const char *name)
{
    struct stat st;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        fchmodat(at, name, 0700, 0);
    return open_dir(at, name);
}

/* ---- a tree: what is deep in it is brought to its top, so that no depth is too deep */

/* Under a name that is still free there. */
static bool lift(int from, const char *name, int top, unsigned *number)
{
    char to[32];
    fchmodat(from, name, 0700, 0);
    for (unsigned tries = 0; tries < 1000; tries++) {
        snprintf(to, sizeof to, ".wipe-%u", (*number)++);
        if (renameat(from, name, top, to) == 0)
            return true;
        if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR && errno != EINVAL)
            return false;
    }
    return false;
}

/* True: name, a directory in top, is gone. */
static bool drain(int top, const char *name, unsigned *number)
{
    DIR *dir = open_any_dir(top, name);
    if (!dir)
        return false;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (!is_dots(entry->d_name) && unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            lift(dirfd(dir), entry->d_name, top, number);
    closedir(dir);
    return unlinkat(top, name, AT_REMOVEDIR) == 0;
}

/* One round over what lies in top. False: nothing was there, or nothing could be removed. */
static bool sweep(int top, unsigned *number)
{
    bool progress = false;
    DIR *dir = open_dir(top, ".");
    if (!dir)
        return false;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (!is_dots(entry->d_name) &&
            (unlinkat(top, entry->d_name, 0) == 0 || drain(top, entry->d_name, number)))
            progress = true;
    closedir(dir);
    return progress;
}

enum error_code wipe_tree(int at, const char *name, struct error *e)
{
    unsigned number = 0;
    DIR *dir = open_any_dir(at, name);
    if (!dir && errno == ENOENT)
        return ERR_NONE;
    while (dir && sweep(dirfd(dir), &number))
        continue;
    if (dir)
        closedir(dir);
    return unlinkat(at, name, AT_REMOVEDIR) == 0
               ? ERR_NONE
               : error_set(e, ERR_INTERNAL, "%.100s cannot be wiped: %s", name,
                           strerror(errno));
}

static bool finds_file(int at, const char *name, int depth)
{
    bool found = depth == 0;
    DIR *dir = found ? NULL : open_any_dir(at, name);
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        struct stat st;
        if (is_dots(entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        found = !S_ISDIR(st.st_mode) || finds_file(dirfd(dir), entry->d_name, depth - 1);
    }
    if (dir)
        closedir(dir);
    return found;
}

bool wipe_finds_file(int at, const char *name)
{
    return finds_file(at, name, DEPTH_MAX);
}

/* ---- what everybody may write to */

static void remove_of_user(int at, const char *name, uid_t user, int depth, struct error *e);

static void look_into(DIR *dir, uid_t user, int depth, struct error *e)
{
    for (struct dirent *entry; (entry = readdir(dir));)
        if (!is_dots(entry->d_name))
            remove_of_user(dirfd(dir), entry->d_name, user, depth, e);
}

static void remove_of_user(int at, const char *name, uid_t user, int depth, struct error *e)
{
    struct stat st;
    if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    bool is_dir = S_ISDIR(st.st_mode), is_open = st.st_mode & S_IWOTH;
    if (st.st_uid == user && is_dir) {
        wipe_tree(at, name, e);
    } else if (st.st_uid == user) {
        if (unlinkat(at, name, 0) != 0)
            error_set(e, ERR_INTERNAL, "%.100s cannot be removed: %s", name, strerror(errno));
    } else if (is_dir && is_open && depth > 0) {
        DIR *dir = open_dir(at, name);
        if (dir) {
            look_into(dir, user, depth - 1, e);
            closedir(dir);
        }
    }
}

/* proc_sysvipc(5): a line of titles, then numbers; id is the second column. */
static void remove_ipc(const char *path, int owner, uid_t user, int (*end)(int id))
{
    char line[512];
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file)) {
        unsigned long column[16] = {0};
        char *rest = line;
        for (size_t i = 0; i < 16 && *rest; i++)
            column[i] = strtoul(rest, &rest, 10);
        if (column[owner] == user || column[owner + 2] == user) /* or its maker */
            end((int)column[1]);
    }
    if (file)
        fclose(file);
}

static int end_shm(int id)
{
    return shmctl(id, IPC_RMID, NULL);
}

static int end_msg(int id)
{
    return msgctl(id, IPC_RMID, NULL);
}

static int end_sem(int id)
{
    return semctl(id, 0, IPC_RMID);
}

enum error_code wipe_shared(uid_t user, struct error *e)
{
    static const char *const open_to_all[] = {"/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue",
                                              "/run/lock"};
    for (size_t i = 0; i < sizeof open_to_all / sizeof *open_to_all; i++) {
        DIR *dir = open_dir(AT_FDCWD, open_to_all[i]);
        if (dir) {
            look_into(dir, user, DEPTH_MAX, e);
            closedir(dir);
        }
    }
    remove_ipc("/proc/sysvipc/shm", 7, user, end_shm);
    remove_ipc("/proc/sysvipc/msg", 7, user, end_msg);
    remove_ipc("/proc/sysvipc/sem", 4, user, end_sem);
    return e->code;
}
