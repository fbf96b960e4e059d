#include "sim_stage.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "books.h"
#include "scenario.h"
#include "world.h"

#define AT_ONCE 8 /* copies of one coordinator */

struct stage {
    struct instance *me;
    const char *session;
    int writer;
    unsigned files, copied;
    bool alive, fails, dies;
    child_exit_fn *ended; /* NULL: nobody waits for it */
    void *arg;
    struct stage *next;
};

/* The inputs in the store: they outlive everybody. */
struct input {
    const char *session;
    unsigned files;
    struct input *next;
};

static struct stage *stages;
static struct input *inputs;

void stages_begin(void)
{
    for (; stages; stages = stages->next)
        if (stages->alive)
            close(stages->writer);
    inputs = NULL;
}

const char *stage_sources(void)
{
    return settings.ecs ? "s3://simulated/inputs/" : "file:///simulated/inputs/";
}

const char *stage_source(const char *tenant, unsigned files)
{
    return world_printf("%s%s/%u", stage_sources(), tenant, files);
}

static struct input *input_of(const char *session)
{
    struct input *i = inputs;
    while (i && strcmp(i->session, session) != 0)
        i = i->next;
    return i;
}

unsigned stage_files_in_store(const char *session)
{
    const struct input *i = input_of(session);
    return i ? i->files : 0;
}

static void put_file(const struct stage *s)
{
    struct input *i = input_of(s->session);
    if (!i) {
        i = world_alloc(sizeof *i);
        i->session = s->session;
        i->next = inputs;
        inputs = i;
    }
    if (i->files < s->copied)
        i->files = s->copied;
}

/* ---- the end ---- */

struct exit {
    struct stage *stage;
    int status;
};

static void tell_exit(void *arg)
{
    struct exit *x = arg;
    child_exit_fn *ended = x->stage->ended;
    x->stage->ended = NULL;
    if (!ended)
        return;
    sim_loop_enter(x->stage->me);
    ended(x->stage->arg, x->status);
}

static void end(struct stage *s, int status)
{
    struct exit *x = world_alloc(sizeof *x);
    if (!s->alive)
        return;
    *x = (struct exit){s, status};
    s->alive = false;
    close(s->writer);
    world_log("copy for %s ends with status %d after %u of %u files", s->session, status,
              s->copied, s->files);
    world_at(world_pick(1, 5), tell_exit, x);
}

void stage_kill(struct stage *s)
{
    end(s, SIGKILL);
}

void stage_forget(struct stage *s)
{
    s->ended = NULL;
}

/* ---- the copy ---- */

/* Its reader may hear of it before or after the child has ended. */
static void say(const struct stage *s, const char *line)
{
    ssize_t n = write(s->writer, line, strlen(line));
    if (n >= 0 && world_chance(5000))
        sim_loop_poll(s->me);
}

static void check_session(const struct stage *s)
{
    const struct session_facts *facts = books_session(s->session);
    if (facts && facts->closed && !books_limits.forgetful)
        world_violate("I5", "input is copied for %s, which is closed", s->session);
}

static void copy_next(void *arg);

static void copy_later(struct stage *s)
{
    int64_t ms = world_pick(1, 300);
    if (world_fault(world.faults.stage_slow))
        ms += world_pick(1000, 40000);
    world_at(ms, copy_next, s);
}

static void copy_next(void *arg)
{
    struct stage *s = arg;
    if (!s->alive)
        return;
    bool half_way = s->copied >= s->files / 2;
    if (s->dies && half_way) {
        end(s, SIGKILL);
        return;
    }
    check_session(s);
    if (s->fails && half_way) {
        say(s, "failed a file of the input cannot be read\n");
        end(s, 1 << 8);
        return;
    }
    if (s->copied < s->files)
        s->copied++;
    put_file(s);
    say(s, world_printf("done %u %u\n", s->copied, s->copied * 100));
    if (s->copied == s->files)
        end(s, 0);
    else
        copy_later(s);
}

/* They die with their parent (prctl(2), PR_SET_PDEATHSIG). */
void stages_orphaned(void)
{
    for (struct stage *s = stages; s; s = s->next)
        if (s->me == world.me)
            end(s, SIGKILL);
}

/* ---- the start ---- */

bool stage_is_asked_for(const struct child_spec *spec)
{
    return spec->argv[1] && strcmp(spec->argv[1], "--stage") == 0;
}

static void check_crowd(void)
{
    unsigned alive = 0;
    for (const struct stage *s = stages; s; s = s->next)
        alive += s->alive && s->me == world.me;
    if (alive > AT_ONCE)
        world_violate("I8", "%u inputs are copied at once", alive);
}

/* Only its own tenant's part of the sources, and its own place in the store. */
static void check_urls(const struct stage *s, const char *from, const char *to)
{
    const struct session_facts *facts = books_session(s->session);
    const char *end = strstr(to, "/input");
    const char *all = stage_sources();
    const char *mine = facts ? world_printf("%s%s/", all, facts->tenant) : all;
    if (strncmp(from, mine, strlen(mine)) != 0)
        world_violate("I9", "the input of %s comes from %s", s->session, from);
    if (!end || strcmp(end, "/input") != 0)
        world_violate("SIM", "an input is copied to %s", to);
}

struct stage *stage_start(const struct child_spec *spec, child_exit_fn *ended, void *arg)
{
    const char *from = spec->argv[2], *to = spec->argv[3], *slash = strrchr(from, '/');
    struct stage *s = world_alloc(sizeof *s);
    char *store = world_strdup(to);
    *strrchr(store, '/') = '\0';
    s->session = strrchr(store, '/') + 1;
    s->files = (unsigned)strtoul(slash + 1, NULL, 10);
    s->writer = fcntl(spec->pipe_fd, F_DUPFD_CLOEXEC, 0);
    s->me = world.me;
    s->ended = ended;
    s->arg = arg;
    s->alive = true;
    s->fails = world_fault(world.faults.stage_fails);
    s->dies = world_fault(world.faults.stage_dies);
    s->next = stages;
    stages = s;
    world_log("copy for %s starts: %u files", s->session, s->files);
    check_urls(s, from, to);
    check_session(s);
    check_crowd();
    say(s, world_printf("total %u %u\n", s->files, s->files * 100));
    copy_later(s);
    return s;
}

void stages_check_end(void)
{
    for (const struct stage *s = stages; s; s = s->next)
        if (s->alive)
            world_violate("I5", "a copy for %s is left", s->session);
}
