#include "sim_maker.h"
#include <signal.h>
#include <string.h>
#include "files.h"
#include "world.h"

struct maker {
    struct instance *me;
    const char *directory;
    bool over;
    int status;
    child_exit_fn *ended; /* NULL: nobody waits for it */
    void *arg;
};

static void tell_exit(void *arg)
{
    struct maker *m = arg;
    child_exit_fn *ended = m->ended;
    m->ended = NULL;
    if (!ended)
        return;
    sim_loop_enter(m->me);
    ended(m->arg, m->status);
}

static void end(struct maker *m, int status)
{
    if (m->over)
        return;
    m->over = true;
    m->status = status;
    world_log("the maker of %s ends with status %d", m->directory, status);
    world_at(world_pick(1, 5), tell_exit, m);
}

static void make(void *arg)
{
    struct maker *m = arg;
    if (m->over)
        return;
    bool fails = world_fault(world.faults.file_fails);
    if (!fails)
        files_put(m->directory, "");
    end(m, fails ? 1 << 8 : 0);
}

bool maker_is_asked_for(const struct child_spec *spec)
{
    return strcmp(spec->argv[0], "/bin/sh") == 0;
}

struct maker *maker_start(const struct child_spec *spec, child_exit_fn *ended, void *arg)
{
    struct maker *m = world_alloc(sizeof *m);
    *m = (struct maker){
        .me = world.me, .directory = world_strdup(spec->argv[4]), .ended = ended, .arg = arg};
    if (!world_fault(world.faults.maker_hangs))
        world_at(world_pick(1, 20), make, m);
    return m;
}

void maker_kill(struct maker *m)
{
    end(m, SIGKILL);
}

void maker_forget(struct maker *m)
{
    m->ended = NULL;
}
