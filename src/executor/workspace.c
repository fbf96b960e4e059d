#include "executor/workspace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/tree.h"
#include "loop/child.h"
#include "loop/lock.h"

static enum error_code make(const struct config *c, const char *name, mode_t mode,
                            struct error *e)
{
    char *path = mem_printf("%s/%s", c->workspace, name);
    enum error_code code = dir_make(path, mode, e);
    free(path);
    return code;
}

/* Follows no link: a directory of the user's may have been there before us. */
static enum error_code give(const struct config *c, const char *name, mode_t mode,
                            struct error *e)
{
    int root = open(c->workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uid_t user = config_user(c);
    int fd = root < 0 ? -1 : tree_open_dir(root, name, true, mode, TREE_ANY_OWNER, e);
    if (fd >= 0 && geteuid() == 0 && fchown(fd, user, user) != 0)
        error_set(e, ERR_INTERNAL, "%s: %s", name, strerror(errno));
    else if (root < 0)
        error_set(e, ERR_INTERNAL, "%.160s: %s", c->workspace, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (root >= 0)
        close(root);
    return e->code;
}

/* Whoever started us may have died before our pid was written down. */
static enum error_code claim_lock(struct config *c, struct error *e)
{
    char *path = mem_printf("%s/lock", c->workspace);
    c->lock_fd = lock_inherited(path);
    enum error_code code = lock_claim(path, e);
    free(path);
    return code;
}

enum error_code workspace_prepare(struct config *c, struct error *e)
{
    static const char *const homes[] = {"home", "home/artifacts", "home/data", "home/input"};
    if (dir_make(c->workspace, 0700, e) || claim_lock(c, e) || make(c, "debug", 0700, e) ||
        make(c, "debug/executions", 0700, e))
        return e->code;
    for (size_t i = 0; i < sizeof homes / sizeof *homes; i++)
        if (give(c, homes[i], i == 0 ? 0700 : 0755, e))
            return e->code;
    return ERR_NONE;
}

void workspace_note_end(const struct config *c, int status)
{
    char *path = mem_printf("%s/ended", c->workspace), *text = mem_printf("%d\n", status);
    struct error e;
    if (c->lock_fd >= 0 && file_replace(path, text, &e))
        log_error("end.not_noted", KV("error", e.message));
    free(text);
    free(path);
}

static enum error_code let_through(const char *path, struct error *e)
{
    return chmod(path, 0711) == 0
               ? ERR_NONE
               : error_set(e, ERR_INTERNAL, "%.160s: %s", path, strerror(errno));
}

enum error_code workspace_open(const struct config *c, struct error *e)
{
    if (config_user(c) == geteuid() || c->sandbox != SANDBOX_NONE)
        return ERR_NONE; /* bubblewrap binds the home, nobody passes through */
    char *debug = mem_printf("%s/debug", c->workspace);
    if (!let_through(c->workspace, e) && !let_through(debug, e))
        let_through(c->executions, e);
    free(debug);
    return e->code;
}
