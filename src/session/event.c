#include "session/event.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/buf.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/event_code.h"
#include "session/event_read.h"
#include "session/event_tenant.h"
#include "session/job.h"
#include "session/journal.h"
#include "session/notes.h"

#define NOTE "events"
#define ROW_PREFIX "events."
#define BLOCK 65536           /* numbers reserved at a time, when less than half are left */
#define KEPT_BYTES (8u << 20) /* of all events */
#define UNSHOWN_MAX 64        /* of one session, while the journal fails */
#define TEXT_MAX 256          /* bytes of one field */

/* ---- one event ---- */

static void add_text(struct buf *b, const char *text)
{
    char copy[TEXT_MAX + 1];
    mem_copy_string(copy, sizeof(copy), text);
    error_make_printable(copy);
    buf_puts(b, "\"");
    for (const char *c = copy; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_puts(b, "\\");
        buf_add(b, c, 1);
    }
    buf_puts(b, "\"");
}

static void add_fields(struct buf *b, const struct log_field *fields)
{
    for (const struct log_field *f = fields; f->key; f++) {
        if (f->text && !*f->text)
            continue;
        buf_printf(b, ",\"%s\":", f->key);
        if (f->text)
            add_text(b, f->text);
        else
            buf_printf(b, "%" PRId64, f->number);
    }
}

static struct event *make(struct cleat *core, struct event_log *log, const char *code,
                          const char *tenant, const struct log_field *fields)
{
    struct buf b = {0};
    size_t tenant_size = strlen(tenant) + 1;
    buf_add(&b, tenant, tenant_size);
    add_fields(&b, fields);
    size_t size = sizeof(struct event) + b.len + 1;
    struct event *e = mem_alloc(size);
    memcpy(e->text, b.data, b.len + 1);
    buf_free(&b);
    e->tenant = e->text;
    e->fields = e->text + tenant_size;
    e->log = log;
    e->time = core_now(core);
    e->code = event_code_find(code);
    assert(e->code);
    e->size = size;
    core->events.bytes += size;
    return e;
}

static void release(struct cleat *core, struct event *e)
{
    if (!e)
        return;
    core->events.bytes -= e->size;
    free(e);
}

static void add_time(struct buf *b, int64_t ms)
{
    char text[32];
    struct tm tm;
    time_t seconds = (time_t)(ms / 1000);
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, ",\"time\":\"%s.%03dZ\"", text, (int)(ms % 1000));
}

char *event_document(const struct event *e, bool for_tenant)
{
    struct buf b = {0};
    buf_printf(&b, "{\"id\":%" PRIu64, for_tenant ? e->number_of_tenant : e->id);
    if (*e->session)
        buf_printf(&b, ",\"session_id\":\"%s\",\"seq\":%" PRIu64, e->session, e->number);
    add_time(&b, e->time);
    if (*e->tenant) {
        buf_puts(&b, ",\"tenant\":");
        add_text(&b, e->tenant);
    }
    buf_printf(&b, ",\"code\":\"%s\",\"message\":\"%s\"%s}", e->code->name, e->code->message,
               e->fields);
    return buf_take(&b);
}

/* ---- showing ---- */

/* The numbers that are reserved are never given again, whatever happens. */
static bool may_show(struct cleat *core)
{
    struct events *all = &core->events;
    if (note_durable(core, NOTE)) {
        all->reserved = all->reserving;
        all->life_durable = all->life;
    }
    return all->shown.last < all->reserved && all->life == all->life_durable;
}

static void put_note(struct cleat *core)
{
    char *text = mem_printf("{\"reserved\":%" PRIu64 ",\"life\":%" PRIu64 "}",
                            core->events.reserving, core->events.life);
    note_put(core, NOTE, text);
    free(text);
}

static void reserve(struct cleat *core)
{
    struct events *all = &core->events;
    if (all->reserving > all->shown.last + BLOCK / 2)
        return;
    all->reserving = all->shown.last + BLOCK;
    put_note(core);
}

void events_begin_life(struct cleat *core)
{
    core->events.life++;
    put_note(core);
}

/* Its own session's ring begins with it, or with numbers that are empty. */
static void drop_oldest(struct cleat *core)
{
    struct event *e = event_ring_drop(&core->events.shown);
    if (e && e->log)
        while (event_ring_first(&e->log->ring) <= e->number)
            event_ring_drop(&e->log->ring);
    if (e)
        tenant_events_drop(e);
    release(core, e);
}

/* e NULL: some were given up. */
static void show_one(struct cleat *core, struct tenant_events *of, struct event *e)
{
    uint64_t id = event_ring_add(&core->events.shown, e);
    if (of)
        tenant_events_add(of, e);
    if (!e)
        return;
    e->id = id;
    readers_note(core, e);
}

/* Those that were given up (bound_unshown) leave one empty number, so that who reads of all
 * sessions is told of a gap as well. */
static void show(struct cleat *core, struct event_log *log, const char *tenant)
{
    struct events *all = &core->events;
    bool gap = false;
    while (log->shown < log->durable) {
        struct tenant_events *of = *tenant ? tenant_events_of(core, tenant) : NULL;
        if (!may_show(core)) {
            all->held = true;
            break;
        }
        struct event *e = event_ring_get(&log->ring, ++log->shown);
        if (e || !gap)
            show_one(core, of, e);
        gap = !e;
    }
    reserve(core);
    while (all->bytes > KEPT_BYTES && all->shown.count > 0)
        drop_oldest(core);
}

/* What a commit failed to keep is in none that was sent before that was known. */
void events_commit(struct session *s, uint64_t number, uint64_t count)
{
    if (number <= s->events.in_doubt)
        return;
    if (count > s->events.durable)
        s->events.durable = count;
    show(s->core, &s->events, s->context.tenant);
}

void events_show_held(struct cleat *core)
{
    struct session *s;
    if (!core->events.held)
        return;
    core->events.held = false;
    show(core, &core->events.own, "");
    TAILQ_FOREACH (s, &core->sessions, entry)
        show(core, &s->events, s->context.tenant);
}

/* ---- writing ---- */

/* A journal that fails for long is no reason to keep without bound what nobody may see yet. */
static void bound_unshown(struct cleat *core, struct event_log *log)
{
    if (log->ring.last - log->shown > UNSHOWN_MAX)
        release(core, event_ring_empty(&log->ring, log->ring.last - UNSHOWN_MAX));
}

void event_write(struct session *s, const char *code, const struct log_field *fields)
{
    if (s->warm) /* nobody's: its log tells */
        return;
    struct event *e = make(s->core, &s->events, code, s->context.tenant, fields);
    mem_copy_string(e->session, sizeof(e->session), s->id);
    e->number = event_ring_add(&s->events.ring, e);
    bound_unshown(s->core, &s->events);
    journal_add(s);
    task_wake(&s->core->noted);
}

void event_write_core(struct cleat *core, const char *code, const struct log_field *fields)
{
    struct event_log *own = &core->events.own;
    struct event *e = make(core, own, code, "", fields);
    e->number = own->durable = event_ring_add(&own->ring, e);
    bound_unshown(core, own);
    show(core, own, "");
}

/* ---- the journal ---- */

void events_begin(struct session *s)
{
    snprintf(s->events_key, sizeof(s->events_key), ROW_PREFIX "%s", s->id);
}

/* Their count, and of a job how much output they tell of. */
char *events_row(const struct session *s)
{
    return mem_printf("%" PRIu64 " %" PRIu64, events_count(s), s->job ? s->job->marked : 0);
}

static void restore_row(struct session *s, const char *row)
{
    char *rest;
    events_restore(s, strtoull(row, &rest, 10));
    uint64_t marked = strtoull(rest, NULL, 10);
    if (s->job && marked > s->job->marked)
        s->job->marked = marked;
}

bool events_from_row(struct cleat *core, const char *key, const char *row)
{
    if (strncmp(key, ROW_PREFIX, strlen(ROW_PREFIX)) != 0)
        return false;
    struct session *s = core_find(core, key + strlen(ROW_PREFIX));
    if (s)
        restore_row(s, row);
    else
        note_put(core, key, NULL); /* of one that was given up: with the first commit it goes */
    return true;
}

void events_restore(struct session *s, uint64_t count)
{
    struct event_log *log = &s->events;
    if (count > log->ring.last)
        log->ring.last = log->sent = log->durable = log->shown = count;
}

uint64_t events_count(const struct session *s)
{
    return s->events.ring.last;
}

bool events_unsent(const struct session *s)
{
    return s->events.sent < s->events.ring.last;
}

void events_sent(struct session *s)
{
    s->events.sent = s->events.ring.last;
}

void events_unsend(struct session *s)
{
    s->events.sent = s->events.durable;
    s->events.in_doubt = s->core->commit_sent;
    if (events_unsent(s))
        journal_add(s);
}

/* ---- beginning and end ---- */

void events_init(struct cleat *core)
{
    TAILQ_INIT(&core->events.readers);
}

void events_load(struct cleat *core)
{
    struct events *all = &core->events;
    const char *note = note_get(core, NOTE);
    json_t *o = note ? js_parse_object(note, strlen(note), NULL) : NULL;
    int64_t reserved_before = 0, life = 0;
    js_int(o, "reserved", false, 0, INT64_MAX / 2, &reserved_before, &(struct error){0});
    js_int(o, "life", false, 0, INT32_MAX, &life, &(struct error){0});
    json_decref(o);
    /* Events that the journal counts and nobody was shown are a gap, too. */
    bool lost = !TAILQ_EMPTY(&core->sessions);
    all->shown.last = all->reserving = (uint64_t)reserved_before + lost;
    all->life = (uint64_t)life + (lost || note);
    reserve(core);
}

/* Those that were shown stay for who reads of all sessions. */
void events_forget(struct session *s)
{
    struct event *e;
    struct event_ring *ring = &s->events.ring;
    readers_forget(s->core, s);
    while (ring->count > 0)
        if ((e = event_ring_drop(ring)) && e->id > 0)
            e->log = NULL;
        else
            release(s->core, e);
    event_ring_free(ring);
}

void events_free(struct cleat *core)
{
    struct events *all = &core->events;
    struct event *e;
    while (all->shown.count > 0)
        drop_oldest(core);
    while (all->own.ring.count > 0)
        if ((e = event_ring_drop(&all->own.ring)))
            release(core, e);
    event_ring_free(&all->shown);
    event_ring_free(&all->own.ring);
    tenant_events_free(core);
}
