#include "witness.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/id.h"
#include "books.h"
#include "cleat.h"
#include "world.h"

#define BUCKETS 256
#define WHOLE_DOCUMENTS 8

struct told {
    char id[ID_SIZE];
    uint64_t seq;
    const char *state;  /* "session.ready", …: what its newest event of that kind says */
    uint64_t marked;    /* of its job's output */
    bool skipped, lost; /* there may be later ones, later states, that were never read */
    bool lost_mark;     /* there were, and a mark may be among them */
    struct told *next;
};

/* Of one coordinator, over all its lives. */
struct witness {
    const struct instance *of;
    const char *tenant; /* that it is; NULL: an operator */
    unsigned life;      /* in which it reads */
    uint64_t id;        /* of the newest event */
    bool skipped;
    struct told *sessions[BUCKETS];
    struct witness *next;
};

static struct witness *witnesses;

void witness_begin(void)
{
    witnesses = NULL;
}

static struct witness *mine(const char *tenant)
{
    struct witness *w = witnesses;
    while (w && (w->of != world.me || w->tenant != tenant))
        w = w->next;
    if (w)
        return w;
    w = world_alloc(sizeof *w);
    w->of = world.me;
    w->tenant = tenant;
    w->next = witnesses;
    return witnesses = w;
}

static struct told *find(struct witness *w, const char *id)
{
    unsigned hash = 5381;
    for (const char *c = id; *c; c++)
        hash = 33 * hash + (unsigned char)*c;
    struct told **at = &w->sessions[hash % BUCKETS], *t = *at;
    while (t && strcmp(t->id, id) != 0)
        t = t->next;
    if (t)
        return t;
    t = world_alloc(sizeof *t);
    strcpy(t->id, id);
    t->skipped = t->lost = w->skipped;
    t->next = *at;
    return *at = t;
}

/* What follows the member's name; NULL: it has none. No text of an event has a quoted name in
 * it: its quotation marks are escaped. */
static const char *member(const char *document, const char *name)
{
    char quoted[32];
    int len = snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = strstr(document, quoted);
    return at ? at + len : NULL;
}

static uint64_t number_of(const char *document, const char *name)
{
    const char *at = member(document, name);
    return at ? strtoull(at, NULL, 10) : 0;
}

static bool text_of(const char *document, const char *name, char *out, size_t size)
{
    const char *at = member(document, name);
    if (!at || *at != '"')
        return false;
    snprintf(out, size, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
    return true;
}

static void begin_again(struct witness *w, const char *session)
{
    if (session) {
        struct told *t = find(w, session);
        t->seq = 0;
        t->state = NULL;
        t->skipped = t->lost = t->lost_mark = true;
        return;
    }
    w->id = 0;
    memset(w->sessions, 0, sizeof w->sessions);
    w->skipped = true;
}

void witness_journal_lost(const char *session)
{
    for (struct witness *w = witnesses; w; w = w->next)
        if (w->of == world.me)
            begin_again(w, session);
}

static bool is_end(const char *state)
{
    return state &&
           (strcmp(state, "session.closed") == 0 || strcmp(state, "session.failed") == 0);
}

/* A session goes from state to state, never back from its end, and never out of closing. */
static void check_state(struct told *t, const char *code, const char *from)
{
    char expected[32] = "session.";
    if (strncmp(code, expected, 8) != 0 || !from)
        return;
    for (size_t i = 0; from[i] && i < 20; i++) {
        expected[8 + i] = (char)(from[i] | 0x20);
        expected[9 + i] = '\0';
    }
    bool closing = t->state && strcmp(t->state, "session.closing") == 0;
    if (is_end(t->state) || (closing && !is_end(code)))
        world_violate("EVENTS", "%s: %s after %s", t->id, code, t->state);
    if (t->state && !t->lost && strcmp(t->state, expected) != 0)
        world_violate("EVENTS", "%s: %s from %s after %s", t->id, code, from, t->state);
    t->state = world_strdup(code);
    t->lost = false;
}

/* Marks of a job's output lie side by side, and the last one ends where the output does. */
static void check_marks(struct told *t, const char *code, const char *document)
{
    bool is_mark = strcmp(code, "output") == 0 && !member(document, "execution");
    bool is_end = strcmp(code, "job.ended") == 0;
    if (!is_mark && !is_end)
        return;
    uint64_t at = number_of(document, is_mark ? "offset" : "output");
    if (at != t->marked && !t->lost_mark)
        world_violate("EVENTS", "%s: %s at %" PRIu64 " after a mark that ends at %" PRIu64,
                      t->id, code, at, t->marked);
    t->marked = at + (is_mark ? number_of(document, "bytes") : 0);
    t->lost_mark = false;
}

/* A tenant is told of nobody else, and by numbers of its own. */
static void check_wall(const struct witness *w, const struct cleat_event *e)
{
    char tenant[64] = "nobody";
    text_of(e->document, "tenant", tenant, sizeof tenant);
    if (w->tenant && strcmp(tenant, w->tenant) != 0)
        world_violate("I9", "%s reads events of %s", w->tenant, tenant);
    if (number_of(e->document, "id") != e->id)
        world_violate("EVENTS", "event %" PRIu64 " says %" PRIu64, e->id,
                      number_of(e->document, "id"));
}

static void take_session_event(struct witness *w, const char *id, const char *document)
{
    struct told *t = find(w, id);
    char code[48] = "", from[32];
    uint64_t seq = number_of(document, "seq");
    if (seq <= t->seq || (seq > t->seq + 1 && !t->skipped))
        world_violate("EVENTS", "%s: event %" PRIu64 " after %" PRIu64, id, seq, t->seq);
    if (seq > t->seq + 1)
        t->lost_mark = true;
    t->seq = seq;
    t->skipped = false;
    if (!text_of(document, "code", code, sizeof code))
        world_violate("EVENTS", "%s: an event without a code", id);
    check_marks(t, code, document);
    check_state(t, code, text_of(document, "from", from, sizeof from) ? from : NULL);
}

static void skip(struct witness *w, uint64_t from)
{
    if (from != w->id + 1)
        world_violate("EVENTS", "a gap from %" PRIu64 " on after %" PRIu64, from, w->id);
    w->skipped = true;
    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct told *t = w->sessions[i]; t; t = t->next)
            t->skipped = t->lost = true;
}

static void attach(struct witness *);

/* One that is cut off because too much waits for it goes on where it was. */
static void attach_again(void *witness)
{
    struct witness *w = witness;
    if (world.me->cleat && world.me == w->of && world.me->life == w->life)
        attach(w);
}

static void take_end(struct witness *w, const char *document)
{
    char reason[32];
    if (!text_of(document, "reason", reason, sizeof reason) || strcmp(reason, "slow") != 0)
        world_violate("EVENTS", "the end after %" PRIu64 ": %s", w->id, document);
    else
        world_at(0, attach_again, w);
}

/* One document in so many is read whole: that costs more than what the event is about. */
static void check_document(const char *document, uint64_t id)
{
    if ((id + world.seed) % WHOLE_DOCUMENTS > 0)
        return;
    json_t *o = json_loads(document, JSON_REJECT_DUPLICATES, NULL);
    if (!o)
        world_violate("EVENTS", "no JSON: %s", document);
    json_decref(o);
}

static bool take(void *arg, const struct cleat_event *e)
{
    struct witness *w = arg;
    const char *document = e->document;
    char session[ID_SIZE];
    bool of_session = text_of(document, "session_id", session, sizeof session);
    if (world.frozen || books_limits.forgetful)
        return true;
    check_document(document, e->id);
    if (strcmp(e->code, "gap") == 0)
        skip(w, number_of(document, "from"));
    else if (strcmp(e->code, "end") == 0)
        take_end(w, document);
    else if (e->id != w->id + 1)
        world_violate("EVENTS", "%s %" PRIu64 " after %" PRIu64, e->code, e->id, w->id);
    else if (of_session)
        take_session_event(w, session, document);
    if (of_session)
        check_wall(w, e);
    w->id = e->id;
    return true;
}

static void attach(struct witness *w)
{
    w->life = world.me->life;
    cleat_events(world.me->cleat, w->tenant, NULL, (int64_t)w->id, true, take, w);
}

void witness_attach(void)
{
    static const char *const tenants[] = {NULL, "tenant-a", "tenant-b"};
    for (size_t i = 0; i < sizeof tenants / sizeof tenants[0]; i++)
        attach(mine(tenants[i]));
}

void witness_check_end(void)
{
    if (books_limits.forgetful)
        return;
    for (struct witness *w = witnesses; w; w = w->next)
        for (unsigned i = 0; i < BUCKETS; i++)
            for (struct told *t = w->sessions[i]; t; t = t->next) {
                const struct session_facts *facts = books_session(t->id);
                if (facts && facts->closed && !t->lost && !is_end(t->state))
                    world_violate("EVENTS", "%s is closed, and its events end with %s", t->id,
                                  t->state ? t->state : "nothing");
            }
}
