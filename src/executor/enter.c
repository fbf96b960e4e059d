#include "executor/enter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/bwrap.h"
#include "executor/warden.h"

enum {
    ARG_PARENT = 2,
    ARG_SANDBOX,
    ARG_NETWORK,
    ARG_USER,
    ARG_OWN_USER,
    ARG_MEMORY,
    ARG_CPU,
    ARG_FILES,
    ARG_SIZE,
    ARG_PROCESSES,
    ARG_HOME,
    ARG_CODE,
    ARG_CODE_NAME,
    ARG_PROGRAM
};

char **enter_command(const struct enter_spec *s)
{
    size_t count = 0;
    while (s->argv[count])
        count++;
    char **out = mem_array(ARG_PROGRAM + count + 1, sizeof *out);
    out[0] = mem_strdup("/proc/self/exe");
    out[1] = mem_strdup(ENTER_FLAG);
    out[ARG_PARENT] = mem_printf("%d", (int)getpid());
    out[ARG_SANDBOX] = mem_printf("%d", (int)s->sandbox);
    out[ARG_NETWORK] = mem_printf("%d", (int)s->network);
    out[ARG_USER] = mem_printf("%u", s->user);
    out[ARG_OWN_USER] = mem_printf("%u", s->own_user);
    out[ARG_MEMORY] = mem_printf("%" PRId64, s->memory_mb);
    out[ARG_CPU] = mem_printf("%" PRId64, s->cpu_s);
    out[ARG_FILES] = mem_printf("%" PRId64, s->open_files);
    out[ARG_SIZE] = mem_printf("%" PRId64, s->file_size_mb);
    out[ARG_PROCESSES] = mem_printf("%" PRId64, s->processes);
    out[ARG_HOME] = mem_strdup(s->home);
    out[ARG_CODE] = mem_strdup(s->code);
    out[ARG_CODE_NAME] = mem_strdup(s->code_name);
    for (size_t i = 0; i < count; i++)
        out[ARG_PROGRAM + i] = mem_strdup(s->argv[i]);
    return out;
}

void enter_free(char **command)
{
    for (char **s = command; s && *s; s++)
        free(*s);
    free(command);
}

/* ---- the --enter process: prints what is wrong on stderr, which is the execution's */

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "cleat-executor: %s: %s\n", what, strerror(errno));
    _exit(ENTER_FAILED);
}

static int64_t number(const char *text)
{
    return strtoll(text, NULL, 10);
}

static struct enter_spec read_spec(int argc, char **argv)
{
    if (argc <= ARG_PROGRAM) {
        errno = EINVAL;
        fail(ENTER_FLAG);
    }
    return (struct enter_spec){
        .parent = (pid_t)number(argv[ARG_PARENT]),
        .sandbox = (enum sandbox)number(argv[ARG_SANDBOX]),
        .network = (enum network)number(argv[ARG_NETWORK]),
        .user = (uid_t)number(argv[ARG_USER]),
        .own_user = (uid_t)number(argv[ARG_OWN_USER]),
        .memory_mb = number(argv[ARG_MEMORY]),
        .cpu_s = number(argv[ARG_CPU]),
        .open_files = number(argv[ARG_FILES]),
        .file_size_mb = number(argv[ARG_SIZE]),
        .processes = number(argv[ARG_PROCESSES]),
        .home = argv[ARG_HOME],
        .code = argv[ARG_CODE],
        .code_name = argv[ARG_CODE_NAME],
        .argv = argv + ARG_PROGRAM,
    };
}

/* The workspace's root is closed for the user's uid, so bubblewrap must find home under a path
 * that is not: over /tmp of a mount namespace that only we and bubblewrap see. Where that is
 * not allowed (no CAP_SYS_ADMIN) the real path has to do. */
static const char *expose_home(const char *home)
{
    if (unshare(CLONE_NEWNS) != 0)
        return home;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(home, "/tmp", NULL, MS_BIND, NULL) != 0)
        fail("mount");
    return "/tmp";
}

static void limit(__rlimit_resource_t resource, int64_t value, const char *name)
{
    if (value == 0)
        return;
    struct rlimit now, wanted = {.rlim_cur = (rlim_t)value, .rlim_max = (rlim_t)value};
    if (getrlimit(resource, &now) == 0 && now.rlim_max < wanted.rlim_max)
        wanted = (struct rlimit){now.rlim_max, now.rlim_max}; /* already stricter */
    if (setrlimit(resource, &wanted) != 0)
        fail(name);
}

static void set_limits(const struct enter_spec *s)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    limit(RLIMIT_AS, s->memory_mb << 20, "memory limit");
    limit(RLIMIT_CPU, s->cpu_s, "CPU limit");
    limit(RLIMIT_NOFILE, s->open_files, "open files limit");
    limit(RLIMIT_FSIZE, s->file_size_mb << 20, "file size limit");
    limit(RLIMIT_NPROC, s->processes, "process limit");
}

/* A parent that has ended already sends no signal. */
static void die_with(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(ENTER_FAILED);
}

static void become(uid_t user, pid_t parent)
{
    bool change = geteuid() == 0 && user != 0;
    if (change && (setgroups(0, NULL) != 0 || setresgid(user, user, user) != 0 ||
                   setresuid(user, user, user) != 0))
        fail("change of user");
    die_with(parent); /* after the change, which clears it: prctl(2) */
}

/* Moves the prefixed variables to a list of their own and empties environ. */
static char **take_environment(void)
{
    size_t count = 0, skip = strlen(ENTER_PREFIX);
    for (char **s = environ; *s; s++)
        count++;
    char **out = mem_array(count + 1, sizeof *out);
    size_t kept = 0;
    for (char **s = environ; *s; s++)
        if (strncmp(*s, ENTER_PREFIX, skip) == 0)
            out[kept++] = *s + skip;
    clearenv();
    return out;
}

static const char *search_path(char *const *env)
{
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return "/usr/bin:/bin";
}

static _Noreturn void enter_bwrap(const struct enter_spec *s)
{
    int code = -1;
    if (*s->code && (code = open(s->code, O_RDONLY | O_NOFOLLOW)) < 0)
        fail(s->code);
    struct bwrap_spec b = {.network = s->network == NETWORK_HOST,
                           .tmp_mb = s->memory_mb,
                           .home = s->home,
                           .code_fd = code,
                           .code_name = s->code_name,
                           .env = take_environment(),
                           .argv = s->argv};
    if (geteuid() == 0 && s->user != 0)
        b.home = expose_home(s->home);
    char **command = bwrap_command(&b);
    if (!command)
        fail("memfd");
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    become(s->user, s->parent);
    set_limits(s); /* last: the limits are the program's, we may need more */
    execvp(command[0], command);
    fail("bwrap");
}

static _Noreturn void enter_plain(const struct enter_spec *s)
{
    char **env = take_environment();
    if (chdir(s->home) != 0)
        fail(s->home);
    setenv("PATH", search_path(env), 1);
    if (warden_stand(s->parent, s->own_user) != 0)
        fail("fork");
    setsid();
    become(s->user, getppid());
    set_limits(s);
    execvpe(s->argv[0], s->argv, env);
    fail(s->argv[0]);
}

_Noreturn void enter_main(int argc, char **argv)
{
    struct enter_spec s = read_spec(argc, argv);
    umask(022);
    if (s.sandbox == SANDBOX_BWRAP)
        enter_bwrap(&s);
    enter_plain(&s);
}
