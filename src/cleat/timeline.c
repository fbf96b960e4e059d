#include "cleat/timeline.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/member.h"
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
const struct kind ready_kind = {"ready", "#cdebd3", '=', 114};

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

static struct bar read_ready(const struct life *life, const json_t *session, int64_t now)
{
    int64_t closing = member_number(session, "closing_ms");
    int64_t end = closing >= 0 ? closing : life->closed_ms;
    struct bar b = {.kind = &ready_kind, .open = end < 0};
    if (life->ready_ms < 0)
        return (struct bar){0};
    b.start_ms = life->created_ms + life->ready_ms;
    b.end_ms = b.open ? now : life->created_ms + end;
    if (b.end_ms < b.start_ms)
        b.end_ms = b.start_ms;
    return b;
}

/* now: on the axis, as all times of a life. */
static struct life read_life(const json_t *session, int64_t origin_ms, int64_t now)
{
    struct life life = {
        .id = member_text(session, "session_id"),
        .state = member_text(session, "state"),
        .reason = member_text(session, "stop_reason"),
        .created_ms = time_read(member_text(session, "created_at")) - origin_ms,
        .ready_ms = member_number(session, "ready_ms"),
        .closed_ms = member_number(session, "closed_ms"),
        .executions = member_number(session, "executions"),
        .failed = member_number(session, "executions_failed"),
    };
    int64_t end = life.closed_ms >= 0 ? life.created_ms + life.closed_ms : now;
    life.ready = read_ready(&life, session, end);
    life.phases = read_bars(json_object_get(session, "phases"), phase_kinds, life.created_ms,
                            end, &life.phase_count);
    life.cleanup = read_bars(json_object_get(session, "cleanup"), cleanup_kinds,
                             life.created_ms, end, &life.cleanup_count);
    return life;
}

static bool wanted(const json_t *session, char *const *ids, size_t count)
{
    const char *id = member_text(session, "session_id");
    if (!id || time_read(member_text(session, "created_at")) < 0)
        return false;
    for (size_t i = 0; ids && i < count; i++)
        if (strcmp(ids[i], id) == 0)
            return true;
    return ids == NULL;
}

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
    if (life->ready.kind && life->ready.end_ms > end)
        end = life->ready.end_ms;
    for (size_t i = 0; i < life->phase_count; i++)
        if (life->phases[i].end_ms > end)
            end = life->phases[i].end_ms;
    for (size_t i = 0; i < life->cleanup_count; i++)
        if (life->cleanup[i].end_ms > end)
            end = life->cleanup[i].end_ms;
    return end;
}

static int64_t find_origin(const json_t *sessions, char *const *ids, size_t id_count)
{
    int64_t origin = INT64_MAX;
    size_t i;
    json_t *s;
    json_array_foreach (sessions, i, s) {
        int64_t created = time_read(member_text(s, "created_at"));
        if (wanted(s, ids, id_count) && created < origin)
            origin = created;
    }
    return origin;
}

struct timeline *timeline_new(const json_t *sessions, char *const *ids, size_t id_count,
                              int64_t now_ms)
{
    struct timeline *t = mem_alloc(sizeof *t);
    size_t i;
    json_t *s;
    t->origin_ms = find_origin(sessions, ids, id_count);
    t->lives = mem_array(json_array_size(sessions) + 1, sizeof *t->lives);
    t->end_ms = 1;
    json_array_foreach (sessions, i, s) {
        if (!wanted(s, ids, id_count))
            continue;
        struct life life = read_life(s, t->origin_ms, now_ms - t->origin_ms);
        int64_t end = latest(&life);
        t->lives[t->count++] = life;
        if (end > t->end_ms)
            t->end_ms = end;
    }
    qsort(t->lives, t->count, sizeof *t->lives, by_creation);
    return t;
}

void timeline_free(struct timeline *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->lives[i].phases);
        free(t->lives[i].cleanup);
    }
    free(t->lives);
    free(t);
}
