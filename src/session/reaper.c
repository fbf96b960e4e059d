#include "session/reaper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/adopt.h"
#include "session/attempt.h"
#include "session/event.h"
#include "session/found.h"
#include "session/orphan.h"
#include "session/past.h"
#include "session/session.h"

#define CLOSING_MAX 10 /* containers, and as many targets, at a time */
#define PLACE_MS 45000 /* who takes longer, out of reach perhaps, holds up nobody */
#define REMOVE_RETRY_MS 30000

struct place {
    const struct attempt *attempt; /* NULL: free */
    int64_t until;
};

struct reaper {
    struct found_table found;
    struct task task;
    struct timer timer; /* to the next place that is free again, while none is */
    struct place places[CLOSING_MAX];
    unsigned closing, removing;
    uint64_t seen, closed, adopted;
};

static const char *const action_names[] = {"close", "hold", "report"};

static void consider(void *core)
{
    reaper_consider(core);
}

void reaper_start(struct cleat *core)
{
    struct reaper *r = core->reaper = mem_alloc(sizeof(*r));
    task_init(&r->task, core->loop, consider, core);
    timer_init(&r->timer, core->loop, consider, core);
}

void reaper_free(struct cleat *core)
{
    struct reaper *r = core->reaper;
    if (!r)
        return;
    task_stop(&r->task);
    timer_stop(&r->timer);
    found_clear(&r->found);
    free(r);
    core->reaper = NULL;
}

/* ---- found ---- */

static void note_new(struct found *f)
{
    struct cleat *core = f->group->core;
    char cause[FOUND_CAUSE_SIZE];
    enum found_action action = found_judge(&core->reaper->found, f, cause);
    if (action == FOUND_HOLD)
        past_doubt(core, f->session, f->first_at);
    core->reaper->seen++;
    log_warn("orphan.found", KV("class", f->group->class->name),
             KV("container", f->is_target ? NULL : f->container.id),
             KV("target", f->is_target ? f->key : NULL), KV("session", f->session),
             KV("cause", cause), KV("action", action_names[action]));
    event_emit_core(core, "orphan.found", KV("class", f->group->class->name),
                    KV("container", f->is_target ? NULL : f->container.id),
                    KV("target", f->is_target ? f->key : NULL), KV("session", f->session),
                    KV("cause", cause), KV("action", action_names[action]));
}

/* What the journal cannot speak for speaks for itself. */
static struct found *next_adoptable(const struct reaper *r, uint64_t listing)
{
    char cause[FOUND_CAUSE_SIZE];
    struct found *f = found_first(&r->found);
    while (f && (f->is_target || f->tried == listing || !found_is_chosen(&r->found, f) ||
                 found_judge(&r->found, f, cause) != FOUND_HOLD))
        f = found_next(f);
    return f;
}

static void adopt(struct reaper *r, struct found *f, uint64_t listing)
{
    struct cleat *core = f->group->core;
    f->tried = listing;
    struct session *s = label_adopt(f->group, f->key, &f->container, f->label, &f->refusal);
    if (!s)
        return;
    if (core->drain.closed) /* too late to be told with the others */
        session_close(s, "drained", NULL);
    past_doubt(core, f->session, f->first_at);
    r->adopted++;
    found_drop_others(&r->found, f);
    found_drop(&r->found, f);
}

void reaper_compare(struct group *g, const struct listed *all)
{
    struct reaper *r = g->core->reaper;
    struct found *f;
    found_compare(&r->found, g, all);
    while ((f = next_adoptable(r, all->number)))
        adopt(r, f, all->number);
    for (f = found_first(&r->found); f; f = found_next(f)) {
        if (!f->told && found_is_chosen(&r->found, f)) {
            f->told = true;
            note_new(f);
        }
    }
}

int64_t reaper_wait_ms(const struct group *g)
{
    struct cleat *core = g->core;
    int64_t wait = INT64_MAX, now = core_now(core);
    char cause[FOUND_CAUSE_SIZE];
    if (core->settings->reap_dry_run)
        return wait;
    for (struct found *f = found_first(&core->reaper->found); f; f = found_next(f)) {
        int64_t left = f->first_at + core->settings->reap_grace_s * 1000 - now;
        if (f->group == g && !f->ripe && left < wait &&
            found_judge(&core->reaper->found, f, cause) == FOUND_CLOSE)
            wait = left;
    }
    return wait;
}

/* ---- closed ---- */

static void log_closed(struct cleat *core, const char *container, const char *target,
                       const char *session, const char *upload)
{
    log_info("orphan.closed", KV("session", session), KV("container", container),
             KV("target", target), KV("upload", upload));
    event_emit_core(core, "orphan.closed", KV("session", session), KV("container", container),
                    KV("target", target), KV("upload", upload));
}

/* NULL: all are taken. */
static struct place *free_place(struct reaper *r, int64_t now)
{
    for (size_t i = 0; i < CLOSING_MAX; i++)
        if (!r->places[i].attempt || now >= r->places[i].until)
            return &r->places[i];
    return NULL;
}

static void take_place(struct attempt *a)
{
    struct cleat *core = a->session->core;
    int64_t now = core_now(core);
    struct place *p = free_place(core->reaper, now);
    core->reaper->closing++;
    if (p)
        *p = (struct place){.attempt = a, .until = now + PLACE_MS};
}

static void leave_place(const struct attempt *a)
{
    struct reaper *r = a->session->core->reaper;
    for (size_t i = 0; i < CLOSING_MAX; i++)
        if (r->places[i].attempt == a)
            r->places[i].attempt = NULL;
    r->closing--;
    task_wake(&r->task); /* the next one has its turn */
}

static void await_place(struct reaper *r, int64_t now)
{
    int64_t until = INT64_MAX;
    for (size_t i = 0; i < CLOSING_MAX; i++)
        if (r->places[i].until < until)
            until = r->places[i].until;
    timer_arm(&r->timer, until - now);
}

void reaper_recovered(struct attempt *a)
{
    take_place(a);
}

void reaper_ended(struct attempt *a)
{
    struct cleat *core = a->session->core;
    core->reaper->closed++;
    log_closed(core, a->container.id, NULL, a->session->id,
               a->cleanup.upload == STEP_OK     ? "ok"
               : a->cleanup.upload == STEP_LOST ? "lost"
                                                : "skipped");
    leave_place(a);
}

void reaper_forgot(struct attempt *a)
{
    if (a->session->core->reaper)
        leave_place(a);
}

static void target_removed(void *arg, const struct error *e)
{
    struct found *f = arg;
    struct cleat *core = f->group->core;
    f->removing = false;
    core->reaper->closing--;
    core->reaper->removing--;
    task_wake(&core->reaper->task);
    if (e && e->code != ERR_NONE) { /* the next listing shows it again */
        log_warn("orphan.retry", KV("target", f->key), KV("error", e->message));
        event_emit_core(core, "retry", KV("step", "orphan"), KV("target", f->key),
                        KV("error", e->message));
        f->ripe = f->ordered = false;
        f->first_at = core_now(core) + REMOVE_RETRY_MS;
        return;
    }
    core->reaper->closed++;
    log_closed(core, NULL, f->key, f->session, NULL);
    found_drop(&core->reaper->found, f);
}

static void log_closing(const struct found *f, const char *cause)
{
    log_warn("orphan.closing", KV("class", f->group->class->name), KV("session", f->session),
             KV("container", f->is_target ? NULL : f->container.id),
             KV("target", f->is_target ? f->key : NULL), KV("cause", cause));
    event_emit_core(f->group->core, "orphan.closing", KV("class", f->group->class->name),
                    KV("session", f->session),
                    KV("container", f->is_target ? NULL : f->container.id),
                    KV("target", f->is_target ? f->key : NULL), KV("cause", cause));
}

static void close_one(struct found *f, const char *cause)
{
    struct group *g = f->group;
    struct reaper *r = g->core->reaper;
    log_closing(f, cause);
    found_drop_others(&r->found, f);
    if (f->is_target) {
        struct target t = {.id = f->key, .ip = f->container.ip, .port = f->container.port};
        f->removing = true;
        r->closing++;
        r->removing++;
        g->balancer_ops->remove(g->balancer, &t, target_removed, f);
    } else {
        take_place(
            orphan_begin(g, f->session, f->tenant, f->number, &f->container, f->has_target));
        found_drop(&r->found, f);
    }
}

/* Wanted: by an operator, or because it was seen for long enough. */
static bool is_due(const struct found *f)
{
    return !f->removing && (f->ordered || (f->ripe && !f->group->core->settings->reap_dry_run));
}

static struct found *next_due(const struct reaper *r, bool is_target, char *cause)
{
    struct found *f = found_first(&r->found);
    while (f && !(f->is_target == is_target && is_due(f) && found_is_chosen(&r->found, f) &&
                  found_judge(&r->found, f, cause) == FOUND_CLOSE))
        f = found_next(f);
    return f;
}

void reaper_consider(struct cleat *core)
{
    struct reaper *r = core->reaper;
    char cause[FOUND_CAUSE_SIZE];
    struct found *f;
    if (core->store_failing)
        return;
    while (r->removing < CLOSING_MAX && (f = next_due(r, true, cause)))
        close_one(f, cause);
    while (free_place(r, core_now(core)) && (f = next_due(r, false, cause)))
        close_one(f, cause);
    if (!free_place(r, core_now(core)))
        await_place(r, core_now(core));
}

/* ---- what people are told ---- */

static json_t *document_of(const struct found *f, const char *cause, const char *action)
{
    json_t *target = f->is_target || f->has_target
                         ? json_sprintf("%s:%u", f->container.ip, (unsigned)f->container.port)
                         : json_null();
    return json_pack("{s:s, s:s?, s:o, s:s, s:s?, s:s, s:s}", "class", f->group->class->name,
                     "container", f->is_target ? NULL : f->container.id, "target", target,
                     "key", f->key, "session", *f->session ? f->session : NULL, "cause", cause,
                     "action", action);
}

static json_t *failed_classes(const struct cleat *core)
{
    json_t *list = json_array();
    for (size_t i = 0; i < core->group_count; i++)
        if (*core->groups[i].trouble)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s}", "class", core->groups[i].class->name,
                                            "error", core->groups[i].trouble));
    return list;
}

char *reaper_order(struct cleat *core, bool adopt, bool dry)
{
    struct reaper *r = core->reaper;
    char cause[FOUND_CAUSE_SIZE];
    json_t *list = json_array();
    if (adopt && !dry) {
        log_warn("journal.trusted", KV("by", "an operator"));
        past_trust(core);
    }
    for (struct found *f = found_first(&r->found); f; f = found_next(f)) {
        enum found_action action = found_judge(&r->found, f, cause);
        if (!found_is_chosen(&r->found, f))
            continue;
        if (action == FOUND_HOLD && adopt)
            action = FOUND_CLOSE;
        f->ordered |= action == FOUND_CLOSE && !dry;
        json_array_append_new(list, document_of(f, cause, action_names[action]));
    }
    json_t *o = json_pack("{s:b, s:b, s:o, s:o}", "dry_run", (int)dry, "adopt", (int)adopt,
                          "orphans", list, "failed", failed_classes(core));
    char *text = js_text(o);
    json_decref(o);
    task_wake(&r->task);
    return text;
}

struct reaper_counts reaper_count(const struct cleat *core)
{
    const struct reaper *r = core->reaper;
    char cause[FOUND_CAUSE_SIZE];
    unsigned counts[] = {[FOUND_CLOSE] = 0, [FOUND_HOLD] = 0, [FOUND_REPORT] = 0};
    for (struct found *f = found_first(&r->found); f; f = found_next(f))
        if (!f->removing && found_is_chosen(&r->found, f))
            counts[found_judge(&r->found, f, cause)]++;
    return (struct reaper_counts){.found = r->seen,
                                  .adopted = r->adopted,
                                  .closed = r->closed,
                                  .waiting = counts[FOUND_CLOSE],
                                  .closing = r->closing,
                                  .held = counts[FOUND_HOLD],
                                  .reported = counts[FOUND_REPORT]};
}

json_t *reaper_status(const struct cleat *core)
{
    struct reaper_counts n = reaper_count(core);
    return json_pack("{s:I, s:I, s:i, s:i, s:I, s:i, s:i}", "found", (json_int_t)n.found,
                     "adopted", (json_int_t)n.adopted, "waiting", (int)n.waiting, "closing",
                     (int)n.closing, "closed", (json_int_t)n.closed, "held", (int)n.held,
                     "reported", (int)n.reported);
}
