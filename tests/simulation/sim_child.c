/* src/loop/child.h: processes are simulated containers, files are kept in memory. */
#include "loop/child.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <uthash.h>
#include "base/mem.h"
#include "books.h"
#include "container.h"
#include "files.h"
#include "sim_maker.h"
#include "sim_stage.h"
#include "trap.h"
#include "world.h"

struct file {
    const char *path, *text;
    struct container *holder; /* of its lock */
    bool removed;
    UT_hash_handle hh; /* iterates in the order of creation */
};

static struct file *files;

/* What cleat holds of a process; the watcher is told of its exit once. */
struct child {
    pid_t pid;
    struct child_watch *watch; /* NULL: it is no container, but one of these */
    struct stage *stage;
    struct maker *maker;
};

struct child_watch {
    struct instance *me;
    struct container *container;
    child_exit_fn *exited; /* NULL: freed */
    void *arg;
    bool adopted;
};

/* ---- files ---- */

void files_begin(void)
{
    HASH_CLEAR(hh, files);
}

static struct file *find_file(const char *path)
{
    struct file *file = NULL;
    HASH_FIND_STR(files, path, file);
    return file && !file->removed ? file : NULL;
}

static struct file *make_file(const char *path)
{
    struct file *file = NULL;
    HASH_FIND_STR(files, path, file);
    if (!file) {
        file = world_alloc(sizeof *file);
        file->path = world_strdup(path);
        HASH_ADD_KEYPTR(hh, files, file->path, strlen(file->path), file);
    }
    file->removed = false;
    return file;
}

void files_put(const char *path, const char *text)
{
    make_file(path)->text = world_strdup(text);
}

const char *files_get(const char *path)
{
    struct file *file = find_file(path);
    return file ? file->text : NULL;
}

void files_lock(const char *path, struct container *holder)
{
    struct file *file = make_file(path);
    file->text = world_printf("%d\n", (int)holder->pid);
    file->holder = holder;
}

static void tell_watcher(void *arg)
{
    struct child_watch *watch = arg;
    child_exit_fn *exited = watch->exited;
    watch->exited = NULL;
    if (!exited)
        return;
    sim_loop_enter(watch->me);
    exited(watch->arg, watch->adopted ? CHILD_STATUS_UNKNOWN : watch->container->exit_status);
}

/* As the executor does, last. */
static void note_end(const struct container *c)
{
    if (!c->plain && WIFEXITED(c->exit_status))
        files_put(world_printf("%s/ended", c->workspace),
                  world_printf("%d\n", WEXITSTATUS(c->exit_status)));
}

void files_unlock(struct container *holder)
{
    struct file *file, *next;
    bool held = false;
    HASH_ITER (hh, files, file, next)
        if (file->holder == holder) {
            held = true;
            file->holder = NULL;
        }
    if (held)
        note_end(holder);
    if (holder->watch)
        world_at(1, tell_watcher, holder->watch);
    holder->watch = NULL;
}

bool files_under(const char *directory)
{
    size_t len = strlen(directory);
    struct file *file, *next;
    HASH_ITER (hh, files, file, next)
        if (!file->removed && strncmp(file->path, directory, len) == 0 &&
            file->path[len] == '/')
            return true;
    return false;
}

enum error_code dir_make(const char *path, mode_t mode, struct error *e)
{
    (void)path, (void)mode;
    if (world_fault(world.faults.file_fails))
        return error_set(e, ERR_INTERNAL, "%s: no space left on device", path);
    return ERR_NONE;
}

void dir_list_locked(const char *root, dir_each_fn *each, void *arg)
{
    static const char lock[] = "/lock";
    size_t root_len = strlen(root), lock_len = strlen(lock);
    struct file *file, *next;
    HASH_ITER (hh, files, file, next) {
        size_t len = strlen(file->path);
        const char *name = file->path + root_len + 1;
        if (file->removed || len <= root_len + 1 + lock_len || file->path[root_len] != '/' ||
            strncmp(file->path, root, root_len) != 0 ||
            strcmp(file->path + len - lock_len, lock) != 0 ||
            world.sabotage == SABOTAGE_BLIND_LISTING)
            continue;
        char *copy = mem_strndup(name, len - root_len - 1 - lock_len);
        if (!strchr(copy, '/'))
            each(arg, copy, file->holder != NULL);
        free(copy);
    }
}

enum error_code file_replace(const char *path, const char *text, struct error *e)
{
    world_point("before a file is written");
    if (world.frozen)
        return ERR_NONE;
    if (world_fault(world.faults.file_fails))
        return error_set(e, ERR_INTERNAL, "%s: no space left on device", path);
    files_put(path, text);
    world_point("after a file was written");
    return ERR_NONE;
}

enum error_code file_write(const char *path, const char *text, struct error *e)
{
    return file_replace(path, text, e);
}

bool file_exists(const char *path)
{
    return files_get(path) != NULL;
}

char *file_read(const char *path, size_t max)
{
    const char *text = files_get(path);
    if (!text || strlen(text) > max)
        return NULL;
    books_file_read(path);
    return mem_strdup(text);
}

char *file_read_private(const char *path, size_t max, struct error *e)
{
    char *text = file_read(path, max);
    if (!text)
        error_set(e, ERR_CONFIG, "%.200s is not there", path);
    return text;
}

struct removal {
    struct instance *me;
    const char *path;
    bool fails;
    struct loop *loop;
    unsigned life;
    void (*done)(void *arg, const struct error *);
    void *arg;
};

static void remove_tree(const char *path)
{
    size_t len = strlen(path);
    struct file *file, *next;
    HASH_ITER (hh, files, file, next)
        if (strncmp(file->path, path, len) == 0 && file->path[len] == '/' && !file->holder)
            file->removed = true;
}

static void removal_due(void *arg)
{
    struct removal *r = arg;
    struct error e = {0};
    if (r->fails)
        error_set(&e, ERR_INTERNAL, "%s: input/output error", r->path);
    if (r->life != r->me->life || !r->me->loop)
        return;
    world_point("before a directory is known to be removed");
    if (world.frozen)
        return;
    sim_loop_enter(r->me);
    r->done(r->arg, e.code == ERR_NONE ? NULL : &e);
}

void dir_remove(struct loop *loop, const char *path,
                void (*done)(void *arg, const struct error *), void *arg)
{
    world_point("before a directory is removed");
    if (world.frozen)
        return;
    struct removal *r = world_alloc(sizeof *r);
    *r = (struct removal){.path = world_strdup(path), .loop = loop, .done = done, .arg = arg};
    r->me = world.me;
    r->life = world.me->life;
    r->fails = world_fault(world.faults.remove_fails);
    if (!r->fails)
        remove_tree(path);
    world_at(world_pick(1, 20), removal_due, r);
}

/* What is aside is in nobody's way here. */
void dir_remove_rest(struct loop *loop, const char *root)
{
    (void)loop;
    (void)root;
}

/* ---- processes ---- */

static const char *environment(const struct child_spec *spec, const char *name)
{
    size_t len = strlen(name);
    for (const char *const *entry = spec->envp; entry && *entry; entry++)
        if (strncmp(*entry, name, len) == 0 && (*entry)[len] == '=')
            return *entry + len + 1;
    return NULL;
}

static struct child *watch_container(struct container *c, child_exit_fn *exited, void *arg,
                                     bool adopted)
{
    struct child *child = mem_alloc(sizeof *child);
    child->pid = c->pid;
    child->watch = world_alloc(sizeof *child->watch);
    *child->watch = (struct child_watch){world.me, c, exited, arg, adopted};
    c->watch = child->watch;
    return child;
}

static const char *listen_address(const struct child_spec *spec)
{
    const char *address = environment(spec, "CLEAT_LISTEN");
    if (world.sabotage == SABOTAGE_SAME_ADDRESS && containers)
        return containers->address;
    return address;
}

static struct child *start_stage(const struct child_spec *spec, child_exit_fn *exited,
                                 void *arg)
{
    struct child *child = mem_alloc(sizeof *child);
    child->stage = stage_start(spec, exited, arg);
    return child;
}

static struct child *start_maker(const struct child_spec *spec, child_exit_fn *exited,
                                 void *arg)
{
    struct child *child = mem_alloc(sizeof *child);
    child->maker = maker_start(spec, exited, arg);
    return child;
}

struct child *child_spawn(struct loop *loop, const struct child_spec *spec,
                          child_exit_fn *exited, void *arg, struct error *e)
{
    (void)loop;
    struct launch_order order = {.session = environment(spec, "SESSION_ID"),
                                 .attempt = environment(spec, "CLEAT_ATTEMPT"),
                                 .secret = environment(spec, "CLEAT_SECRET"),
                                 .listen = listen_address(spec),
                                 .workspace = environment(spec, "CLEAT_WORKSPACE")};
    world_point("before a process is started");
    if (world.frozen || world_fault(world.faults.spawn_fails)) {
        error_set(e, ERR_LAUNCH, "out of processes");
        return NULL;
    }
    if (stage_is_asked_for(spec))
        return start_stage(spec, exited, arg);
    if (maker_is_asked_for(spec))
        return start_maker(spec, exited, arg);
    if (!order.session || !order.attempt || !order.secret || !order.listen ||
        !order.workspace || !spec->lock_path) {
        world_violate("SIM", "a child without identity, address, workspace or lock");
        error_set(e, ERR_INTERNAL, "not a container");
        return NULL;
    }
    const char *slash = strrchr(order.workspace, '/');
    order.key = slash ? slash + 1 : order.workspace;
    struct file *lock = find_file(spec->lock_path);
    if (lock && lock->holder) {
        error_set(e, ERR_CONFLICT, "%s is locked", spec->lock_path);
        return NULL;
    }
    struct container *c = container_start(&order);
    files_lock(spec->lock_path, c);
    world_point("after a process was started");
    return watch_container(c, exited, arg, false);
}

struct child *child_adopt(struct loop *loop, const char *lock_path, child_exit_fn *exited,
                          void *arg)
{
    (void)loop;
    struct file *lock = find_file(lock_path);
    if (!lock || !lock->holder)
        return NULL;
    return watch_container(lock->holder, exited, arg, true);
}

pid_t child_pid(const struct child *child)
{
    return child->pid;
}

void child_kill(struct child *child, int signo, bool whole_group)
{
    (void)whole_group;
    world_point("before a signal");
    if (world.frozen)
        return;
    if (child->stage) {
        stage_kill(child->stage);
        return;
    }
    if (child->maker) {
        maker_kill(child->maker);
        return;
    }
    if (!child->watch->exited)
        return;
    struct container *c = child->watch->container;
    books_acts_on(c->key);
    books_container_stopped(c, signo);
    if (signo == SIGTERM && trap_strike(MOMENT_STOP) == MISHAP_LATE)
        container_hang(c, true);
    container_signal(c, signo);
    world_point("after a signal");
}

void child_free(struct child *child)
{
    if (child->stage) {
        stage_forget(child->stage);
        free(child);
        return;
    }
    if (child->maker) {
        maker_forget(child->maker);
        free(child);
        return;
    }
    child->watch->exited = NULL;
    if (child->watch->container->watch == child->watch)
        child->watch->container->watch = NULL;
    free(child);
}
