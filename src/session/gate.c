#include "session/gate.h"

#include <stdio.h>
#include "base/log.h"
#include "base/mem.h"
#include "session/event.h"
#include "session/metrics.h"
#include "session/session.h"
#include "session/warm.h"

const char *const driver_call_names[DRIVER_CALLS] = {[DRIVER_LAUNCH] = "launch",
                                                     [DRIVER_STOP] = "stop",
                                                     [DRIVER_ADD] = "add",
                                                     [DRIVER_REMOVE] = "remove",
                                                     [DRIVER_LIST] = "list"};

static void wake_group(struct group *g)
{
    struct session *s;
    TAILQ_FOREACH (s, &g->core->open, part_entry)
        if (s->group == g)
            session_wake(s);
}

bool gate_admits(struct group *g, enum driver_call call, bool *trial, int64_t *when)
{
    struct breaker *b = &g->breakers[call];
    int64_t now = core_now(g->core);
    bool admitted = breaker_admits(b, now, trial);
    if (!admitted)
        *when = breaker_retry_at(b, now);
    if (*trial) {
        log_info("breaker.half_open", KV("class", g->class->name),
                 KV("call", driver_call_names[call]), KV("error", b->error.message));
        event_emit_core(g->core, "breaker.half_open", KV("class", g->class->name),
                        KV("call", driver_call_names[call]), KV("error", b->error.message));
    }
    return admitted;
}

void gate_note(struct group *g, enum driver_call call, bool trial, const struct error *e)
{
    struct breaker *b = &g->breakers[call];
    int64_t now = core_now(g->core);
    bool was_open = b->open;
    metrics_driver_call(g, call, e);
    breaker_done(b, now, trial, e);
    if (b->open && (trial || !was_open) && !b->trying && b->retry_at > now) {
        log_error("breaker.open", KV("class", g->class->name),
                  KV("call", driver_call_names[call]), KI("failures", b->failures),
                  KI("wait_ms", b->retry_at - now), KV("error", b->error.message));
        event_emit_core(g->core, "breaker.open", KV("class", g->class->name),
                        KV("call", driver_call_names[call]), KI("failures", b->failures),
                        KI("wait_ms", b->retry_at - now), KV("error", b->error.message));
    } else if (was_open && !b->open) {
        log_info("breaker.closed", KV("class", g->class->name),
                 KV("call", driver_call_names[call]));
        event_emit_core(g->core, "breaker.closed", KV("class", g->class->name),
                        KV("call", driver_call_names[call]));
        wake_group(g);
        warm_consider(g);
    }
}

bool gate_pass(struct attempt *a, enum driver_call call, struct op *op)
{
    struct session *s = a->session;
    struct group *g = s->group;
    int64_t when = 0;
    if (gate_admits(g, call, &op->trial, &when)) {
        event_emit(s, "op.begin", KI("attempt", a->number), KV("op", driver_call_names[call]));
        return true;
    }
    if (s->state == SESSION_OPENING) {
        char text[sizeof s->waiting_for];
        snprintf(text, sizeof text, "the engine: %.170s", g->breakers[call].error.message);
        session_waits_for(s, text);
    }
    session_at(s, when);
    return false;
}

void gate_done(struct attempt *a, enum driver_call call, const struct op *op)
{
    const struct error *e = &op->error;
    event_emit(a->session, "op.end", KI("attempt", a->number),
               KV("op", driver_call_names[call]),
               KV("result", e->code == ERR_NONE ? "ok" : error_name(e->code)),
               KV("error", e->message));
    gate_note(a->session->group, call, op->trial, e);
}

bool gate_is_shut(const struct group *g, enum driver_call call)
{
    return breaker_state(&g->breakers[call], core_now(g->core)) == BREAKER_OPEN;
}

static json_t *breaker_status(const struct breaker *b, int64_t now)
{
    enum breaker_state state = breaker_state(b, now);
    int64_t wait = state == BREAKER_OPEN ? b->retry_at - now : 0;
    return json_pack("{s:s, s:i, s:I, s:o}", "state", breaker_state_names[state], "failures",
                     (int)b->failures, "retry_in_ms", (json_int_t)wait, "error",
                     b->failures > 0 ? json_string(b->error.message) : json_null());
}

json_t *gate_status(const struct group *g)
{
    json_t *o = json_object();
    for (size_t i = 0; i < DRIVER_CALLS; i++)
        json_object_set_new(o, driver_call_names[i],
                            breaker_status(&g->breakers[i], core_now(g->core)));
    return o;
}
