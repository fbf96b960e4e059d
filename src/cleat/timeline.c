#include "cleat/timeline.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/ids.h"
#include "cleat/member.h"
#include "cleat/overlap.h"
#include "cleat/term.h"

const struct kind phase_kinds[] = {
    {"queue", "#c3cad5", 'q', 250}, {"launch", "#2f6db5", 'l', 25},
    {"start", "#74b3e0", 's', 74},  {"register", "#6a51a3", 'g', 97},
    {"check", "#b39ddb", 'c', 140}, {"route", "#f0a33a", 'r', 214},
    {"stage", "#e5734a", 'i', 203}, {"capacity", "#8d99a8", 'w', 246},
    {"input", "#c98bb9", 'n', 175}, {NULL, NULL, 0, 0},
};
const struct kind cleanup_kinds[] = {
    {"local", "#7b8794", 'L', 244},      {"upload", "#159a8c", 'U', 36},
    {"deregister", "#9c6b3f", 'D', 137}, {"drain", "#d9bb80", 'd', 180},
    {"stop", "#c93d4b", 'S', 160},       {NULL, NULL, 0, 0},
};
const struct kind ready_kinds[] = {{"ready", "#cdebd3", '=', 114}, {NULL, NULL, 0, 0}};
const struct kind run_kinds[] = {
    {"running", "#8fd0e8", '>', 80},
    {"succeeded", "#a9dcb4", '=', 114},
    {"failed", "#e08a8f", 'x', 167},
    {"timed_out", "#f0a33a", '!', 214},
    {"cancelled", "#c9a9d6", '-', 140},
    {"lost", "#b8b8b8", '?', 245},
    {NULL, NULL, 0, 0},
};
static const struct kind job_phase_kinds[] = {
    {"queue", "#c3cad5", 'q', 250}, {"start", "#74b3e0", 's', 74}, {NULL, NULL, 0, 0}};

const struct theme session_theme = {
    "session",
    "ready in",
    "ready",
    {{"opening", phase_kinds}, {"in use", ready_kinds}, {"cleanup", cleanup_kinds}}};
const struct theme job_theme = {
    "job", "ran", "ran", {{"before", job_phase_kinds}, {"run", run_kinds}, {NULL, NULL}}};

static const struct kind unknown_kind = {"other", "#444444", '?', 240};

static const struct kind *find_kind(const struct kind *kinds, const char *name, unsigned *index)
{
    for (*index = 0; kinds[*index].name; (*index)++)
        if (name && strcmp(kinds[*index].name, name) == 0)
            return &kinds[*index];
    *index = 0;
    return &unknown_kind;
}

/* since: when the session was created, on the axis. */
static struct bar read_bar(const json_t *o, const struct kind *kinds, int64_t since,
                           int64_t now)
{
    struct bar b = {0};
    int64_t start = member_number(o, "start_ms"), end = member_number(o, "end_ms");
    b.kind = find_kind(kinds, member_text(o, "name"), &b.lane);
    b.open = end < 0;
    b.start_ms = since + (start < 0 ? 0 : start);
    b.end_ms = b.open ? now : since + end;
    if (b.end_ms < b.start_ms)
        b.end_ms = b.start_ms;
    b.attempt = (int)member_number(o, "attempt");
    b.result = member_text(o, "result");
    return b;
}

static struct bar *read_bars(const json_t *list, const struct kind *kinds, int64_t since,
                             int64_t now, size_t *count)
{
    struct bar *bars = mem_array(json_array_size(list) + 1, sizeof *bars);
    size_t i;
    json_t *o;
    json_array_foreach (list, i, o) {
        if (member_number(o, "start_ms") >=
            0) /* a step that did not begin has nothing to draw */
            bars[(*count)++] = read_bar(o, kinds, since, now);
    }
    return bars;
}

/* Of the times in use alone: kind, from and to on the axis. */
static struct bar make_bar(const struct kind *kind, int64_t start, int64_t end, bool open)
{
    struct bar b = {.kind = kind, .open = open, .start_ms = start};
    b.end_ms = end < start ? start : end;
    return b;
}

static struct bar read_ready(const struct life *life, const json_t *session, int64_t now)
{
    int64_t closing = member_number(session, "closing_ms");
    int64_t end = closing >= 0 ? closing : life->closed_ms;
    bool open = end < 0;
    if (life->took_ms < 0)
        return (struct bar){0};
    return make_bar(ready_kinds, life->created_ms + life->took_ms,
                    open ? now : life->created_ms + end, open);
}

/* now: on the axis, as all times of a life. */
static struct life read_life(const json_t *session, int64_t origin_ms, int64_t now)
{
    struct life life = {
        .id = member_text(session, session_ids.key),
        .label = short_id(member_text(session, session_ids.key)),
        .state = member_text(session, "state"),
        .reason = member_text(session, "stop_reason"),
        .created_ms = time_read(member_text(session, "created_at")) - origin_ms,
        .took_ms = member_number(session, "ready_ms"),
        .closed_ms = member_number(session, "closed_ms"),
        .executions = member_number(session, "executions"),
        .failed = member_number(session, "executions_failed"),
    };
    int64_t end = life.closed_ms >= 0 ? life.created_ms + life.closed_ms : now;
    life.use = read_ready(&life, session, end);
    life.phases = read_bars(json_object_get(session, "phases"), phase_kinds, life.created_ms,
                            end, &life.phase_count);
    life.cleanup = read_bars(json_object_get(session, "cleanup"), cleanup_kinds,
                             life.created_ms, end, &life.cleanup_count);
    return life;
}

/* ---- jobs ---- */

static const char *error_text(const json_t *job)
{
    const json_t *error = json_object_get(job, "error");
    return json_is_object(error) ? member_text(error, "message") : json_string_value(error);
}

static struct bar read_run(const json_t *job, const struct life *life, int64_t origin,
                           int64_t now)
{
    unsigned unused;
    int64_t start = time_read(member_text(job, "started_at"));
    int64_t end = time_read(member_text(job, "ended_at"));
    if (start < 0)
        return (struct bar){0};
    return make_bar(find_kind(run_kinds, life->state, &unused), start - origin,
                    end < 0 ? now : end - origin, end < 0);
}

/* Queue and start follow each other; what is not over yet reaches to now. */
static void read_waits(const json_t *job, struct life *life, int64_t now)
{
    static const char *const keys[] = {"queue_ms", "start_ms"};
    int64_t at = life->created_ms;
    int64_t limit = life->use.kind         ? life->use.start_ms
                    : life->closed_ms >= 0 ? life->created_ms + life->closed_ms
                                           : now;
    life->phases = mem_array(2, sizeof *life->phases);
    for (size_t i = 0; i < 2 && at < limit; i++) {
        int64_t ms = member_number(job, keys[i]);
        int64_t end = ms < 0 || at + ms > limit ? limit : at + ms;
        if (ms != 0)
            life->phases[life->phase_count++] =
                make_bar(&job_phase_kinds[i], at, end, ms < 0 && limit == now);
        at = end;
    }
}

static struct life read_job(const json_t *job, int64_t origin, int64_t now)
{
    const char *name = member_text(job, "name");
    int64_t ended = time_read(member_text(job, "ended_at"));
    struct life life = {
        .id = member_text(job, job_ids.key),
        .label = name ? name : short_id(member_text(job, job_ids.key)),
        .state = member_text(job, "state"),
        .reason = error_text(job),
        .created_ms = time_read(member_text(job, "created_at")) - origin,
        .took_ms = member_number(job, "run_ms"),
    };
    life.closed_ms = ended < 0 ? -1 : ended - origin - life.created_ms;
    life.use = read_run(job, &life, origin, now);
    read_waits(job, &life, now);
    return life;
}

/* ---- all of them ---- */

static int by_creation(const void *a, const void *b)
{
    const struct life *x = a, *y = b;
    if (x->created_ms != y->created_ms)
        return x->created_ms < y->created_ms ? -1 : 1;
    return strcmp(x->id, y->id);
}

static int64_t latest(const struct life *life)
{
    int64_t end = life->created_ms + (life->closed_ms > 0 ? life->closed_ms : 0);
    if (life->use.kind && life->use.end_ms > end)
        end = life->use.end_ms;
    for (size_t i = 0; i < life->phase_count; i++)
        if (life->phases[i].end_ms > end)
            end = life->phases[i].end_ms;
    for (size_t i = 0; i < life->cleanup_count; i++)
        if (life->cleanup[i].end_ms > end)
            end = life->cleanup[i].end_ms;
    return end;
}

static bool wanted(const struct id_kind *kind, const json_t *o, char *const *ids, size_t count)
{
    const char *id = member_text(o, kind->key);
    if (!id || time_read(member_text(o, "created_at")) < 0)
        return false;
    for (size_t i = 0; ids && i < count; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return ids == NULL;
}

static int64_t find_origin(const struct id_kind *kind, const json_t *listed, char *const *ids,
                           size_t id_count)
{
    int64_t origin = INT64_MAX;
    size_t i;
    json_t *o;
    json_array_foreach (listed, i, o) {
        int64_t created = time_read(member_text(o, "created_at"));
        if (wanted(kind, o, ids, id_count) && created < origin)
            origin = created;
    }
    return origin;
}

typedef struct life read_fn(const json_t *, int64_t origin_ms, int64_t now);

static struct timeline *read_all(const struct id_kind *kind, read_fn *read,
                                 const json_t *listed, char *const *ids, size_t id_count,
                                 int64_t now_ms)
{
    struct timeline *t = mem_alloc(sizeof *t);
    size_t i;
    json_t *o;
    t->origin_ms = find_origin(kind, listed, ids, id_count);
    t->lives = mem_array(json_array_size(listed) + 1, sizeof *t->lives);
    t->end_ms = 1;
    json_array_foreach (listed, i, o) {
        if (!wanted(kind, o, ids, id_count))
            continue;
        struct life life = read(o, t->origin_ms, now_ms - t->origin_ms);
        int64_t end = latest(&life);
        t->lives[t->count++] = life;
        if (end > t->end_ms)
            t->end_ms = end;
    }
    qsort(t->lives, t->count, sizeof *t->lives, by_creation);
    return t;
}

struct timeline *timeline_new(const json_t *sessions, char *const *ids, size_t id_count,
                              int64_t now_ms)
{
    struct timeline *t = read_all(&session_ids, read_life, sessions, ids, id_count, now_ms);
    t->theme = &session_theme;
    return t;
}

struct timeline *timeline_of_jobs(const json_t *jobs, char *const *ids, size_t id_count,
                                  int64_t now_ms)
{
    struct timeline *t = read_all(&job_ids, read_job, jobs, ids, id_count, now_ms);
    t->theme = &job_theme;
    overlap_count(t);
    return t;
}

void timeline_free(struct timeline *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->lives[i].phases);
        free(t->lives[i].cleanup);
    }
    free(t->overlap.steps);
    free(t->lives);
    free(t);
}
