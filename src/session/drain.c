#include "session/drain.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleat.h"
#include "http/json.h"
#include "session/context.h"
#include "session/event.h"
#include "session/notes.h"
#include "session/session.h"
#include "session/warm.h"

#define NOTE "drain"

static void look_for_the_end(void *core);

/* The note is {"all":bool,"tenants":{NAME:true}}. */
void drain_load(struct cleat *core)
{
    const char *text = note_get(core, NOTE);
    json_t *o = text ? js_parse_object(text, strlen(text), NULL) : NULL;
    core->drain.all = json_is_true(json_object_get(o, "all"));
    core->drain.tenants = json_incref(json_object_get(o, "tenants"));
    if (!json_is_object(core->drain.tenants)) {
        json_decref(core->drain.tenants);
        core->drain.tenants = json_object();
    }
    task_init(&core->drain.task, core->loop, look_for_the_end, core);
    json_decref(o);
}

void drain_free(struct cleat *core)
{
    json_decref(core->drain.tenants);
    task_stop(&core->drain.task);
}

static bool covers(const struct cleat *core, const char *tenant)
{
    return core->drain.all || core->drain.closed ||
           json_object_get(core->drain.tenants, tenant) != NULL;
}

bool drain_covers(const struct cleat *core, const char *tenant, struct error *e)
{
    if (!covers(core, tenant))
        return false;
    bool ends = core->drain.closed != NULL;
    error_set(e, ERR_DRAINING, "%s; no new sessions are taken%s",
              ends              ? "cleat closes its sessions and ends"
              : core->drain.all ? "cleat is draining"
                                : "this tenant is draining",
              ends ? "" : " until the drain is ended");
    return true;
}

static void store(struct cleat *core)
{
    bool any = core->drain.all || json_object_size(core->drain.tenants) > 0;
    json_t *o =
        json_pack("{s:b, s:O}", "all", (int)core->drain.all, "tenants", core->drain.tenants);
    char *text = js_text(o);
    note_put(core, NOTE, any ? text : NULL);
    free(text);
    json_decref(o);
}

/* Those that wait for a place fail by themselves. */
static void tell_sessions(struct cleat *core, const char *tenant, bool now)
{
    struct session *s;
    TAILQ_FOREACH (s, &core->open, part_entry) {
        if (!context_sees(tenant, s))
            continue;
        if (now && s->state != SESSION_QUEUED)
            session_close(s, "drained", NULL);
        session_wake(s);
    }
}

void drain_begin(struct cleat *core, const char *tenant, bool now)
{
    if (tenant)
        json_object_set_new(core->drain.tenants, tenant, json_true());
    else
        core->drain.all = true;
    log_info("drain.begin", KV("tenant", tenant ? tenant : "*"), KI("now", now));
    event_emit_core(core, "drain.begin", KV("drained", tenant ? tenant : "*"), KI("now", now));
    store(core);
    tell_sessions(core, tenant, now);
}

void drain_end(struct cleat *core, const char *tenant)
{
    if (tenant)
        json_object_del(core->drain.tenants, tenant);
    else
        core->drain.all = false;
    log_info("drain.end", KV("tenant", tenant ? tenant : "*"));
    event_emit_core(core, "drain.end", KV("drained", tenant ? tenant : "*"));
    store(core);
    warm_consider_all(core);
}

bool drain_durable(const struct cleat *core)
{
    return note_durable(core, NOTE);
}

/* Of one tenant; NULL: of all that are drained. */
static json_t *count_sessions(const struct cleat *core, const char *tenant)
{
    const struct session *s;
    int open = 0, queued = 0;
    TAILQ_FOREACH (s, &core->open, part_entry)
        if (context_sees(tenant, s) && covers(core, s->context.tenant)) {
            open += s->state != SESSION_QUEUED;
            queued += s->state == SESSION_QUEUED;
        }
    return json_pack("{s:i, s:i}", "sessions", open, "queued", queued);
}

json_t *drain_status(const struct cleat *core)
{
    const char *name;
    json_t *member, *tenants = json_object();
    json_t *o = count_sessions(core, NULL);
    json_object_foreach (core->drain.tenants, name, member)
        json_object_set_new(tenants, name, count_sessions(core, name));
    json_object_set_new(o, "all", json_boolean(core->drain.all || core->drain.closed));
    json_object_set_new(o, "tenants", tenants);
    return o;
}

char *drain_document(const struct cleat *core)
{
    json_t *o = drain_status(core);
    char *text = js_text(o);
    json_decref(o);
    return text;
}

/* ---- the end of the coordinator ---- */

static void look_for_the_end(void *arg)
{
    struct cleat *core = arg;
    const struct session *s;
    if (core->drain.told)
        return;
    TAILQ_FOREACH (s, &core->sessions, entry)
        if (!session_is_over(s) || !session_durable(s))
            return;
    core->drain.told = true;
    core->drain.closed(core->drain.arg);
}

void drain_consider(struct cleat *core)
{
    if (core->drain.closed)
        task_wake(&core->drain.task);
}

void cleat_close_all(struct cleat *core, void (*done)(void *arg), void *arg)
{
    core->drain.closed = done;
    core->drain.arg = arg;
    log_info("drain.begin", KV("tenant", "*"), KI("now", true));
    event_emit_core(core, "drain.begin", KV("drained", "*"), KI("now", true));
    tell_sessions(core, NULL, true);
    drain_consider(core);
}
