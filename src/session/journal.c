/* The changes of one turn become one commit, of very many several; effects wait until theirs
 * is durable. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/admission.h"
#include "session/attempt.h"
#include "session/call.h"
#include "session/clock.h"
#include "session/drain.h"
#include "session/event.h"
#include "session/job_files.h"
#include "session/journal.h"
#include "session/notes.h"
#include "session/outage.h"
#include "session/past.h"
#include "session/record.h"
#include "session/session.h"

#define COMMIT_MAX 500 /* sessions in one commit: a turn is short */
#define PURGE_MAX 500  /* sessions forgotten in one turn */

struct commit {
    TAILQ_ENTRY(commit) entry;
    struct cleat *core;
    uint64_t number;
    bool purge; /* these sessions are forgotten once it is durable */
    size_t count, room;
    struct committed_session {
        char id[ID_SIZE]; /* one may be freed meanwhile */
        uint64_t events;
    } * sessions;
};

struct changes {
    struct store_change *list;
    size_t count, capacity;
};

void journal_add(struct session *s)
{
    if (s->in_journal)
        return;
    s->in_journal = true;
    TAILQ_INSERT_TAIL(&s->core->journal, s, journal_entry);
}

static void add_change(struct changes *c, enum store_kind kind, const char *key, char *row)
{
    if (c->count == c->capacity) {
        c->capacity = c->capacity ? 2 * c->capacity : 16;
        c->list = mem_grow(c->list, c->capacity * sizeof(*c->list));
    }
    c->list[c->count++] = (struct store_change){.kind = kind, .key = key, .row = row};
}

static void add_note(void *changes, const char *key, const char *row)
{
    add_change(changes, STORE_META, key, row ? mem_strdup(row) : NULL);
}

static void release_changes(struct changes *c)
{
    for (size_t i = 0; i < c->count; i++)
        free((char *)c->list[i].row);
    free(c->list);
}

/* Whose attempt it was: its rows go in the commit that brings the new one. */
static void remove_warm(struct changes *c, const struct attempt *a)
{
    const char *row_key = a->key + strlen(a->session->core->settings->owner) + 1;
    add_change(c, STORE_SESSION, a->identity.session, NULL);
    add_change(c, STORE_ATTEMPT, row_key, NULL);
}

static void add_session(struct changes *c, struct session *s, uint64_t number)
{
    struct attempt *a;
    if (s->dirty || !s->stored) { /* no attempt is stored without its session */
        add_change(c, STORE_SESSION, s->id, session_row(s));
        s->dirty = false;
        s->commit = number;
        events_sent(s);
    }
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (a->dirty) {
            add_change(c, STORE_ATTEMPT, a->row_key, attempt_row(a));
            if (a->moved)
                remove_warm(c, a);
            a->dirty = false;
            a->commit = number;
        }
    if (events_unsent(s))
        add_change(c, STORE_META, s->events_key, events_row(s));
    events_sent(s);
}

/* Nothing of it is left. */
static void discard(struct session *s, const struct error *why)
{
    if (s->job)
        job_files_drop(s->core, s->id);
    calls_fail(s, why);
    session_free(s);
}

/* What a failed commit held is not durable: it goes into a later one. A session that the
 * journal never held is forgotten and its caller told; nothing was done for it yet. One that
 * was adopted has a container to lose. */
static void again(struct session *s, uint64_t number, const struct error *e)
{
    struct attempt *a;
    if (!s->stored && !s->adopted && s->commit <= number) {
        discard(s, e);
        return;
    }
    if (s->commit == number)
        session_dirty(s);
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (a->commit == number)
            attempt_dirty(a);
    events_unsend(s);
    session_wake(s);
}

static struct commit *commit_new(struct cleat *core)
{
    struct commit *c = mem_alloc(sizeof(*c));
    c->core = core;
    c->number = ++core->commit_sent;
    TAILQ_INSERT_TAIL(&core->commits, c, entry);
    return c;
}

static void note_session(struct commit *c, const struct session *s)
{
    if (c->count == c->room) {
        c->room = c->room > 0 ? 2 * c->room : 4;
        c->sessions = mem_grow(c->sessions, c->room * sizeof(*c->sessions));
    }
    struct committed_session *noted = &c->sessions[c->count++];
    mem_copy_string(noted->id, sizeof(noted->id), s->id);
    noted->events = events_count(s);
}

static void commit_free(struct commit *c)
{
    TAILQ_REMOVE(&c->core->commits, c, entry);
    free(c->sessions);
    free(c);
}

void journal_forget(struct cleat *core)
{
    while (!TAILQ_EMPTY(&core->commits))
        commit_free(TAILQ_FIRST(&core->commits));
}

/* Made while the commit that failed was under way: never in any commit, so forgotten just the
 * same. */
static void forget_unstored(struct cleat *core, const struct error *e)
{
    struct session *s, *next;
    for (s = TAILQ_FIRST(&core->journal); s; s = next) {
        next = TAILQ_NEXT(s, journal_entry);
        if (s->stored || s->adopted || s->commit > 0)
            continue;
        discard(s, e);
    }
}

/* Its rows are gone. Something of it may have changed meanwhile: then it is not forgotten. */
static void forget(struct session *s)
{
    struct attempt *a;
    struct error gone;
    bool same = !s->dirty;
    TAILQ_FOREACH (a, &s->attempts, entry)
        same = same && !a->dirty && attempt_has_ended(a);
    if (same) {
        error_set(&gone, ERR_NOT_FOUND, "the session is forgotten: its retention is over");
        discard(s, &gone);
        return;
    }
    session_dirty(s);
    TAILQ_FOREACH (a, &s->attempts, entry)
        attempt_dirty(a);
}

static void note_sessions(struct commit *c, const struct error *e)
{
    for (size_t i = 0; i < c->count; i++) {
        struct session *s = core_find(c->core, c->sessions[i].id);
        if (!s)
            continue;
        if (c->purge && !e) {
            forget(s);
        } else if (!c->purge && e) {
            again(s, c->number, e);
        } else if (!c->purge) {
            if (!s->stored && s->line && s->group->refusals > 0) /* it may claim one now */
                admission_wake(c->core);
            s->stored = true;
            events_commit(s, c->number, c->sessions[i].events);
            session_wake(s);
        }
    }
}

static void committed(void *arg, const struct error *e)
{
    struct commit *c = arg;
    struct cleat *core = c->core;
    const struct error *failed = e && e->code != ERR_NONE ? e : NULL;
    if (failed) {
        outage_failed(core, failed);
        forget_unstored(core, failed);
        notes_again(core, c->number);
    } else {
        core->commit_durable = c->number;
        outage_is_over(core);
    }
    if (c->purge)
        core->purging = false;
    note_sessions(c, failed);
    events_show_held(core);
    calls_answer_drains(core, failed);
    drain_consider(core);
    commit_free(c);
}

static void send(struct cleat *core, const struct changes *changes, struct commit *c)
{
    core->counters.commits++;
    core->store_ops->commit(core->store, changes->list, changes->count, committed, c);
}

void journal_turn_end(void *arg)
{
    struct cleat *core = arg;
    struct changes changes = {0};
    struct session *s;
    if (outage_waits(core) || (TAILQ_EMPTY(&core->journal) && !notes_are_dirty(core)))
        return;
    core->outage.due = false;
    struct commit *c = commit_new(core);
    while (c->count < COMMIT_MAX && (s = TAILQ_FIRST(&core->journal))) {
        TAILQ_REMOVE(&core->journal, s, journal_entry);
        s->in_journal = false;
        add_session(&changes, s, c->number);
        note_session(c, s);
    }
    notes_commit(core, c->number, add_note, &changes);
    send(core, &changes, c);
    release_changes(&changes);
}

/* ---- load ---- */

struct loading {
    struct cleat *core;
    bool gaps;          /* sessions are missing, and attempts may be theirs */
    struct error first; /* the first row that cannot be understood */
};

/* Nothing is forgotten quietly: a start with a row that cannot be understood is refused. */
static void note_bad(struct loading *l, const char *key, const struct error *e)
{
    log_error("journal.row", KV("key", key), KV("error", e->message));
    if (l->first.code != ERR_NONE)
        return;
    if (e->code == ERR_CONFIG) /* the row is fine */
        l->first = *e;
    else
        error_set(&l->first, ERR_STORE, "journal, row %s: %s (cleatd(8), Lost journal)", key,
                  e->message);
}

static void load_session(void *arg, const char *key, const char *row)
{
    struct loading *l = arg;
    struct error e = {0};
    if (session_from_row(l->core, row, &e))
        return;
    l->gaps = true;
    note_bad(l, key, &e);
}

static void load_attempt(void *arg, const char *key, const char *row)
{
    struct loading *l = arg;
    struct error e = {0};
    if (l->gaps)
        return;
    if (!attempt_from_row(l->core, row, &e))
        note_bad(l, key, &e);
}

static void load_note(void *arg, const char *key, const char *row)
{
    struct loading *l = arg;
    if (!events_from_row(l->core, key, row))
        note_from_row(l->core, key, row);
}

bool journal_load(struct cleat *core, struct error *e)
{
    struct loading l = {.core = core};
    *e = (struct error){0};
    core->store_ops->load(core->store, STORE_SESSION, load_session, &l, e);
    if (e->code == ERR_NONE)
        core->store_ops->load(core->store, STORE_ATTEMPT, load_attempt, &l, e);
    if (e->code == ERR_NONE)
        core->store_ops->load(core->store, STORE_META, load_note, &l, e);
    if (e->code == ERR_NONE)
        *e = l.first;
    if (e->code != ERR_NONE)
        return false;
    clock_load(core);
    events_load(core);
    past_load(core, e);
    return e->code == ERR_NONE;
}

static void count_row(void *arg, const char *key, const char *row)
{
    size_t *rows = arg;
    (void)key;
    (void)row;
    ++*rows;
}

bool journal_has_sessions(struct cleat *core, struct error *e)
{
    size_t rows = 0;
    core->store_ops->load(core->store, STORE_SESSION, count_row, &rows, e);
    return rows > 0;
}

/* ---- purge ---- */

static void add_deletion(struct changes *changes, struct session *s)
{
    struct attempt *a;
    past_note(s->core, s->id);
    add_change(changes, STORE_SESSION, s->id, NULL);
    add_change(changes, STORE_META, s->events_key, NULL);
    TAILQ_FOREACH (a, &s->attempts, entry) {
        past_note(s->core, a->identity.session);
        add_change(changes, STORE_ATTEMPT, a->row_key, NULL);
    }
}

/* Nobody is told of a warm one that is over, but its container may turn up as an orphan, which
 * is held for good when nobody knows its session. */
static bool is_old(const struct session *s, int64_t closed_before)
{
    const struct cleat *core = s->core;
    const struct settings *set = core->settings;
    int64_t since = s->closed > core->started ? s->closed : core->started;
    int64_t found_ms = (2 * set->reap_interval_s + set->reap_grace_s) * 1000;
    return s->closed <= closed_before || (s->warm && core_now(core) - since > found_ms);
}

static bool is_forgettable(const struct session *s, int64_t closed_before)
{
    const struct attempt *a;
    TAILQ_FOREACH (a, &s->attempts, entry)
        if (!attempt_has_ended(a) || !attempt_durable(a))
            return false;
    return session_is_over(s) && is_old(s, closed_before) && session_durable(s);
}

bool journal_purge(struct cleat *core)
{
    struct changes changes = {0};
    struct session *s;
    int64_t before = core_now(core) - core->settings->retention_s * 1000;
    if (core->store_failing || core->purging)
        return core->purging;
    struct commit *c = NULL;
    TAILQ_FOREACH (s, &core->sessions, entry) {
        if (!is_forgettable(s, before))
            continue;
        if (!c)
            c = commit_new(core);
        if (c->count == PURGE_MAX)
            break;
        note_session(c, s);
        add_deletion(&changes, s);
    }
    if (c) {
        core->purging = c->purge = true;
        past_store(core);
        notes_commit(core, c->number, add_note, &changes);
        send(core, &changes, c);
    }
    release_changes(&changes);
    return s != NULL;
}
