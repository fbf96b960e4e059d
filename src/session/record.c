/* Rows of the journal: everything that a new start needs, and the spans that documents show. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/config.h"
#include "session/engine.h"
#include "session/event.h"
#include "session/job.h"
#include "session/once.h"
#include "session/record.h"
#include "session/request.h"
#include "session/session.h"
#include "session/warm.h"

static const char *const span_results[] = {"running", "ok", "skipped", "lost", NULL};

static const char *known(const char *const *list, const char *text)
{
    for (size_t i = 0; text && list[i]; i++)
        if (strcmp(list[i], text) == 0)
            return list[i];
    return NULL;
}

/* A row is written whenever its session changes and most of it is spans: they are added to its
 * text without a tree of JSON in between. Names and results need no quoting. */
static char *add_spans(const struct session *s, char *row)
{
    struct buf b = {0};
    buf_add(&b, row, strlen(row) - 1);
    free(row);
    buf_puts(&b, ",\"spans\":[");
    for (size_t i = 0; i < s->span_count; i++) {
        const struct span *span = &s->spans[i];
        buf_printf(&b, "%s[\"%s\",%u,%s,%" PRId64 ",%" PRId64, i > 0 ? "," : "", span->name,
                   span->attempt, span->cleanup ? "true" : "false", span->start, span->end);
        if (span->result)
            buf_printf(&b, ",\"%s\"]", span->result);
        else
            buf_puts(&b, ",null]");
    }
    buf_puts(&b, "]}");
    return b.data;
}

static void spans_from_row(struct session *s, const json_t *list)
{
    size_t i;
    json_t *row;
    json_array_foreach (list, i, row) {
        const char *name = NULL;
        json_t *result = NULL;
        int attempt = 0, cleanup = 0;
        json_int_t start = 0, end = 0;
        if (json_unpack(row, "[s,i,b,I,I,o]", &name, &attempt, &cleanup, &start, &end,
                        &result) != 0 ||
            !known(span_names, name))
            continue;
        session_span_add(
            s, &(struct span){.name = known(span_names, name),
                              .attempt = (unsigned)attempt,
                              .cleanup = cleanup,
                              .start = start,
                              .end = end,
                              .result = known(span_results, json_string_value(result))});
    }
}

static char *take_text(json_t *o)
{
    char *text = js_text(o);
    json_decref(o);
    return text;
}

char *session_row(const struct session *s)
{
    json_t *o = json_object();
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"created", s->created},
                   {"opened", s->opened},
                   {"ready", s->ready},
                   {"closing", s->closing},
                   {"closed", s->closed},
                   {"used", s->used},
                   {"launch_at", s->launch_at},
                   {"attempts", (int64_t)s->attempts_used},
                   {"failures", (int64_t)s->failures},
                   {"executed", (int64_t)s->executed},
                   {"executions_failed", (int64_t)s->executions_failed},
                   {"probes", (int64_t)s->probes},
                   {"misroutes", (int64_t)s->misroutes},
                   {"replacing", s->replacing},
                   {"replacements", (int64_t)s->replacements},
                   {"executed_before", (int64_t)s->executed_before},
                   {"events", (int64_t)events_count(s)},
                   {"input_files", s->input.done ? s->input.files : -1},
                   {"order", (int64_t)s->order},
                   {"queued_at", s->queued_at},
                   {"queued_ms", s->queued_ms}};
    json_object_set_new(o, "id", json_string(s->id));
    json_object_set_new(o, "request_id", json_string(s->request_id));
    json_object_set_new(o, "parameters", json_string(s->parameters));
    json_object_set_new(o, "state", json_string(session_state_names[s->state]));
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_set_new(o, numbers[i].key, json_integer(numbers[i].value));
    json_object_set_new(o, "stop_reason", json_string(s->stop_reason));
    json_object_set_new(o, "error", json_string(error_name(s->error.code)));
    json_object_set_new(o, "message", json_string(s->error.message));
    if (s->input.done && strcmp(s->input.place, s->id) != 0)
        json_object_set_new(o, "input_place", json_string(s->input.place));
    if (s->warm)
        json_object_set_new(o, "warm", warm_row(s));
    if (s->adopted)
        json_object_set_new(
            o, "adopted",
            json_pack("{s:b, s:s}", "env_lost", (int)s->env_lost, "unfit", s->unfit));
    if (s->job)
        json_object_set_new(o, "job", job_row(s));
    return add_spans(s, take_text(o));
}

static bool is_own_identity(const struct attempt *a)
{
    return a->identity.number == a->number && strcmp(a->identity.session, a->session->id) == 0;
}

char *attempt_row(const struct attempt *a)
{
    const struct cookie_set *c = &a->route.cookies;
    json_t *o =
        json_pack("{s:s, s:i, s:s, s:I}", "session", a->session->id, "number", (int)a->number,
                  "state", attempt_state_names[a->state], "since", (json_int_t)a->since);
    if (!is_own_identity(a))
        json_object_set_new(o, "identity",
                            json_pack("[s, i, I]", a->identity.session, (int)a->identity.number,
                                      (json_int_t)a->identity.idle_timeout_s));
    json_object_set_new(o, "engine", engine_row(a->session->group));
    if (a->launched)
        json_object_set_new(o, "container",
                            json_pack("{s:s, s:s, s:i}", "id", a->container.id, "ip",
                                      a->container.ip, "port", (int)a->container.port));
    if (a->prepared)
        json_object_set_new(o, "prepared", json_string(a->prepared));
    json_object_set_new(o, "registered", json_boolean(a->registered));
    if (a->target_group)
        json_object_set_new(o, "target_group", json_string(a->target_group));
    json_object_set_new(o, "direct", json_boolean(a->direct));
    json_object_set_new(o, "touched", json_boolean(a->touched));
    if (a->adopted)
        json_object_set_new(o, "adopted", json_true());
    if (a->orphan)
        json_object_set_new(o, "orphan", json_true());
    json_object_set_new(o, "upload", json_integer(a->cleanup.upload));
    json_object_set_new(o, "noting", json_boolean(a->noting));
    if (a->noting && a->sent.count > 0)
        json_object_set_new(o, "sent", once_row(a));
    if (a->grants.expires > 0)
        json_object_set_new(
            o, "keys",
            json_pack("[I, I]", (json_int_t)a->grants.expires, (json_int_t)a->grants.renew_at));
    if (c->header)
        json_object_set_new(o, "cookies",
                            json_pack("{s:s, s:I, s:I, s:i}", "header", c->header, "expires",
                                      (json_int_t)c->expires_ms, "set", (json_int_t)c->set_ms,
                                      "node", (int)a->route.node));
    return take_text(o);
}

static int find_name(const char *const *names, int count, const char *text)
{
    for (int i = 0; text && i < count; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -1;
}

static bool numbers_from_row(struct session *s, const json_t *o)
{
    int64_t attempts = 0, failures = 0, executed = 0, failed = 0, probes = 0, misroutes = 0,
            replacements = 0, before = 0, files = -1, order = (int64_t)s->order, events = 0;
    struct error e = {0};
    js_int(o, "created", true, 0, INT64_MAX, &s->created, &e);
    js_int(o, "opened", true, 0, INT64_MAX, &s->opened, &e);
    js_int(o, "ready", true, 0, INT64_MAX, &s->ready, &e);
    js_int(o, "closing", true, 0, INT64_MAX, &s->closing, &e);
    js_int(o, "closed", true, 0, INT64_MAX, &s->closed, &e);
    js_int(o, "used", true, 0, INT64_MAX, &s->used, &e);
    js_int(o, "launch_at", true, 0, INT64_MAX, &s->launch_at, &e);
    js_int(o, "attempts", true, 0, UINT32_MAX, &attempts, &e);
    js_int(o, "failures", true, 0, UINT32_MAX, &failures, &e);
    js_int(o, "executed", true, 0, INT64_MAX, &executed, &e);
    js_int(o, "executions_failed", true, 0, INT64_MAX, &failed, &e);
    js_int(o, "probes", true, 0, INT64_MAX, &probes, &e);
    js_int(o, "misroutes", true, 0, INT64_MAX, &misroutes, &e);
    js_int(o, "replacing", false, 0, INT64_MAX, &s->replacing, &e);
    js_int(o, "replacements", false, 0, UINT32_MAX, &replacements, &e);
    js_int(o, "executed_before", false, 0, INT64_MAX, &before, &e);
    js_int(o, "events", false, 0, INT64_MAX, &events, &e);
    js_int(o, "input_files", false, -1, INT64_MAX, &files, &e);
    s->queued_at = s->created; /* as rows had it before sessions could come back to the queue */
    js_int(o, "order", false, 1, INT64_MAX, &order, &e);
    js_int(o, "queued_at", false, 0, INT64_MAX, &s->queued_at, &e);
    js_int(o, "queued_ms", false, 0, INT64_MAX, &s->queued_ms, &e);
    s->order = (uint64_t)order;
    if (s->core->order < s->order)
        s->core->order = s->order;
    s->attempts_used = (unsigned)attempts;
    s->failures = (unsigned)failures;
    s->executed = (uint64_t)executed;
    s->executions_failed = (uint64_t)failed;
    s->probes = (uint64_t)probes;
    s->misroutes = (uint64_t)misroutes;
    s->replacements = (unsigned)replacements;
    s->executed_before = (uint64_t)before;
    events_restore(s, (uint64_t)events);
    s->input.done = files >= 0;
    s->input.files = files >= 0 ? files : 0;
    return e.code == ERR_NONE;
}

/* Of a session that is over, or closes, only the record is needed: nobody checks anew what it
 * may ask for. One that is over needs no class that is still configured. */
static struct session *make_closed(struct cleat *core, const char *id, const char *request_id,
                                   const char *parameters, bool over, struct error *e)
{
    json_t *o = js_parse_object(parameters, strlen(parameters), NULL);
    const char *tenant = json_string_value(json_object_get(o, "tenant"));
    const char *class_name = json_string_value(json_object_get(o, "class"));
    struct create_request r = {.tenant = tenant,
                               .user = json_string_value(json_object_get(o, "user")),
                               .thread = json_string_value(json_object_get(o, "thread")),
                               .run = json_string_value(json_object_get(o, "run")),
                               .parent = json_string_value(json_object_get(o, "parent")),
                               .class_name = class_name ? class_name : "default",
                               .input = json_string_value(json_object_get(o, "input")),
                               .env = json_object_get(o, "env"),
                               .job = json_object_get(o, "job"),
                               .parameters = (char *)parameters};
    struct session *s = NULL;
    struct group *g = core_find_group(core, r.class_name);
    if (!g && !over)
        error_set(e, ERR_INVALID, "class: there is no class \"%s\"", r.class_name);
    else if (tenant) {
        s = session_new(core, g ? g : &core->groups[0], id, tenant, request_id);
        session_fill(s, &r);
    }
    json_decref(o);
    return s;
}

static struct session *make_live(struct cleat *core, const char *id, const char *request_id,
                                 const char *parameters, struct error *e)
{
    struct create_request r;
    if (!create_request_parse(core->config, NULL, parameters, strlen(parameters), &r, e))
        return NULL;
    struct session *s =
        session_new(core, core_find_group(core, r.class_name), id, r.tenant, request_id);
    session_fill(s, &r);
    create_request_release(&r);
    return s;
}

static void adopted_from_row(struct session *s, const json_t *o)
{
    const char *unfit = json_string_value(json_object_get(o, "unfit"));
    s->adopted = o != NULL;
    s->env_lost = json_is_true(json_object_get(o, "env_lost"));
    mem_copy_string(s->unfit, sizeof(s->unfit), unfit ? unfit : "");
}

static bool fill_from_row(struct session *s, const json_t *o, enum session_state state)
{
    const char *message = json_string_value(json_object_get(o, "message"));
    const char *reason = json_string_value(json_object_get(o, "stop_reason"));
    session_set_state(s, state);
    s->stored = true;
    s->error.code = error_find(json_string_value(json_object_get(o, "error")));
    mem_copy_string(s->error.message, sizeof(s->error.message), message ? message : "");
    mem_copy_string(s->stop_reason, sizeof(s->stop_reason), reason ? reason : "");
    adopted_from_row(s, json_object_get(o, "adopted"));
    job_from_row(s, json_object_get(o, "job"));
    spans_from_row(s, json_object_get(o, "spans"));
    session_spans_fit(s);
    if (!numbers_from_row(s, o))
        return false;
    const char *place = json_string_value(json_object_get(o, "input_place"));
    mem_copy_string(s->input.place, sizeof(s->input.place),
                    !s->input.done ? ""
                    : place        ? place
                                   : s->id);
    s->ready_durable = s->ready > 0;
    return true;
}

struct session *session_from_row(struct cleat *core, const char *row, struct error *e)
{
    struct session *s = NULL;
    json_t *o = js_parse_object(row, strlen(row), e);
    const char *id = json_string_value(json_object_get(o, "id"));
    const char *request_id = json_string_value(json_object_get(o, "request_id"));
    const char *parameters = json_string_value(json_object_get(o, "parameters"));
    int state = find_name(session_state_names, SESSION_STATES,
                          json_string_value(json_object_get(o, "state")));
    if (id && id_valid(id) && request_id && parameters && state >= 0)
        s = json_object_get(o, "warm") ? warm_from_row(core, id, o, state > SESSION_CLOSING, e)
            : state < SESSION_CLOSING
                ? make_live(core, id, request_id, parameters, e)
                : make_closed(core, id, request_id, parameters, state > SESSION_CLOSING, e);
    if (s && !fill_from_row(s, o, (enum session_state)state)) {
        session_free(s);
        s = NULL;
    }
    if (!s && e->code == ERR_NONE)
        error_set(e, ERR_STORE, "the row is damaged");
    json_decref(o);
    return s;
}

static void container_from_row(struct attempt *a, const json_t *o)
{
    const char *id = json_string_value(json_object_get(o, "id"));
    const char *ip = json_string_value(json_object_get(o, "ip"));
    if (!id || !ip)
        return;
    mem_copy_string(a->container.id, sizeof(a->container.id), id);
    mem_copy_string(a->container.ip, sizeof(a->container.ip), ip);
    a->container.port = (uint16_t)json_integer_value(json_object_get(o, "port"));
    mem_copy_string(a->container.key, sizeof(a->container.key), a->key);
    a->launched = true;
}

static void cookies_from_row(struct attempt *a, const json_t *o)
{
    const char *header = json_string_value(json_object_get(o, "header"));
    if (!header)
        return;
    a->route.cookies.header = mem_strdup(header);
    a->route.cookies.expires_ms = json_integer_value(json_object_get(o, "expires"));
    a->route.cookies.set_ms = json_integer_value(json_object_get(o, "set"));
    a->route.node = (size_t)json_integer_value(json_object_get(o, "node"));
}

static struct attempt *make_attempt(struct session *s, unsigned number, const json_t *identity)
{
    struct identity i = {.number = (unsigned)json_integer_value(json_array_get(identity, 1)),
                         .idle_timeout_s = json_integer_value(json_array_get(identity, 2))};
    const char *session = json_string_value(json_array_get(identity, 0));
    if (!session)
        return attempt_new(s, number);
    mem_copy_string(i.session, sizeof(i.session), session);
    return attempt_new_as(s, number, &i);
}

static struct attempt *fill_attempt(struct session *s, unsigned number,
                                    enum attempt_state state, const json_t *o)
{
    json_int_t upload = json_integer_value(json_object_get(o, "upload"));
    struct attempt *a = make_attempt(s, number, json_object_get(o, "identity"));
    if (state > ATTEMPT_CHECKING)
        s->group->arriving--;
    attempt_set_state(a, state);
    a->since = json_integer_value(json_object_get(o, "since"));
    a->recovered = true;
    if (s->ready > 0 && s->replacing == 0 && state <= ATTEMPT_LIVE)
        a->lived = a->since;
    container_from_row(a, json_object_get(o, "container"));
    const char *prepared = json_string_value(json_object_get(o, "prepared"));
    a->prepared = prepared ? mem_strdup(prepared) : NULL;
    a->registered = json_is_true(json_object_get(o, "registered"));
    const char *target_group = json_string_value(json_object_get(o, "target_group"));
    a->target_group = target_group ? mem_strdup(target_group) : NULL;
    a->direct = json_is_true(json_object_get(o, "direct"));
    a->touched = a->touch_durable = json_is_true(json_object_get(o, "touched"));
    a->adopted = json_is_true(json_object_get(o, "adopted"));
    a->orphan = json_is_true(json_object_get(o, "orphan"));
    a->noting = json_is_true(json_object_get(o, "noting"));
    once_from_row(a, json_object_get(o, "sent"));
    if (upload >= STEP_OK && upload <= STEP_LOST)
        a->cleanup.upload = (enum step_result)upload;
    const json_t *keys = json_object_get(o, "keys");
    a->grants.expires = json_integer_value(json_array_get(keys, 0));
    a->grants.renew_at = json_integer_value(json_array_get(keys, 1));
    cookies_from_row(a, json_object_get(o, "cookies"));
    return a;
}

/* A closed session needs its class no more, but for what is still being closed of it. */
static bool lacks_class(const struct session *s, int state)
{
    return state != ATTEMPT_ENDED && strcmp(s->class_name, s->group->class->name) != 0;
}

struct attempt *attempt_from_row(struct cleat *core, const char *row, struct error *e)
{
    struct attempt *a = NULL;
    json_t *o = js_parse_object(row, strlen(row), e);
    const char *id = json_string_value(json_object_get(o, "session"));
    struct session *s = id ? core_find(core, id) : NULL;
    json_int_t number = json_integer_value(json_object_get(o, "number"));
    int state = find_name(attempt_state_names, ATTEMPT_STATES,
                          json_string_value(json_object_get(o, "state")));
    if (!s || number < 1 || number > UINT16_MAX || state < 0)
        error_set(e, ERR_STORE, "the row is damaged");
    else if (lacks_class(s, state))
        error_set(e, ERR_CONFIG,
                  "class %s is not configured, and a container of it is still being closed: "
                  "configure it until that has ended",
                  s->class_name);
    else if (state == ATTEMPT_ENDED || engine_is_same(s, json_object_get(o, "engine"), e))
        a = fill_attempt(s, (unsigned)number, (enum attempt_state)state, o);
    json_decref(o);
    return a;
}
