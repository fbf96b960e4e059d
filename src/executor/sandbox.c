#include "executor/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "executor/enter.h"
#include "executor/workspace.h"

#define TRIAL_MS 10000

/* Ends the trial when it hangs. */
static int await(pid_t pid)
{
    int status = -1;
    int fd = pidfd_open(pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (fd < 0 || poll(&p, 1, TRIAL_MS) != 1)
        kill(pid, SIGKILL);
    if (fd >= 0)
        close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

static void read_complaint(int fd, char *out, size_t size)
{
    ssize_t n = read(fd, out, size - 1);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    if (!*out)
        snprintf(out, size, "no reason given");
}

static int spawn_trial(char **command, int complaint, pid_t *pid)
{
    char *empty[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, complaint, 2);
    int rc = posix_spawn(pid, command[0], &actions, NULL, command, empty);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Enters the sandbox as an execution will, to see whether its home is there and writable. */
static enum error_code try_sandbox(const struct config *c, struct error *e)
{
    char test[] = "/usr/bin/test", flag[] = "-w", inside[] = ENTER_HOME;
    char *argv[] = {test, flag, c->sandbox == SANDBOX_BWRAP ? inside : c->home, NULL};
    struct enter_spec spec = {.sandbox = (enum sandbox)c->sandbox,
                              .network = (enum network)c->network,
                              .user = config_user(c),
                              .home = c->home,
                              .code = "",
                              .code_name = "",
                              .argv = argv};
    int ends[2];
    pid_t pid;
    char complaint[160];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(e, ERR_CONFIG, "pipe: %s", strerror(errno));
    char **command = enter_command(&spec);
    int rc = spawn_trial(command, ends[1], &pid);
    enter_free(command);
    close(ends[1]);
    if (rc != 0)
        error_set(e, ERR_CONFIG, "%s", strerror(rc));
    else if (await(pid) != 0) {
        read_complaint(ends[0], complaint, sizeof complaint);
        error_set(e, ERR_CONFIG, "%s", complaint);
    }
    close(ends[0]);
    return e->code;
}

static enum error_code try_as(struct config *c, enum sandbox sandbox, struct error *e)
{
    c->sandbox = (int)sandbox;
    *e = (struct error){0};
    return workspace_open(c, e) ? e->code : try_sandbox(c, e);
}

enum error_code sandbox_settle(struct config *c, struct error *e)
{
    struct error why;
    bool automatic = c->sandbox == SANDBOX_AUTO;
    if (c->sandbox != SANDBOX_NONE) {
        if (try_as(c, SANDBOX_BWRAP, &why) == ERR_NONE)
            return ERR_NONE;
        if (!automatic)
            return error_set(e, ERR_CONFIG, "CLEAT_SANDBOX=bwrap does not work here: %s",
                             why.message);
    }
    if (try_as(c, SANDBOX_NONE, &why))
        return error_set(e, ERR_CONFIG, "uid %u cannot use %.100s: %.100s", config_user(c),
                         c->home, why.message);
    log_warn("sandbox.none", KV("effect", "user code is not isolated"));
    return ERR_NONE;
}
