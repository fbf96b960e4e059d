#include "session/past.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "http/json.h"
#include "session/notes.h"
#include "session/session.h"

#define NOTE "journal"
#define NOTHING INT64_MAX

static bool read_row(struct past *p, const char *row, struct error *e)
{
    const char *newest = NULL;
    json_t *o = js_parse_object(row, strlen(row), e);
    js_int(o, "created", true, 0, INT64_MAX, &p->created, e);
    js_int(o, "doubt_from", true, 0, INT64_MAX, &p->doubt_from, e);
    js_int(o, "doubt_to", true, 0, INT64_MAX, &p->doubt_to, e);
    js_string(o, "newest", true, ID_SIZE - 1, &newest, e);
    js_int(o, "unlisted_from", false, 0, INT64_MAX, &p->unlisted_from, e);
    if (e->code == ERR_NONE && *newest && !id_valid(newest))
        error_set(e, ERR_STORE, "\"newest\" is no session id");
    if (e->code == ERR_NONE)
        mem_copy_string(p->newest, sizeof(p->newest), newest);
    json_decref(o);
    return e->code == ERR_NONE;
}

void past_load(struct cleat *core, struct error *e)
{
    struct past *p = &core->past;
    p->unlisted_from = NOTHING;
    const char *row = note_get(core, NOTE);
    const struct session *s = TAILQ_LAST(&core->sessions, session_list);
    struct error why = {0};
    if (row && !read_row(p, row, &why)) {
        error_set(e, ERR_STORE, "journal, row %s: %s", NOTE, why.message);
        return;
    }
    if (!row && !s)
        p->created = core->started;
    if (s)
        past_note(core, s->id);
    p->gap_stored = p->unlisted_from != NOTHING;
    p->gap_from = *p->newest ? id_time_ms(p->newest) : 0;
    if (p->unlisted_from < p->gap_from)
        p->gap_from = p->unlisted_from;
    p->unlisted_from = p->gap_from;
    if (!row)
        past_store(core);
}

void past_store(struct cleat *core)
{
    struct past *p = &core->past;
    p->gap_stored = p->unlisted_from != NOTHING;
    json_t *o =
        json_pack("{s:I, s:s, s:I, s:I, s:I}", "created", (json_int_t)p->created, "newest",
                  p->newest, "doubt_from", (json_int_t)p->doubt_from, "doubt_to",
                  (json_int_t)p->doubt_to, "unlisted_from", (json_int_t)p->unlisted_from);
    char *text = js_text(o);
    note_put(core, NOTE, text);
    free(text);
    json_decref(o);
}

/* The row need not be written for this alone: a start sees the rows that are there. */
void past_note(struct cleat *core, const char *session)
{
    struct past *p = &core->past;
    if (strcmp(session, p->newest) > 0)
        mem_copy_string(p->newest, sizeof(p->newest), session);
}

void past_new_session(struct cleat *core)
{
    struct past *p = &core->past;
    if (p->unlisted_from != NOTHING && !p->gap_stored)
        past_store(core);
}

void past_all_listed(struct cleat *core)
{
    struct past *p = &core->past;
    p->unlisted_from = NOTHING;
    if (p->gap_stored)
        past_store(core);
}

bool past_is_listed(const struct cleat *core)
{
    return core->past.unlisted_from == NOTHING;
}

/* Within a millisecond ids have no order. One that comes from after it was seen is of a life
 * whose clock was ahead. */
static bool is_of_a_lost_life(const struct cleat *core, const char *session, int64_t seen_at)
{
    int64_t made = id_time_ms(session);
    bool ahead = made > seen_at && seen_at > core->past.trusted_at;
    return ahead || (made >= core->past.gap_from && made < core->started);
}

const char *past_silence(const struct cleat *core, const char *session, int64_t seen_at)
{
    const struct past *p = &core->past;
    int64_t made = id_time_ms(session);
    if (made < p->created)
        return "its session is older than the journal";
    if (made >= p->doubt_from && made < p->doubt_to)
        return "its session is of a time that the journal does not hold";
    return is_of_a_lost_life(core, session, seen_at)
               ? "its session is newer than the newest that the journal held"
               : NULL;
}

void past_doubt(struct cleat *core, const char *session, int64_t seen_at)
{
    struct past *p = &core->past;
    if (!is_of_a_lost_life(core, session, seen_at))
        return;
    int64_t made = id_time_ms(session), to = made < core->started ? core->started : made + 1;
    if (p->doubt_to == 0 || p->gap_from < p->doubt_from)
        p->doubt_from = p->gap_from;
    if (to > p->doubt_to)
        p->doubt_to = to;
    past_store(core);
}

void past_trust(struct cleat *core)
{
    struct past *p = &core->past;
    static const uint8_t last[10] = {0xff, 0xff, 0xff, 0xff, 0xff,
                                     0xff, 0xff, 0xff, 0xff, 0xff};
    char until_now[ID_SIZE];
    id_make(until_now, core_now(core), last);
    past_note(core, until_now);
    p->gap_from = p->unlisted_from = NOTHING;
    p->trusted_at = core_now(core);
    p->created = p->doubt_from = p->doubt_to = 0;
    past_store(core);
}
