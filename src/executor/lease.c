#include "executor/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/executor.h"
#include "loop/child.h"

#define ENDED "CLEAT_LEASE_ENDED" /* from one life of the process to the next: END KEY */

static const char *const end_names[] = {"unknown", "wipe", "keep", "in-order"};

/* ---- the beginning */

static void take_ended(struct lease *l)
{
    const char *text = getenv(ENDED);
    for (size_t i = 0; text && i < sizeof end_names / sizeof *end_names; i++) {
        size_t len = strlen(end_names[i]);
        if (strncmp(text, end_names[i], len) != 0 || text[len] != ' ')
            continue;
        l->end = (enum lease_end)i;
        l->ended = mem_strdup(text + len + 1);
        l->in_order = l->end == LEASE_ENDED_IN_ORDER;
    }
    unsetenv(ENDED);
}

/* Two executors would wipe each other's sessions. */
static enum error_code lock_host(const struct config *c, struct lease *l, struct error *e)
{
    char *path = mem_printf("%s/lock", c->host_dir);
    if (dir_make(c->host_dir, 0711, e) == ERR_NONE) {
        l->lock = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (l->lock < 0 || flock(l->lock, LOCK_EX | LOCK_NB) != 0)
            error_set(e, ERR_CONFIG, "%.160s: %s", path,
                      errno == EWOULDBLOCK ? "another executor runs there" : strerror(errno));
        else if (chmod(c->host_dir, 0711) != 0)
            error_set(e, ERR_CONFIG, "%.160s: %s", c->host_dir, strerror(errno));
    }
    free(path);
    return e->code;
}

/* User code inherits our session keyring: each lease gets a new one. No program that it starts
 * gets more rights than it has, so that all it starts can be told by its uid. */
static void confine(void)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
}

enum error_code lease_prepare(struct config *c, struct lease *l, struct error *e)
{
    l->lock = -1;
    if (!config_is_static(c))
        return ERR_NONE;
    take_ended(l);
    l->host_env = json_incref(c->helper_env);
    c->idle_s = c->lifetime_s = 0; /* a lease brings its own */
    confine();
    if (lock_host(c, l, e) || lease_clean(c, l->end, e))
        return e->code;
    l->end = LEASE_ENDED_UNKNOWN;
    return lease_key_read(l->key, c->lease_key_file, e);
}

enum error_code lease_check_sandbox(const struct config *c, struct error *e)
{
    bool own_uid = geteuid() == 0 && config_user(c) != 0;
    if (!config_is_static(c) || c->sandbox == SANDBOX_BWRAP || own_uid)
        return ERR_NONE;
    return error_set(e, ERR_CONFIG,
                     "a static host without bubblewrap needs root and CLEAT_SANDBOX_UID: else "
                     "what user code leaves cannot be told from others'");
}

void lease_release(struct lease *l)
{
    free(l->holder);
    free(l->label);
    free(l->ended);
    json_decref(l->host_env);
    if (l->lock >= 0)
        close(l->lock);
    mem_wipe(l, sizeof *l);
}

/* ---- the end */

static char **next_environment(const struct lease *l)
{
    size_t count = 0;
    const char *name;
    json_t *value;
    while (environ[count])
        count++;
    char **env = mem_array(count + json_object_size(l->host_env) + 2, sizeof *env);
    memcpy(env, environ, count * sizeof *env);
    json_object_foreach (l->host_env, name, value)
        env[count++] = mem_printf("%s=%s", name, json_string_value(value));
    if (l->holder)
        env[count] = mem_printf(ENDED "=%s %s", end_names[l->end], l->holder);
    return env;
}

enum error_code lease_finish(const struct config *c, const struct lease *l, bool last,
                             struct error *e)
{
    char name[] = "cleat-executor", *argv[] = {name, NULL};
    if (last)
        return lease_clean(c, l->end, e);
    execve("/proc/self/exe", argv, next_environment(l));
    return error_set(e, ERR_INTERNAL, "/proc/self/exe: %s", strerror(errno));
}
