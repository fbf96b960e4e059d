/* Events: what happened to a session, or to the coordinator, for people and programs that
 * watch. Writing one does no I/O: it goes into a bounded ring in memory, and nowhere else.
 *
 *     event_emit(s, "session.replacing", KI("attempt", a->number), KV("cause", a->cause));
 *
 * Every code is in the table of event_code.c, with a sentence for its user, and in cleatd(8).
 * Fields are shown to the session's tenant: never a secret. Empty texts are left out, long ones
 * cut.
 *
 * Two numbers. Each session counts its events from 1 without a gap; the count is in the
 * journal, and an event is shown to nobody before the commit that counts it, which is also the
 * one that holds the change it tells of: what a reader saw is true after a crash, and no number
 * comes twice. Shown events are numbered once more, in the order in which they are shown: among
 * all, which operators see, and among those of their tenant (event_tenant.h). The numbers of
 * all are reserved in the journal in blocks, so that a start skips what was left of one. */
#ifndef CLEAT_SESSION_EVENT_H
#define CLEAT_SESSION_EVENT_H

#include "base/log.h"
#include "session/core.h"

#define event_emit(session, code, ...)                                                         \
    event_write(session, code, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})
/* Of no session: for operators only. */
#define event_emit_core(core, code, ...)                                                       \
    event_write_core(core, code, (const struct log_field[]){__VA_ARGS__ __VA_OPT__(, ){0}})

/* code: static text, of the table. */
void event_write(struct session *, const char *code, const struct log_field *);
void event_write_core(struct cleat *, const char *code, const struct log_field *);

struct event_code;
struct event {
    struct event_log *log; /* NULL: its session is forgotten */
    uint64_t id;           /* of all that are shown; 0: not shown yet */
    uint64_t number;       /* of its session's */
    uint64_t number_of_tenant;
    struct tenant_events *of; /* NULL: of no tenant, or not shown yet */
    int64_t time;             /* core time, ms */
    const struct event_code *code;
    size_t size;           /* in memory */
    char session[ID_SIZE]; /* "": of the coordinator */
    const char *tenant;    /* both are in text */
    const char *fields;    /* members of a JSON object: "" or ,"key":value… */
    char text[];
};
/* {"id","session_id","seq","time","tenant","code","message", its fields}; free(). for_tenant:
 * its id is the tenant's. */
char *event_document(const struct event *, bool for_tenant);

void events_init(struct cleat *);
void events_load(struct cleat *);       /* after the notes */
void events_free(struct cleat *);       /* after the sessions */
void events_begin_life(struct cleat *); /* of numbers of tenants, once the journal knows */

/* For the journal. A session's row holds the count; while nothing else of it changes, a row of
 * its own does. */
void events_begin(struct session *);      /* one that is new here */
char *events_row(const struct session *); /* free() */
bool events_from_row(struct cleat *, const char *key, const char *row); /* false: no such key */
void events_restore(struct session *, uint64_t count);
uint64_t events_count(const struct session *);
bool events_unsent(const struct session *); /* the newest commit does not count them all */
void events_sent(struct session *);         /* this commit counts all there are */
void events_unsend(struct session *);       /* it failed */
/* The commit of that number is durable, and counts so many. */
void events_commit(struct session *, uint64_t number, uint64_t count);
void events_show_held(struct cleat *); /* after any commit */
void events_forget(struct session *);  /* the session is freed */

#endif
