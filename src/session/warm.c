#include "session/warm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/drain.h"
#include "session/event.h"
#include "session/past.h"
#include "session/request.h"
#include "session/session.h"

#define NOBODY "" /* no tenant has that name */
/* A plain container exits an hour after its boot, whatever it does. */
#define PLAIN_LIFE_S 3000
#define SPREAD_PERCENT 10 /* so that those that were made together do not end together */

/* ---- what a class makes ---- */

static uint64_t hash_line(uint64_t before, const char *text)
{
    return hash_more(hash_more(before, text, strlen(text)), "\n", 1);
}

static bool is_among(const char *const *names, const char *key)
{
    for (size_t i = 0; names[i]; i++)
        if (strcmp(names[i], key) == 0)
            return true;
    return false;
}

/* What the program in the container is may differ for a while … */
static bool is_program(const char *key)
{
    static const char *const names[] = {"command", "image", NULL};
    return is_among(names, key);
}

/* What a request is judged by, and how much is kept of its output. */
static bool is_for_requests(const char *key)
{
    static const char *const names[] = {
        "gpu",        "labels",          "input_sources",    "max_parallel",
        "max_queued", "output_limit_kb", "job_log_limit_kb", NULL};
    return is_among(names, key);
}

/* … all else must not, but for what only we go by: a session's limits, our patience. */
static bool is_ours_alone(const char *key)
{
    static const char *const names[] = {
        "warm_min",           "warm_max",         "warm_ttl_s",
        "haproxy_sockets",    "haproxy_urls",     "cookies",
        "dynamic_cookie_key", "alb_urls",         "check_interval_ms",
        "check_fall",         "check_rise",       "create_timeout_s",
        "start_timeout_s",    "idle_timeout_s",   "max_lifetime_s",
        "exec_timeout_s",     "max_connections",  "launch_attempts",
        "backoff_base_ms",    "dead_after_s",     "on_death",
        "gather_ms",          "gather_max_ms",    "probes_in_flight",
        "probe_budget",       "upload_timeout_s", "step_timeout_s",
        "salvage_limit_s",    "stop_grace_s",     NULL};
    return is_for_requests(key) || is_among(names, key);
}

struct recipe warm_recipe(const struct class *class)
{
    uint64_t program = HASH_OF_NOTHING, place = program;
    for (const struct option *o = class_options; o->key; o++) {
        if (is_ours_alone(o->key))
            continue;
        uint64_t *h = is_program(o->key) ? &program : &place;
        char *value = option_value(o, class);
        *h = hash_line(hash_line(*h, o->key), value);
        free(value);
    }
    return (struct recipe){.program = program, .place = place};
}

bool warm_is_current(const struct session *s)
{
    const struct recipe *now = &s->group->warm.recipe;
    return warm_fits(s) && now->program == s->warm->recipe.program;
}

bool warm_fits(const struct session *s)
{
    return s->group->warm.recipe.place == s->warm->recipe.place;
}

/* ---- the session ---- */

static struct session *make(struct group *g, const char *id, struct warm *warm)
{
    const struct class *class = g->class;
    struct session *s = session_new(g->core, g, id, NOBODY, id);
    json_t *o = json_pack("{s:s, s:s}", "class", class->name, "tenant", NOBODY);
    char *parameters = js_text(o);
    struct create_request r = {.class_name = class->name,
                               .parameters = parameters,
                               .create_timeout_s = class->create_timeout_s,
                               .idle_timeout_s = class->idle_timeout_s,
                               .max_lifetime_s = class->max_lifetime_s,
                               .exec_timeout_s = class->exec_timeout_s};
    session_fill(s, &r);
    free(parameters);
    json_decref(o);
    g->session_counts[s->state]--; /* it is nobody's */
    s->warm = warm;
    warm->session = s;
    TAILQ_INSERT_TAIL(&g->warm.sessions, warm, entry);
    return s;
}

struct session *warm_new(struct group *g)
{
    struct cleat *core = g->core;
    struct warm *warm = mem_alloc(sizeof(*warm));
    uint8_t random[11];
    char id[ID_SIZE];
    loop_random(core->loop, random, sizeof(random));
    id_make(id, core_now(core), random);
    past_new_session(core);
    int64_t spread = g->class->warm_ttl_s * SPREAD_PERCENT / 100;
    warm->ttl_s = g->class->warm_ttl_s - spread * random[10] / UINT8_MAX;
    warm->lifetime_s = g->class->create_timeout_s + g->class->max_lifetime_s;
    warm->recipe = g->warm.recipe;
    struct session *s = make(g, id, warm);
    s->created = core_now(core);
    log_info("warm.new", KV("session", s->id), KV("class", g->class->name));
    event_emit_core(core, "warm.new", KV("class", g->class->name), KV("warm", s->id));
    session_go(s, SESSION_OPENING);
    return s;
}

void warm_free(struct session *s)
{
    if (!s->warm)
        return;
    TAILQ_REMOVE(&s->group->warm.sessions, s->warm, entry);
    free(s->warm);
    s->warm = NULL;
    warm_consider(s->group);
}

int64_t warm_end(const struct session *s)
{
    const struct class *class = s->group->class;
    int64_t ttl_s = s->warm->ttl_s < class->warm_ttl_s ? s->warm->ttl_s : class->warm_ttl_s;
    if (class->proof == PROOF_NONE && ttl_s > PLAIN_LIFE_S)
        ttl_s = PLAIN_LIFE_S;
    return s->created + ttl_s * 1000;
}

void warm_step(struct session *s)
{
    struct error e;
    if (s->state >= SESSION_CLOSING)
        return;
    if (drain_covers(s->core, NOBODY, &e))
        session_close(s, "drained", NULL);
    else if (s->group->class->warm_max == 0)
        session_close(s, "warm_max", NULL);
    else if (!warm_fits(s))
        session_close(s, "class_changed", NULL);
    else if (!session_not_before(s, warm_end(s)))
        session_close(s, "warm_ttl", NULL);
}

/* ---- rows ---- */

static json_t *hash_row(uint64_t hash)
{
    return json_integer((json_int_t)hash);
}

json_t *warm_row(const struct session *s)
{
    const struct warm *w = s->warm;
    return w ? json_pack("{s:s, s:o, s:o, s:I, s:I, s:I}", "class", s->class_name, "place",
                         hash_row(w->recipe.place), "program", hash_row(w->recipe.program),
                         "ttl_s", (json_int_t)w->ttl_s, "lifetime_s", (json_int_t)w->lifetime_s,
                         "idle_timeout_s", (json_int_t)s->idle_timeout_s)
             : NULL;
}

/* One that is over is only forgotten, which needs its class no more. NULL and *e: its container
 * cannot be stopped without it. */
static struct group *group_of(struct cleat *core, const char *class_name, bool over,
                              struct error *e)
{
    struct group *g = core_find_group(core, class_name);
    if (!g && !over)
        error_set(e, ERR_CONFIG,
                  "class %s is not configured, and there are warm containers of it: configure "
                  "it again with warm_max = 0, and remove it when they are closed",
                  class_name);
    return g || !over ? g : &core->groups[0];
}

struct session *warm_from_row(struct cleat *core, const char *id, const json_t *row, bool over,
                              struct error *e)
{
    const json_t *o = json_object_get(row, "warm");
    const char *class_name = json_string_value(json_object_get(o, "class"));
    struct group *g = class_name ? group_of(core, class_name, over, e) : NULL;
    if (!g)
        return NULL;
    struct warm *warm = mem_alloc(sizeof(*warm));
    warm->recipe.place = (uint64_t)json_integer_value(json_object_get(o, "place"));
    warm->recipe.program = (uint64_t)json_integer_value(json_object_get(o, "program"));
    warm->ttl_s = json_integer_value(json_object_get(o, "ttl_s"));
    warm->lifetime_s = json_integer_value(json_object_get(o, "lifetime_s"));
    struct session *s = make(g, id, warm);
    if (strcmp(s->class_name, class_name) != 0) {
        free(s->class_name);
        s->class_name = mem_strdup(class_name);
    }
    s->idle_timeout_s = json_integer_value(json_object_get(o, "idle_timeout_s"));
    return s;
}
