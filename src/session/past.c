#include "session/past.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "http/json.h"
#include "session/notes.h"
#include "session/session.h"

#define NOTE "journal"

static bool read_row(struct past *p, const char *row, struct error *e)
{
    const char *newest = NULL;
    json_t *o = js_parse_object(row, strlen(row), e);
    js_int(o, "created", true, 0, INT64_MAX, &p->created, e);
    js_int(o, "doubt_from", true, 0, INT64_MAX, &p->doubt_from, e);
    js_int(o, "doubt_to", true, 0, INT64_MAX, &p->doubt_to, e);
    js_string(o, "newest", true, ID_SIZE - 1, &newest, e);
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
    if (!row)
        past_store(core);
    mem_copy_string(p->loaded, sizeof(p->loaded), p->newest);
}

void past_store(struct cleat *core)
{
    const struct past *p = &core->past;
    json_t *o = json_pack("{s:I, s:s, s:I, s:I}", "created", (json_int_t)p->created, "newest",
                          p->newest, "doubt_from", (json_int_t)p->doubt_from, "doubt_to",
                          (json_int_t)p->doubt_to);
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

/* Made after the newest session that the journal held at the start, and before this life.
 * Within a millisecond ids have no order. */
static bool is_of_a_lost_life(const struct cleat *core, const char *session)
{
    const char *newest = core->past.loaded;
    int64_t made = id_time_ms(session);
    return (!*newest || made >= id_time_ms(newest)) && made < core->started;
}

const char *past_silence(const struct cleat *core, const char *session)
{
    const struct past *p = &core->past;
    int64_t made = id_time_ms(session);
    if (made < p->created)
        return "its session is older than the journal";
    if (made >= p->doubt_from && made < p->doubt_to)
        return "its session is of a time that the journal does not hold";
    return is_of_a_lost_life(core, session)
               ? "its session is newer than the newest that the journal held"
               : NULL;
}

void past_doubt(struct cleat *core, const char *session)
{
    struct past *p = &core->past;
    if (!is_of_a_lost_life(core, session))
        return;
    int64_t from = *p->loaded ? id_time_ms(p->loaded) : 0;
    if (p->doubt_to == 0 || from < p->doubt_from)
        p->doubt_from = from;
    if (core->started > p->doubt_to)
        p->doubt_to = core->started;
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
    mem_copy_string(p->loaded, sizeof(p->loaded), p->newest);
    p->created = p->doubt_from = p->doubt_to = 0;
    past_store(core);
}
