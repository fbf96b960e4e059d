#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleat.h"
#include "loop/child.h"
#include "session/admission.h"
#include "session/call.h"
#include "session/clock.h"
#include "session/config.h"
#include "session/drain.h"
#include "session/event.h"
#include "session/event_read.h"
#include "session/drivers.h"
#include "session/job_files.h"
#include "session/job_mark.h"
#include "session/journal.h"
#include "session/listing.h"
#include "session/outage.h"
#include "session/metrics.h"
#include "session/moves.h"
#include "session/notes.h"
#include "session/probe.h"
#include "session/reaper.h"
#include "session/recovery.h"
#include "session/session.h"
#include "session/sweep.h"
#include "session/warm.h"

#define PURGE_EVERY_MS 10000
#define PURGE_ON_MS 200 /* while there is more */
#define STATE_DIR_MODE                                                                         \
    0711 /* users' code under other uids passes through to its own workspace */

/* The drivers by the index of their option's choice. */
static const struct runtime_ops *const runtimes[] = {[RUNTIME_PROCESS] = &runtime_process,
                                                     [RUNTIME_DOCKER] = &runtime_docker,
                                                     [RUNTIME_ECS] = &runtime_ecs,
                                                     [RUNTIME_STATIC] = &runtime_static};
static const struct balancer_ops *const balancers[] = {[BALANCER_DIRECT] = &balancer_direct,
                                                       [BALANCER_HAPROXY] = &balancer_haproxy,
                                                       [BALANCER_ALB] = &balancer_alb};

const struct runtime_ops *runtime_of(const struct class *class)
{
    return runtimes[class->runtime];
}

const struct balancer_ops *balancer_of(const struct class *class)
{
    return balancers[class->balancer];
}

const char *cleat_version(void)
{
    return PACKAGE_VERSION;
}

int64_t core_now(const struct cleat *core)
{
    return loop_now_ms(core->loop) + core->clock_offset;
}

struct session *core_find(const struct cleat *core, const char *id)
{
    struct session *s;
    HASH_FIND(hh, core->by_id, id, strlen(id), s);
    return s;
}

struct group *core_find_group(const struct cleat *core, const char *class_name)
{
    for (size_t i = 0; i < core->group_count; i++)
        if (strcmp(core->groups[i].class->name, class_name) == 0)
            return &core->groups[i];
    return NULL;
}

bool core_uses_aws(const struct cleat *core)
{
    for (size_t i = 0; i < core->group_count; i++)
        if (class_uses_aws(core->groups[i].class))
            return true;
    return false;
}

struct session *core_find_request(const struct cleat *core, const char *tenant,
                                  const char *request_id)
{
    struct session *s;
    char *key = mem_printf("%s\n%s", tenant, request_id);
    HASH_FIND(hh_request, core->by_request, key, strlen(key), s);
    free(key);
    return s;
}

/* key: owner "." session "." attempt of its identity. NULL: not ours, or unknown. */
struct attempt *core_find_attempt(const struct cleat *core, const char *key)
{
    struct attempt *a;
    HASH_FIND_STR(core->by_key, key, a);
    return a;
}

/* ---- what the drivers report ---- */

static void on_exit_of(void *arg, const char *key, const char *cause, bool in_order)
{
    struct group *g = arg;
    struct attempt *a = core_find_attempt(g->core, key);
    if (!a || a->session->group != g || a->died)
        return;
    a->died = true;
    /* Only ours uploads before it ends itself. */
    a->in_order = in_order && g->class->proof == PROOF_REQUIRED;
    mem_copy_string(a->cause, sizeof(a->cause), cause);
    log_warn(a->in_order ? "container.ended" : "container.died", KV("session", a->session->id),
             KI("attempt", a->number), KV("cause", cause));
    event_emit(a->session, a->in_order ? "container.ended" : "container.died",
               KI("attempt", a->number), KV("cause", cause));
    session_wake(a->session);
}

static void on_progress(void *arg, const char *key, const char *text)
{
    struct group *g = arg;
    struct attempt *a = core_find_attempt(g->core, key);
    if (!a || a->session->group != g || a->launched || strcmp(a->progress, text) == 0)
        return;
    mem_copy_string(a->progress, sizeof(a->progress), text);
    log_info("launch.progress", KV("session", a->session->id), KI("attempt", a->number),
             KV("progress", a->progress));
    event_emit(a->session, "launch.progress", KI("attempt", a->number),
               KV("progress", a->progress));
}

static const char *const lease_event_names[LEASE_CHANGES] = {
    "lease.taken", "lease.released", "lease.unconfirmed", "lease.given_up"};

static void on_lease(void *arg, enum lease_change change, const char *key, const char *host,
                     const char *why)
{
    const struct group *g = arg;
    const struct attempt *a = core_find_attempt(g->core, key);
    event_emit_core(g->core, lease_event_names[change], KV("class", g->class->name),
                    KV("host", host), KV("lease", key),
                    KV("session", a ? a->session->id : NULL), KV("error", why));
}

/* False: each container is asked on its own address. */
static bool has_nodes(const struct group *g)
{
    const struct balancer_node *nodes;
    return g->balancer_ops->nodes(g->balancer, 0, &nodes) > 0;
}

static void on_target(void *arg, const char *id, enum target_state state, const char *reason)
{
    struct group *g = arg;
    struct attempt *a = core_find_attempt(g->core, id);
    if (!a || a->session->group != g)
        return;
    log_debug("target.state", KV("session", a->session->id), KI("state", state),
              KV("reason", reason));
    bool came_back = state == TARGET_HEALTHY && a->target != TARGET_HEALTHY;
    if (came_back) { /* what failed before says nothing now */
        a->route.rounds = a->route.failures = 0;
        a->route.retry_at = 0;
    }
    a->target = state;
    mem_copy_string(a->target_reason, sizeof(a->target_reason), reason ? reason : "");
    if (state != TARGET_HEALTHY && has_nodes(g))
        a->route.suspect = true;
    if (state == TARGET_UNHEALTHY || state == TARGET_GONE)
        probe_doubt(a, *a->target_reason ? a->target_reason : "the balancer does not list it");
    if (came_back && a->session->warm)
        warm_offered(g);
    session_wake(a->session);
}

/* ---- the beginning ---- */

/* The secrets of all sessions derive from this key; it is made once and never leaves the file.
 */
static bool open_master_key(struct cleat *core, struct error *e)
{
    char *path = mem_printf("%s/master.key", core->settings->state_dir);
    char *text = file_read(path, 4096);
    bool fine = true;
    if (text) {
        size_t len = strcspn(text, "\r\n");
        text[len] = '\0';
        fine = hex_decode(core->master, sizeof(core->master), text);
        if (!fine)
            error_set(e, ERR_CONFIG,
                      "%s: not a key of 64 hexadecimal digits; restore it from a backup", path);
        mem_wipe(text, len);
        free(text);
    } else if (file_exists(path)) {
        fine = false;
        error_set(e, ERR_CONFIG, "%s: cannot be read", path);
    } else if (journal_has_sessions(core, e)) {
        fine = false; /* their containers know only the old key */
        error_set(e, ERR_CONFIG,
                  "%s: missing, but the journal holds sessions; put it back, or move the "
                  "journal away as well (cleatd(8), Lost journal)",
                  path);
    } else {
        char hex[2 * PROOF_SECRET_SIZE + 2];
        loop_random(core->loop, core->master, sizeof(core->master));
        hex_encode(hex, core->master, sizeof(core->master));
        strcat(hex, "\n");
        fine = file_write(path, hex, e) == ERR_NONE;
        mem_wipe(hex, sizeof(hex));
    }
    free(path);
    return fine;
}

static void open_sweeps(struct group *g)
{
    g->sweep_count = g->balancer_ops->groups(g->balancer);
    g->sweeps = mem_array(g->sweep_count, sizeof(struct sweep *));
    for (size_t i = 0; i < g->sweep_count; i++)
        g->sweeps[i] = sweep_new(g, i);
}

static bool open_group(struct cleat *core, struct group *g, struct class *class,
                       struct error *e)
{
    struct settings *set = core->settings;
    g->core = core;
    g->class = class;
    g->metrics = metrics_new();
    warm_open(g);
    g->engine = class_engine(class, aws_region(core->aws));
    g->runtime_ops = runtime_of(class);
    g->balancer_ops = balancer_of(class);
    g->runtime = g->runtime_ops->open(&(struct runtime_env){.loop = core->loop,
                                                            .client = core->client,
                                                            .class = class,
                                                            .owner = set->owner,
                                                            .state_dir = set->state_dir,
                                                            .executor = set->executor,
                                                            .aws = core->aws,
                                                            .on_exit = on_exit_of,
                                                            .on_progress = on_progress,
                                                            .on_lease = on_lease,
                                                            .arg = g},
                                      e);
    if (!g->runtime)
        return false;
    g->balancer = g->balancer_ops->open(&(struct balancer_env){.loop = core->loop,
                                                               .client = core->client,
                                                               .class = class,
                                                               .owner = set->owner,
                                                               .aws = core->aws,
                                                               .on_target = on_target,
                                                               .arg = g},
                                        e);
    if (!g->balancer)
        return false;
    open_sweeps(g);
    return true;
}

static bool open_groups(struct cleat *core, struct error *e)
{
    core->groups = mem_array(core->config->class_count, sizeof(*core->groups));
    for (size_t i = 0; i < core->config->class_count; i++) {
        core->group_count = i + 1;
        if (!open_group(core, &core->groups[i], &core->config->classes[i], e))
            return false;
    }
    return true;
}

static bool open_store(struct cleat *core, struct error *e)
{
    char *path = mem_printf("%s/journal.db", core->settings->state_dir);
    core->store_ops = &store_sqlite;
    core->store = core->store_ops->open(core->loop, path,
                                        (enum store_durability)core->settings->durability, e);
    free(path);
    return core->store != NULL;
}

static void purge(void *arg)
{
    struct cleat *core = arg;
    timer_arm(&core->purge, journal_purge(core) ? PURGE_ON_MS : PURGE_EVERY_MS);
}

static void init(struct cleat *core, struct event_base *base, struct cleat_config *config)
{
    core->config = config;
    core->settings = &config->settings;
    core->loop = loop_new(base);
    clock_start(core);
    core->client = http_client_new(core->loop);
    const char *region = core->settings->aws_region;
    core->aws = aws_new(core->loop, core->client, *region ? region : NULL, NULL);
    TAILQ_INIT(&core->sessions);
    TAILQ_INIT(&core->open);
    TAILQ_INIT(&core->over);
    admission_init(core);
    TAILQ_INIT(&core->journal);
    TAILQ_INIT(&core->commits);
    notes_init(core);
    TAILQ_INIT(&core->free_calls);
    events_init(core);
    job_marks_init(core);
    moves_init(core);
    outage_init(core);
    timer_init(&core->purge, core->loop, purge, core);
    loop_at_turn_end(core->loop, journal_turn_end, core);
    job_files_init(core);
    reaper_start(core);
}

struct cleat *cleat_new(struct event_base *base, struct cleat_config *config, char *why,
                        size_t size)
{
    struct error e = {0};
    if (!cleat_config_check(config, why, size)) {
        cleat_config_free(config);
        return NULL;
    }
    struct cleat *core = mem_alloc(sizeof(*core));
    init(core, base, config);
    if (dir_make(core->settings->state_dir, STATE_DIR_MODE, &e) != ERR_NONE ||
        job_files_open(core, &e) != ERR_NONE || !open_store(core, &e) ||
        !open_master_key(core, &e) || !open_groups(core, &e) || !journal_load(core, &e)) {
        mem_copy_string(why, size, e.message);
        cleat_free(core);
        return NULL;
    }
    drain_load(core);
    job_files_sweep(core);
    recovery_start(core);
    timer_arm(&core->purge, PURGE_EVERY_MS);
    return core;
}

static void close_group(struct group *g)
{
    warm_close(g);
    if (g->balancer)
        g->balancer_ops->close(g->balancer);
    if (g->runtime)
        g->runtime_ops->close(g->runtime);
    for (size_t i = 0; i < g->sweep_count; i++)
        sweep_free(g->sweeps[i]);
    free(g->sweeps);
    free(g->metrics);
    free(g->engine);
}

void cleat_free(struct cleat *core)
{
    if (!core)
        return;
    loop_at_turn_end(core->loop, NULL, NULL);
    readers_free(core);
    outage_stop(core);
    timer_stop(&core->purge);
    job_marks_stop(core);
    moves_stop(core);
    listings_free(core);
    reaper_free(core);
    while (!TAILQ_EMPTY(&core->sessions))
        session_free(TAILQ_FIRST(&core->sessions));
    job_files_close(core);
    admission_stop(core);
    calls_forget_answers(core);
    for (size_t i = 0; i < core->group_count; i++)
        close_group(&core->groups[i]);
    free(core->groups);
    if (core->store)
        core->store_ops->close(core->store);
    journal_forget(core);
    events_free(core);
    notes_free(core);
    drain_free(core);
    aws_free(core->aws);
    http_client_free(core->client);
    loop_free(core->loop);
    mem_wipe(core->master, sizeof(core->master));
    cleat_config_free(core->config);
    free(core);
}

static struct {
    cleat_log_fn *fn;
    void *arg;
} log_target;

static void pass_line(void *arg, enum log_level level, const char *line)
{
    (void)arg;
    log_target.fn(log_target.arg, (int)level, line);
}

void cleat_set_log(cleat_log_fn *fn, void *arg, int level)
{
    log_target.fn = fn;
    log_target.arg = arg;
    log_set_level((enum log_level)level);
    log_set_sink(fn ? pass_line : NULL, NULL);
}
