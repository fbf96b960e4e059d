#include "life.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "books.h"
#include "job_life.h"
#include "scenario.h"
#include "sim_stage.h"
#include "world.h"

#define CREATE_WITHIN_MS 180000
#define WAIT_MS 120000
#define DOWN_RETRY_MS 100
#define PARENT_RETRY_MS 20
#define MISSING_RETRY_MS 500
#define MISSING_MS 400000 /* ECS has shown it by then */
#define DEATH_IS_KNOWN_MS 30000
#define REMOTE_DEATH_IS_KNOWN_MS 200000 /* an engine may be slow, and its events lost */

struct life *lives;
struct life_limits life_limits;
static unsigned life_count;

struct life_step { /* an execution of a life, as an argument of events */
    struct life *life;
    unsigned index;
};

static void create(void *life);
static void wait_ready(void *life);
static void close_life(void *life);
static void wait_closed(void *life);
static void execute(void *step);
static void consider_closing(struct life *);

void lives_begin(void)
{
    lives = NULL;
    life_count = 0;
    life_limits = (struct life_limits){.execute_ms = 7200000, .close_ms = 7200000};
    calls_begin();
}

void lives_forget_calls(void)
{
    calls_forget_all();
}

static bool is(const struct cleat_error *error, const char *code)
{
    return error && strcmp(error->code, code) == 0;
}

/* False: it is down; the event comes back later. */
static bool coordinator_is_up(void (*fn)(void *), void *arg)
{
    if (!coordinator)
        world_at(DOWN_RETRY_MS, fn, arg);
    return coordinator != NULL;
}

/* The text under a key of a compact document's outermost object; NULL: it has none. Documents
 * are long and often looked into, so they are not parsed for it. */
static const char *document_text(const char *document, const char *key)
{
    size_t len = strlen(key);
    int depth = 0;
    for (const char *at = document; *at; at++) {
        depth += (*at == '{' || *at == '[') - (*at == '}' || *at == ']');
        if (*at != '"')
            continue;
        const char *text = at + 1;
        for (at = text; *at != '"'; at++)
            at += *at == '\\';
        if (depth != 1 || (size_t)(at - text) != len || strncmp(text, key, len) != 0 ||
            strncmp(at, "\":\"", 3) != 0)
            continue;
        json_t *value = json_loads(at + 2, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK, NULL);
        const char *copy = world_strdup(json_string_value(value));
        json_decref(value);
        return copy;
    }
    return NULL;
}

/* ---- a journal that was lost ---- */

static void give_up(struct life *life)
{
    if (life->must_be_found)
        world_violate("I5", "%s was ready, and its session was never found again", life->name);
    life->phase = LIFE_CLOSED;
    life->forgotten = true;
    life->closed_ms = world.now_ms;
    world_log("%s is forgotten", life->name);
}

/* True: no session of that id is known, and the same is asked for again. */
static bool is_missing(struct life *life, const struct cleat_error *error, void (*fn)(void *),
                       void *arg)
{
    if (!life_limits.forgetful || !is(error, "not_found")) {
        life->missing_ms = -1;
        return false;
    }
    if (life->missing_ms < 0)
        life->missing_ms = world.now_ms;
    if (life->phase >= LIFE_CLOSED)
        return true;
    if (world.now_ms - life->missing_ms >= MISSING_MS) {
        give_up(life);
    } else if (arg != life || life->sought != fn || life->sought_ms <= world.now_ms) {
        life->sought = arg == life ? fn : life->sought;
        life->sought_ms = world.now_ms + MISSING_RETRY_MS;
        world_at(MISSING_RETRY_MS, fn, arg);
    }
    return true;
}

/* ---- tenant wall (I9) ---- */

static void stranger_answered(void *arg, const struct cleat_error *error, const char *document)
{
    const struct life *life = arg;
    if (document || !is(error, "not_found"))
        world_violate("I9", "a stranger's call on %s is answered with %s", life->name,
                      error ? error->code : "a document");
}

static void try_the_wall(struct life *life)
{
    const char *stranger =
        world.sabotage == SABOTAGE_OPEN_WALL ? life->plan.tenant : "stranger";
    char *session = cleat_session(coordinator, stranger, life->session);
    char *route = cleat_route(coordinator, stranger, life->session, NULL);
    char *all = cleat_sessions(coordinator, stranger);
    if (session || route || strstr(all, life->session))
        world_violate("I9", "a stranger sees %s", life->name);
    free(session);
    free(route);
    free(all);
    struct call *call = call_new("stranger", CREATE_WITHIN_MS, stranger_answered, life);
    if (world_chance(5000))
        call_keep(call, cleat_close(coordinator, stranger, life->session, call_done, call));
    else
        call_keep(call, cleat_execute(coordinator, stranger, life->session, "{\"code\":\"x\"}",
                                      12, call_done, call));
}

/* ---- birth ---- */

static void learn_session(struct life *life, const char *document)
{
    const char *id = document_text(document, life->plan.is_job ? "job_id" : "session_id");
    if (!id || !id_valid(id)) {
        world_violate("API", "a session document without session_id: %.200s", document);
        return;
    }
    if (life->session[0] && strcmp(life->session, id) != 0) {
        world_violate("I6", "request id %s has sessions %s and %s", life->request_id,
                      life->session, id);
        return;
    }
    if (life->session[0])
        return;
    mem_copy_string(life->session, sizeof life->session, id);
    if (!books_session(id))
        books_session_new(id, life->plan.tenant, life->name);
    world_log("%s is session %s", life->name, id);
}

static const char *create_request(const struct life *life)
{
    const char *tenant = life->plan.tenant;
    if (life->plan.is_job)
        return job_life_request(life);
    const char *source = stage_source(tenant, life->plan.inputs);
    const char *user = life->plan.user;
    if (life->plan.parent)
        return world_printf("{\"request_id\":\"%s\",\"parent\":\"%s\"}", life->request_id,
                            life->plan.parent->session);
    return world_printf("{\"request_id\":\"%s\",\"tenant\":\"%s\",\"user\":\"%s\"%s%s%s}",
                        life->request_id, tenant,
                        user ? user : world_printf("u%u", life->index),
                        life->plan.env ? ",\"env\":{\"NAME\":\"value\"}" : "",
                        life->plan.inputs ? world_printf(",\"input\":\"%s\"", source) : "",
                        life->plan.outlives ? world_printf(",\"max_lifetime_s\":%" PRId64,
                                                           settings.max_lifetime_s + 1)
                                            : "");
}

static void stolen(void *arg, const struct cleat_error *error, const char *document)
{
    const struct life *life = arg;
    if (document || !(is(error, "forbidden") || error->retryable))
        world_violate("I9", "%s is given another tenant's input", life->name);
}

static void try_to_steal_input(struct life *life)
{
    const char *request =
        world_printf("{\"request_id\":\"steal-%u\",\"tenant\":\"%s\",\"input\":\"%s\"}",
                     life->index, life->plan.tenant, stage_source("somebody-else", 1));
    struct call *call = call_new("steal", CREATE_WITHIN_MS, stolen, life);
    call_keep(call, cleat_create(coordinator, life->plan.tenant, request, strlen(request),
                                 call_done, call));
}

/* The parent was closing; or it was not yet, and the child closed before its answer came. */
static bool came_too_late(struct life *life, const struct cleat_error *error)
{
    bool late = is(error, "session_closed") || is(error, "request_id_closed");
    if (late && life->plan.parent->phase < LIFE_CLOSING)
        world_violate("CHILD", "%s is refused, and its parent is not closing", life->name);
    if (late && life->phase == LIFE_UNBORN)
        life_abandon(life);
    return late;
}

static void created(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    if (error && error->retryable) {
        world_at(1000, create, life);
        return;
    }
    if (error && life->phase > LIFE_WAITING)
        return; /* the second of two creates, after a close: refused, as it should be */
    if (life->plan.parent && came_too_late(life, error))
        return;
    if (error) {
        world_violate("API", "%s cannot be created: %s (%s)", life->name, error->code,
                      error->message);
        return;
    }
    learn_session(life, document);
    if (life->phase != LIFE_UNBORN)
        return;
    life->phase = LIFE_WAITING;
    if (world_chance(2000))
        try_the_wall(life);
    if (life->plan.inputs && world_chance(2000))
        try_to_steal_input(life);
    if (life->plan.is_job)
        job_life_begin(life);
    else
        wait_ready(life);
}

static struct cleat_call *ask_for_it(const struct life *life, const char *tenant,
                                     struct call *call)
{
    const char *request = create_request(life);
    return (life->plan.is_job ? cleat_job_submit : cleat_create)(
        coordinator, tenant, request, strlen(request), call_done, call);
}

static void create(void *arg)
{
    struct life *life = arg;
    if (life->phase > LIFE_WAITING || !coordinator_is_up(create, life))
        return;
    if (life->plan.parent && !life->plan.parent->session[0]) {
        if (life->plan.parent->phase == LIFE_OVER)
            life_abandon(life);
        else
            world_at(PARENT_RETRY_MS, create, life);
        return;
    }
    struct call *call = call_new("create", CREATE_WITHIN_MS, created, life);
    call_keep(call, ask_for_it(life, life->plan.tenant, call));
}

static void birth(void *arg)
{
    struct life *life = arg;
    create(life);
    if (life->plan.twice)
        create(life);
    if (life->plan.close_ms >= 0)
        world_at(life->plan.close_ms, close_life, life);
}

struct life *life_new(const struct plan *plan)
{
    struct life *life = world_alloc(sizeof *life), **end = &lives;
    life->of = world.me;
    life->index = life_count++;
    life->name = world_printf("L%u", life->index);
    life->request_id = world_printf("request-%u", life->index);
    life->plan = *plan;
    life->ready_ms = life->closing_ms = life->closed_ms = life->missing_ms = -1;
    while (*end)
        end = &(*end)->next;
    *end = life;
    world_at(plan->born_ms, birth, life);
    return life;
}

/* ---- ready ---- */

static void check_ready_document(const struct life *life, const char *document)
{
    const char *address = document_text(document, "address");
    for (const struct container *c = containers; c && address; c = c->next)
        if (books_is_of(c, life->session) && strcmp(c->address, address) == 0)
            return;
    world_violate("I2", "%s is ready at %s, where its container never was", life->name,
                  address ? address : "no address");
}

/* The route that a gateway would use leads, by a proven cookie, to this session's container. */
static void check_route(const struct life *life)
{
    static const char name[] = "AWSALB=";
    char *route = cleat_route(coordinator, life->plan.tenant, life->session, NULL);
    char *cookie = route ? strstr(route, name) : NULL;
    if (cookie) {
        cookie += strlen(name);
        cookie[strcspn(cookie, ";\"")] = '\0';
        const struct cookie_fact *fact = cookie_find(cookie);
        if (!fact || !fact->proven_for ||
            strcmp(books_owner(fact->proven_for), life->session) != 0)
            world_violate("I2", "the route of %s has a cookie that was not proven", life->name);
    } else if (route && nodes && !nodes->header_value) {
        world_violate("API", "the route of %s has no cookie: %s", life->name, route);
    }
    free(route);
}

static void execute_later(struct life *life, unsigned index, int64_t in_ms)
{
    struct life_step *step = world_alloc(sizeof *step);
    *step = (struct life_step){life, index};
    life->execution[index].step = step;
    world_at(in_ms, execute, step);
}

static void be_ready(struct life *life, const char *document)
{
    const struct container *c = container_of_session(life->session);
    check_ready_document(life, document);
    check_route(life);
    if (c && c->inputs < life->plan.inputs)
        world_violate("INPUT", "%s is ready, and its container has %u of %u files", life->name,
                      c->inputs, life->plan.inputs);
    if (life->phase != LIFE_WAITING)
        return;
    life->phase = LIFE_READY;
    world_log("%s is ready", life->name);
    if (!life->was_ready)
        life->ready_ms = world.now_ms;
    life->was_ready = true;
    for (unsigned i = 0; i < life->plan.executions; i++) {
        if (life->execution[i].outcome == OUTCOME_NONE)
            execute_later(life, i, life->plan.execution[i].after_ready_ms);
    }
    consider_closing(life);
}

static void waited_ready(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    if (is_missing(life, error, wait_ready, life))
        return;
    if (!error)
        be_ready(life, document);
    else if (is(error, "wait_timeout") && life->phase == LIFE_WAITING)
        wait_ready(life);
    else if (life->phase == LIFE_WAITING)
        close_life(life);
}

static void cancel_wait(void *call)
{
    call_cancel(call);
}

static void wait_ready(void *arg)
{
    struct life *life = arg;
    if (life->phase != LIFE_WAITING || !coordinator_is_up(wait_ready, life))
        return;
    struct call *call = call_new("wait ready", WAIT_MS + 1000, waited_ready, life);
    call_keep(call, cleat_wait(coordinator, life->plan.tenant, life->session, false, WAIT_MS,
                               call_done, call));
    if (!world_chance(300))
        return;
    struct call *second =
        call_new("wait ready, then lose interest", WAIT_MS + 1000, waited_ready, life);
    call_keep(second,
              cleat_wait(coordinator, NULL, life->session, false, WAIT_MS, call_done, second));
    world_at(world_pick(0, 500), cancel_wait, second);
}

/* ---- executions ---- */

static bool executions_are_done(const struct life *life)
{
    for (unsigned i = 0; i < life->plan.executions; i++)
        if (life->execution[i].outcome <= OUTCOME_OPEN)
            return false;
    return true;
}

static void consider_closing(struct life *life)
{
    if (life->phase == LIFE_READY && !life->plan.stays && executions_are_done(life))
        world_at(life->plan.linger_ms, close_life, life);
}

/* What the API hands out must be what the session's own container made. */
static void check_record(const struct life *life, const struct life_execution *mine,
                         const char *document)
{
    const char *id = document_text(document, "execution_id");
    const char *text = document_text(document, "stdout");
    bool found = false, claims_success = strstr(document, "\"status\":\"completed\"") != NULL;
    if (mine->id && (!id || strcmp(id, mine->id) != 0))
        world_violate("API", "execution %s is answered with the record of %s", mine->id,
                      id ? id : "none");
    for (const struct container *c = containers; c && text && !found; c = c->next) {
        if (!books_is_of(c, life->session))
            continue;
        for (const struct execution *e = c->executions; e && !found; e = e->next)
            found = strcmp(e->stdout_text, text) == 0 &&
                    (!claims_success || (!e->fails && !e->cancelled && !e->timed_out));
    }
    if (!found)
        world_violate("I2", "%s was given a record that its container never made: %.200s",
                      life->name, document);
}

static void note_failure(struct life *life, struct life_execution *mine,
                         const struct cleat_error *error)
{
    unsigned runs = mine->id ? books_runs(life->session, mine->id) : 0;
    mine->error = world_strdup(error->code);
    world_log("%s execution %s fails: %s, ran: %s", life->name, mine->id ? mine->id : "?",
              error->code, error->ran ? error->ran : "-");
    if (!error->ran) {
        world_violate("API", "an execution fails with %s and does not say whether it ran",
                      error->code);
        return;
    }
    if (mine->id && strcmp(error->ran, "yes") == 0 && runs == 0)
        world_violate("API", "%s: \"ran: yes\" of %s, which never ran", life->name, mine->id);
    mine->said_not_run = mine->tries == 1 && strcmp(error->ran, "no") == 0;
    if (mine->id && mine->said_not_run && runs > 0)
        world_violate("API", "%s: \"ran: no\" of %s, which ran (%s)", life->name, mine->id,
                      error->code);
}

static void executed(void *arg, const struct cleat_error *error, const char *document)
{
    struct life_step *step = arg;
    struct life *life = step->life;
    struct life_execution *mine = &life->execution[step->index];
    if (is_missing(life, error, execute, step))
        return;
    mine->answered_ms = world.now_ms;
    if (!error) {
        mine->outcome = OUTCOME_RECORD;
        check_record(life, mine, document);
    } else {
        note_failure(life, mine, error);
        mine->outcome = OUTCOME_ERROR;
        if (mine->id && error->retryable && life->plan.execution[step->index].retries &&
            (mine->tries < 4 || is(error, "store_failed")) && life->phase == LIFE_READY) {
            mine->outcome = OUTCOME_OPEN;
            mine->said_not_run = false;
            world_at(world_pick(10, 3000), execute, step);
        }
    }
    consider_closing(life);
}

static const char *execute_request(const struct life *life, unsigned index,
                                   const struct life_execution *mine)
{
    const struct planned_execution *p = &life->plan.execution[index];
    const char *program = world_printf("%s ms=%" PRId64 "%s%s", life->name, p->takes_ms,
                                       p->fails ? " fail" : "", p->artifact ? " artifact" : "");
    const char *id = mine->id ? world_printf(",\"execution_id\":\"%s\"", mine->id) : "";
    if (p->timeout_s)
        id = world_printf("%s,\"timeout_s\":%" PRId64, id, p->timeout_s);
    if (p->argv)
        return world_printf("{\"argv\":[\"%s\",\"ms=%" PRId64 "\",\"%s\",\"%s\"]%s}",
                            life->name, p->takes_ms, p->fails ? "fail" : "-",
                            p->artifact ? "artifact" : "-", id);
    return world_printf("{\"code\":\"%s\"%s}", program, id);
}

static void execute(void *arg)
{
    struct life_step *step = arg;
    struct life *life = step->life;
    struct life_execution *mine = &life->execution[step->index];
    if (mine->step != step)
        return;
    if (life->phase != LIFE_READY) {
        mine->outcome = OUTCOME_SKIPPED;
        return;
    }
    if (!coordinator_is_up(execute, step))
        return;
    if (life->plan.execution[step->index].named)
        mine->id = world_printf("%s-e%u", life->name, step->index);
    mine->tries++;
    mine->outcome = OUTCOME_OPEN;
    struct call *call = call_new("execute", life_limits.execute_ms, executed, step);
    const char *request = execute_request(life, step->index, mine);
    call_keep(call, cleat_execute(coordinator, life->plan.tenant, life->session, request,
                                  strlen(request), call_done, call));
}

/* ---- the end ---- */

static void kept_alive(void *arg, const struct cleat_error *error, const char *document)
{
    (void)arg, (void)error, (void)document;
}

static void asked_again(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    if (error && error->retryable)
        return;
    bool same_job = life->plan.is_job && document &&
                    strcmp(document_text(document, "job_id"), life->session) == 0;
    if (!same_job && (document || !is(error, "request_id_closed")))
        world_violate("I7", "request id %s of a closed session is answered with %s",
                      life->request_id, error ? error->code : "a session");
}

static void ask_again(void *arg)
{
    struct life *life = arg;
    if (life_limits.forgetful || !coordinator_is_up(ask_again, life))
        return;
    struct call *call = call_new("create again", CREATE_WITHIN_MS, asked_again, life);
    call_keep(call, ask_for_it(life, NULL, call));
}

static void check_loss_is_said(const struct life *life, const char *document)
{
    if (books_session_lost_files(life->session) && !strstr(document, "\"lost\""))
        world_violate("I4", "%s lost files and its document does not say so", life->name);
}

static void waited_closed(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    if (error && is(error, "wait_timeout")) {
        wait_closed(life);
        return;
    }
    if (life_limits.forgetful && is(error, "not_found")) {
        life->close_asked = false;
        (void)is_missing(life, error, close_life, life);
        return;
    }
    if (error) {
        world_violate("API", "waiting for the end of %s: %s", life->name, error->code);
        return;
    }
    struct session_facts *facts = books_session(life->session);
    check_loss_is_said(life, document);
    facts->closed = true;
    life->phase = LIFE_CLOSED;
    life->closed_ms = world.now_ms;
    world_log("%s is closed: %s", life->name, document_text(document, "state"));
    world_at(world_pick(0, 5000), ask_again, life);
}

static void wait_closed(void *arg)
{
    struct life *life = arg;
    if (life->phase != LIFE_CLOSING || !coordinator_is_up(wait_closed, life))
        return;
    struct call *call = call_new("wait closed", WAIT_MS + 1000, waited_closed, life);
    call_keep(call, cleat_wait(coordinator, life->plan.tenant, life->session, true, WAIT_MS,
                               call_done, call));
}

static void close_overdue(void *arg)
{
    const struct life *life = arg;
    if (life->phase < LIFE_CLOSED)
        world_violate("I8", "%s is not closed %" PRId64 " ms after it was asked for",
                      life->name, life_limits.close_ms);
}

static void closing(void *arg, const struct cleat_error *error, const char *document)
{
    struct life *life = arg;
    (void)document;
    if (is_missing(life, error, close_life, life))
        return;
    if (error && error->retryable) {
        world_at(1000, close_life, life);
        return;
    }
    if (error && !is(error, "session_closed")) {
        world_violate("API", "%s cannot be closed: %s", life->name, error->code);
        return;
    }
    if (!life->close_asked)
        wait_closed(life);
    life->close_asked = true;
}

static void note_closing(struct session_facts *facts)
{
    if (facts->closing_ms < 0)
        facts->closing_ms = world.now_ms;
}

static void close_life(void *arg)
{
    struct life *life = arg;
    if (life->phase == LIFE_UNBORN) {
        world_at(50, close_life, life);
        return;
    }
    if (life->phase > LIFE_CLOSING || life->close_asked || !coordinator_is_up(close_life, life))
        return;
    if (life->plan.keeps_alive) {
        struct call *alive = call_new("keepalive", CREATE_WITHIN_MS, kept_alive, life);
        call_keep(alive, cleat_keepalive(coordinator, life->plan.tenant, life->session,
                                         call_done, alive));
    }
    if (life->phase != LIFE_CLOSING) {
        life->phase = LIFE_CLOSING;
        life->closing_ms = world.now_ms;
        note_closing(books_session(life->session));
        world_at(life_limits.close_ms, close_overdue, life);
    }
    struct call *call = call_new("close", CREATE_WITHIN_MS, closing, life);
    call_keep(call,
              cleat_close(coordinator, life->plan.tenant, life->session, call_done, call));
}

void life_close(struct life *life)
{
    close_life(life);
}

const char *life_state(const struct life *life, const char **stop_reason)
{
    char *document = life->session[0] ? cleat_session(coordinator, NULL, life->session) : NULL;
    const char *state = document ? document_text(document, "state") : NULL;
    *stop_reason = document ? document_text(document, "stop_reason") : NULL;
    free(document);
    return state;
}

void life_closes_by_itself(struct life *life)
{
    if (life->phase != LIFE_WAITING)
        return;
    life->phase = LIFE_CLOSING;
    life->closing_ms = world.now_ms;
    life->close_asked = true;
    note_closing(books_session(life->session));
    world_at(life_limits.close_ms, close_overdue, life);
    wait_closed(life);
}

void life_abandon(struct life *life)
{
    for (unsigned i = 0; i < life->plan.executions; i++)
        if (life->execution[i].outcome == OUTCOME_OPEN)
            life->execution[i].outcome = OUTCOME_ERROR;
    life->phase = LIFE_OVER;
    world_log("%s is forgotten", life->name);
}

/* ---- after a crash ---- */

static void resume_executions(struct life *life)
{
    for (unsigned i = 0; i < life->plan.executions; i++) {
        struct life_execution *mine = &life->execution[i];
        if (mine->outcome != OUTCOME_OPEN)
            continue;
        if (!mine->id || !life->plan.execution[i].retries) {
            mine->outcome = OUTCOME_ERROR;
            continue;
        }
        execute_later(life, i, world_pick(0, 2000));
    }
    consider_closing(life);
}

static void check_survived(const struct life *life)
{
    if (life_limits.forgetful)
        return;
    char *document = cleat_session(coordinator, life->plan.tenant, life->session);
    if (!document)
        world_violate("I6", "session %s of %s is forgotten after a restart", life->session,
                      life->name);
    free(document);
}

static void close_once_more(struct life *life)
{
    life->close_asked = false;
    close_life(life);
}

void lives_resume(void)
{
    for (struct life *life = lives; life; life = life->next) {
        if (life->of != world.me)
            continue;
        if (life->session[0] && life->phase < LIFE_CLOSED)
            check_survived(life);
        if (life->session[0] && life->plan.is_job)
            job_life_resume(life);
        if (life->phase == LIFE_UNBORN && life->plan.born_ms <= world.now_ms)
            create(life);
        else if (life->phase == LIFE_WAITING && !life->plan.is_job)
            wait_ready(life);
        else if (life->phase == LIFE_READY)
            resume_executions(life);
        else if (life->phase == LIFE_CLOSING && life->close_asked && !life_limits.forgetful)
            wait_closed(life);
        else if (life->phase == LIFE_CLOSING)
            close_once_more(life);
        else if (life->phase == LIFE_CLOSED)
            ask_again(life);
    }
}

bool lives_all_closed(void)
{
    for (const struct life *life = lives; life; life = life->next)
        if (life->phase < LIFE_CLOSED)
            return false;
    return true;
}

/* By its attempt: one that was warm is older than those that were launched for it before. */
static const struct container *last_container(const struct life *life)
{
    const struct container *found = NULL;
    for (const struct container *c = containers; c; c = c->next)
        if (!c->planted && books_is_of(c, life->session) &&
            (!found || books_attempt(c) >= books_attempt(found)))
            found = c;
    return found;
}

void lives_check_deaths(void)
{
    for (const struct life *life = lives; life; life = life->next) {
        bool mine = life->of == world.me && life->phase == LIFE_READY;
        const struct container *c = mine ? last_container(life) : NULL;
        if (!c || c->alive)
            continue;
        int64_t since_ms = c->ended_ms > world.me->since_ms ? c->ended_ms : world.me->since_ms;
        char *document = cleat_session(coordinator, NULL, life->session);
        const char *state = document ? document_text(document, "state") : NULL;
        free(document);
        int64_t limit_ms = c->remote ? REMOTE_DEATH_IS_KNOWN_MS : DEATH_IS_KNOWN_MS;
        if (state && world.now_ms - since_ms > limit_ms &&
            (strcmp(state, "READY") == 0 || strcmp(state, "BUSY") == 0 ||
             (strcmp(state, "REROUTING") == 0 && !life_limits.replaces)))
            world_violate("I5", "%s is %s, %" PRId64 " ms after its container died", life->name,
                          state, world.now_ms - since_ms);
    }
}

void lives_check_end(void)
{
    for (const struct life *life = lives; life; life = life->next) {
        if (life->phase < LIFE_CLOSED)
            world_violate("I8", "%s never ended", life->name);
        if (life->plan.is_job && life->session[0])
            job_life_check_end(life);
        for (unsigned i = 0; i < life->plan.executions; i++) {
            const struct life_execution *mine = &life->execution[i];
            if (mine->id && mine->said_not_run && books_runs(life->session, mine->id) > 0)
                world_violate("API", "%s: \"ran: no\" of %s, which ran later", life->name,
                              mine->id);
        }
    }
    if (!calls_all_answered())
        world_violate("I8", "a call was never answered");
}
