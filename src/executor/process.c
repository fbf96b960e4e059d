#include "executor/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/mem.h"

struct processes {
    struct process *all;
    size_t count;
};

bool process_parse(const char *stat, struct process *out)
{
    const char *after = strrchr(stat, ')');
    char state;
    int pid, parent;
    if (!after || sscanf(stat, "%d (", &pid) != 1 ||
        sscanf(after, ") %c %d", &state, &parent) != 2)
        return false;
    *out =
        (struct process){.pid = pid, .parent = parent, .zombie = state == 'Z' || state == 'X'};
    return true;
}

static bool read_stat(int proc, const char *pid, struct process *out)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "%s/stat", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len <= 0)
        return false;
    text[len] = '\0';
    return process_parse(text, out);
}

static void read_all(struct processes *list)
{
    *list = (struct processes){0};
    DIR *dir = opendir("/proc");
    if (!dir)
        return;
    size_t room = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (list->count == room) {
            room = room ? 2 * room : 256;
            list->all = mem_grow(list->all, room * sizeof *list->all);
        }
        if (read_stat(dirfd(dir), entry->d_name, &list->all[list->count]))
            list->count++;
    }
    closedir(dir);
}

static bool contains(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

static bool below(const struct processes *list, pid_t root, pid_t parent)
{
    if (parent == root)
        return true;
    for (size_t i = 0; i < list->count; i++)
        if (list->all[i].pid == parent)
            return list->all[i].marked;
    return false;
}

/* Every process that /proc shows; those below root (root itself not) are marked, except skip
 * and what is below it (0: none). */
static void scan(struct processes *list, pid_t root, const pid_t *skip, size_t skips)
{
    read_all(list);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < list->count; i++) {
            struct process *p = &list->all[i];
            if (p->marked || contains(skip, skips, p->pid) || !below(list, root, p->parent))
                continue;
            p->marked = true;
            more = true;
        }
    }
}

static void release(struct processes *list)
{
    free(list->all);
    *list = (struct processes){0};
}

static bool has_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

void process_kill_user(uid_t user, void (*also)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        if (setgroups(0, NULL) == 0 && setresgid(user, user, user) == 0 &&
            setresuid(user, user, user) == 0) {
            kill(-1, SIGKILL);
            if (also)
                also();
        }
        _exit(0);
    }
    for (int status; pid > 0;) {
        pid_t changed = waitpid(pid, &status, WUNTRACED);
        if (changed == pid && WIFSTOPPED(status))
            kill(pid, SIGCONT); /* those that it was to end may signal it as well */
        else if (changed == pid || errno != EINTR)
            return;
    }
}

bool process_sweep(const pid_t *keep, size_t keeps, uid_t own_user)
{
    if (!has_children())
        return true;
    struct processes list;
    pid_t self = getpid();
    bool found = false;
    scan(&list, self, keep, keeps);
    for (size_t i = 0; i < list.count; i++) {
        struct process *p = &list.all[i];
        if (!p->marked)
            continue;
        found = true;
        if (!p->zombie)
            kill(p->pid, SIGKILL);
        if (p->parent == self)
            waitpid(p->pid, NULL, WNOHANG);
    }
    release(&list);
    if (found && own_user != 0)
        process_kill_user(own_user, NULL);
    return keeps > 0 ? !found : !has_children();
}

static pid_t parent_of(const struct processes *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->all[i].pid == pid)
            return list->all[i].parent;
    return 0;
}

bool process_signal(pid_t pid, int signo, bool spare_init)
{
    struct processes list;
    bool found = false;
    scan(&list, pid, NULL, 0);
    for (size_t i = 0; i < list.count; i++) {
        struct process *p = &list.all[i];
        bool spared = spare_init && parent_of(&list, p->pid) == pid;
        if (p->marked && !p->zombie && !spared && kill(p->pid, signo) == 0)
            found = true;
    }
    release(&list);
    if (!spare_init && kill(pid, signo) == 0)
        found = true;
    return found;
}
