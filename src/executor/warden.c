#include "executor/warden.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "executor/enter.h"
#include "executor/process.h"
#include "loop/child.h"

#define SWEEP_FIRST_US 2000
#define SWEEP_MAX_US 500000
#define PATIENCE_US 5000000 /* then the executor, who tells the answer, does the rest */

/* All signals are blocked; whose parent died gets one. */
static bool await_end(pid_t program, pid_t parent, int *status)
{
    sigset_t all;
    sigfillset(&all);
    for (;;) {
        int one;
        for (pid_t pid; (pid = waitpid(-1, &one, WNOHANG)) > 0;)
            if (pid == program) {
                *status = one;
                return true;
            }
        if (getppid() != parent)
            return false;
        sigwaitinfo(&all, NULL);
    }
}

/* A process that cannot be ended now, in the middle of a transfer for instance, is waited for.
 */
static void end_rest(uid_t own_user, bool for_ever)
{
    useconds_t pause = SWEEP_FIRST_US, waited = 0;
    while (!process_sweep(NULL, 0, own_user) && (for_ever || waited < PATIENCE_US)) {
        usleep(pause);
        waited += pause;
        pause = 2 * pause < SWEEP_MAX_US ? 2 * pause : SWEEP_MAX_US;
    }
}

static _Noreturn void leave_as(int status)
{
    if (WIFSIGNALED(status)) {
        struct rlimit no_core = {0, 0};
        sigset_t none;
        setrlimit(RLIMIT_CORE, &no_core);
        signal(WTERMSIG(status), SIG_DFL);
        sigemptyset(&none);
        kill(getpid(), WTERMSIG(status));
        sigprocmask(SIG_SETMASK, &none, NULL);
    }
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : ENTER_FAILED);
}

static _Noreturn void watch(pid_t program, pid_t parent, uid_t own_user)
{
    int status = 0, nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) /* they are the program's */
        if (nothing < 0 || dup2(nothing, fd) < 0)
            close(fd);
    prctl(PR_SET_NAME, "cleat-warden");
    prctl(PR_SET_DUMPABLE, 0); /* without root the program has our uid */
    if (await_end(program, parent, &status))
        end_rest(own_user, false);
    if (getppid() != parent) /* also meanwhile: nobody else does it then */
        end_rest(own_user, true);
    leave_as(status);
}

int warden_stand(pid_t parent, uid_t own_user)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    fcntl(CHILD_LOCK_FD, F_SETFD, FD_CLOEXEC); /* not the program's, where we have it */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(ENTER_FAILED);
    pid_t program = fork();
    if (program > 0)
        watch(program, parent, own_user);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return program < 0 ? -1 : 0;
}
