#include "executor/lease_clean.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/lease_wipe.h"
#include "executor/process.h"
#include "loop/child.h"

#define END_MS 20000 /* for all processes to be gone */
#define ROUND_US 5000

/* ---- processes */

/* Keys outlive processes (keyrings(7)): those of the user's own keyrings. */
static void clear_keyrings(void)
{
    syscall(SYS_keyctl, KEYCTL_CLEAR, KEY_SPEC_USER_KEYRING);
    syscall(SYS_keyctl, KEYCTL_CLEAR, KEY_SPEC_USER_SESSION_KEYRING);
    long lasting = syscall(SYS_keyctl, KEYCTL_GET_PERSISTENT, -1, KEY_SPEC_PROCESS_KEYRING);
    if (lasting > 0)
        syscall(SYS_keyctl, KEYCTL_CLEAR, lasting);
}

static bool carries(const char *pid, uid_t user)
{
    char path[64];
    unsigned real, effective, saved;
    bool found = false;
    if (snprintf(path, sizeof path, "/proc/%.20s/status", pid) < 0)
        return false;
    char *text = file_read(path, 65536), *line = text ? strstr(text, "\nUid:") : NULL;
    if (line && sscanf(line, "\nUid: %u %u %u", &real, &effective, &saved) == 3)
        found = real == user || effective == user || saved == user;
    bool is_zombie = text && strstr(text, "\nState:\tZ");
    free(text);
    return found && !is_zombie;
}

/* Those that a life before left as well, which are no children of ours. */
static bool kill_all_of(uid_t user)
{
    bool found = false;
    process_kill_user(user, clear_keyrings);
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            carries(entry->d_name, user)) {
            found = true;
            kill((pid_t)strtol(entry->d_name, NULL, 10), SIGKILL);
        }
    if (dir)
        closedir(dir);
    return !found;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static enum error_code end_processes(const struct config *c, struct error *e)
{
    int64_t until = now_ms() + END_MS;
    uid_t user = config_own_user(c);
    for (;;) {
        bool gone = process_sweep(NULL, 0, 0);
        gone = (user == 0 || kill_all_of(user)) && gone;
        if (gone)
            return ERR_NONE;
        if (now_ms() >= until)
            return error_set(e, ERR_INTERNAL, "processes of the last session cannot be ended");
        usleep(ROUND_US);
    }
}

/* ---- files */

static unsigned count_entries(int dir)
{
    unsigned count = 0;
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = copy < 0 ? NULL : fdopendir(copy);
    while (list && readdir(list))
        count++;
    if (list)
        closedir(list);
    return count < 2 ? 0 : count - 2; /* "." and ".." */
}

/* The key of a lease, as a crash left it; free(). */
static char *holder_name(const struct config *c)
{
    char *path = mem_printf("%s/holder", c->host_dir), *name = file_read(path, 128);
    size_t len = name ? strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789._-")
                      : 0;
    if (len == 0 || name[len] || *name == '.') {
        free(name);
        name = mem_strdup("unknown");
    }
    free(path);
    return name;
}

static enum error_code move_aside(const struct config *c, int host, int salvage,
                                  struct error *e)
{
    char *name = holder_name(c), to[160];
    if (count_entries(salvage) >= SALVAGE_MAX)
        error_set(e, ERR_FULL, "%.150s/salvage holds the files of %d leases: take them away",
                  c->host_dir, SALVAGE_MAX);
    struct stat st;
    snprintf(to, sizeof to, "%s", name);
    for (unsigned n = 2; fstatat(salvage, to, &st, AT_SYMLINK_NOFOLLOW) == 0; n++)
        snprintf(to, sizeof to, "%s.%u", name, n);
    if (!e->code && renameat(host, "lease", salvage, to) != 0)
        error_set(e, ERR_INTERNAL, "salvage/%.100s: %s", to, strerror(errno));
    if (!e->code)
        log_warn("lease.salvaged", KV("lease", name), KV("directory", c->host_dir));
    free(name);
    return e->code;
}

static enum error_code keep_files(const struct config *c, int host, struct error *e)
{
    if (!wipe_finds_file(host, "lease"))
        return ERR_NONE;
    if (mkdirat(host, "salvage", 0700) != 0 && errno != EEXIST)
        return error_set(e, ERR_INTERNAL, "salvage: %s", strerror(errno));
    int salvage = openat(host, "salvage", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (salvage < 0 || fchmod(salvage, 0700) != 0)
        error_set(e, ERR_INTERNAL, "salvage: %s", strerror(errno));
    else
        move_aside(c, host, salvage, e);
    if (salvage >= 0)
        close(salvage);
    return e->code;
}

enum error_code lease_clean(const struct config *c, enum lease_end end, struct error *e)
{
    *e = (struct error){0};
    int host = open(c->host_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (host < 0)
        return error_set(e, ERR_INTERNAL, "%.160s: %s", c->host_dir, strerror(errno));
    bool keep = end == LEASE_ENDED_UNKNOWN || end == LEASE_ENDED_KEEP;
    if (!end_processes(c, e) && !(keep && keep_files(c, host, e)) &&
        !wipe_tree(host, "lease", e) && config_own_user(c) != 0)
        wipe_shared(config_own_user(c), e);
    if (!e->code && unlinkat(host, "holder", 0) != 0 && errno != ENOENT)
        error_set(e, ERR_INTERNAL, "holder: %s", strerror(errno));
    close(host);
    return e->code;
}
