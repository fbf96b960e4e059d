/* The simulated container: executions, their records, and the upload. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "container.h"
#include "files.h"
#include "trap.h"
#include "world.h"

struct waiter {
    struct sim_request *request;
    bool answered;
    struct waiter *next;
};

/* ---- small readers ---- */

static json_t *read_body(const struct sim_request *r)
{
    json_error_t error;
    return json_loadb(r->body, r->body_len, 0, &error);
}

static const char *body_text(const json_t *body, const char *key)
{
    const json_t *value = json_object_get(body, key);
    return json_is_string(value) ? world_strdup(json_string_value(value)) : NULL;
}

/* "ms=250 fail artifact" in the code or the joined argv: what the user's program does. */
static const char *program_of(const json_t *body)
{
    const json_t *code = json_object_get(body, "code"), *argv = json_object_get(body, "argv");
    if (json_is_string(code))
        return world_strdup(json_string_value(code));
    const char *joined = json_array_size(argv) ? "" : NULL;
    for (size_t i = 0; i < json_array_size(argv); i++)
        joined = world_printf("%s%s ", joined, json_string_value(json_array_get(argv, i)));
    return joined;
}

/* The session's own request? Else it is answered. */
static bool check_session(struct container *c, struct sim_request *r, const json_t *body)
{
    const char *session = body_text(body, "session_id");
    if (!session)
        executor_answer_error(c, r, 400, "invalid_request", "session_id is missing");
    else if (strcmp(session, c->session) != 0)
        executor_answer_error(c, r, 403, "forbidden", "another session's request");
    return session && strcmp(session, c->session) == 0;
}

/* ---- records ---- */

struct execution *executor_find(const struct container *c, const char *id)
{
    for (struct execution *e = c->executions; e; e = e->next)
        if (strcmp(e->id, id) == 0)
            return e;
    return NULL;
}

static struct execution *running(const struct container *c)
{
    for (struct execution *e = c->executions; e; e = e->next)
        if (e->state == EXECUTION_RUNNING)
            return e;
    return NULL;
}

bool container_runs(const struct container *c)
{
    return running(c) != NULL;
}

static const char *status_of(const struct execution *e)
{
    if (e->state == EXECUTION_RUNNING)
        return "running";
    return e->fails || e->cancelled || e->timed_out ? "failed" : "completed";
}

const char *executor_record_of(const struct container *c, const struct execution *e)
{
    const char *status = status_of(e);
    bool failed = strcmp(status, "failed") == 0;
    return world_printf(
        "{\"session_id\":\"%s\",\"execution_id\":\"%s\",\"execution_num\":%" PRId64
        ",\"status\":\"%s\",\"stdout\":\"%s\",\"stderr\":\"\",\"error\":%s,"
        "\"execution_time_ms\":%" PRId64 ",\"total_executions\":%" PRId64
        ",\"exit_code\":%d,\"signal\":null,\"timed_out\":%s,\"cancelled\":%s,"
        "\"truncated\":{\"stdout\":false,\"stderr\":false}}",
        c->session, e->id, e->num, status, e->state == EXECUTION_DONE ? e->stdout_text : "",
        failed ? "\"exit code 1\"" : "null", world.now_ms - e->started_ms, c->executions_done,
        failed, e->timed_out ? "true" : "false", e->cancelled ? "true" : "false");
}

static void wait_for(struct waiter **list, struct sim_request *r)
{
    struct waiter *w = world_alloc(sizeof *w);
    w->request = r;
    while (*list)
        list = &(*list)->next;
    *list = w;
}

static void answer_waiters(struct container *c, struct waiter **list, int status,
                           const char *body)
{
    struct waiter *w = *list;
    *list = NULL;
    for (; w; w = w->next) {
        if (!w->answered)
            executor_answer(c, w->request, status, body);
        w->answered = true;
    }
}

void executor_break_waiters(struct container *c)
{
    struct sim_answer *broken = answer_new(0, "");
    for (struct execution *e = c->executions; e; e = e->next)
        for (struct waiter *w = e->waiters; w; w = w->next)
            if (!w->answered)
                w->request->answered(w->request, broken);
    for (struct waiter *w = c->upload_waiters; w; w = w->next)
        w->request->answered(w->request, broken);
    c->upload_waiters = NULL;
}

/* ---- executions ---- */

static void end_execution(struct execution *e)
{
    struct container *c = e->container;
    if (e->state != EXECUTION_RUNNING || !c->alive)
        return;
    e->state = EXECUTION_DONE;
    e->ends_ms = world.now_ms;
    c->executions_done++;
    if (e->artifact && !e->cancelled)
        c->artifacts++;
    world_log("container %u execution %s ended: %s", c->index, e->id, status_of(e));
    answer_waiters(c, &e->waiters, 200, executor_record_of(c, e));
}

static void execution_due(void *arg)
{
    struct execution *e = arg;
    if (e->container->hung) {
        world_at(1000, execution_due, e); /* a stopped container's processes are stopped, too */
        return;
    }
    end_execution(e);
}

bool executor_end_execution(struct container *c)
{
    struct execution *e = running(c);
    if (!e)
        return false;
    e->cancelled = true;
    end_execution(e);
    return true;
}

static void count_run(struct execution *e)
{
    e->runs++;
    if (e->runs > 1)
        world_violate("I6", "execution %s of %s ran %u times", e->id, e->container->session,
                      e->runs);
}

static struct execution *start_execution(struct container *c, const struct sim_request *r,
                                         const char *id, const char *program,
                                         int64_t timeout_ms)
{
    struct execution *e = world_alloc(sizeof *e);
    const char *ms = strstr(program, "ms=");
    const char *lines = strstr(program, "lines=");
    int64_t takes_ms = ms ? strtoll(ms + 3, NULL, 10) : 10;
    e->takes_ms = takes_ms;
    e->lines = lines ? (unsigned)strtoul(lines + 6, NULL, 10) : 0;
    e->container = c;
    e->num = c->executions ? c->executions->num + 1 : 1;
    e->id = id ? id : world_printf("minted-%u-%" PRId64, c->index, e->num);
    e->request = program;
    e->stdout_text = world_printf("%s ran in container %u", e->id, c->index);
    e->started_ms = world.now_ms;
    e->coordinator_life = r->coordinator_life;
    e->fails = strstr(program, "fail") != NULL;
    e->artifact = strstr(program, "artifact") != NULL;
    e->timed_out = takes_ms > timeout_ms;
    e->next = c->executions;
    c->executions = e;
    world_log("container %u runs %s for %" PRId64 " ms", c->index, e->id, takes_ms);
    count_run(e);
    books_execution_starts(c, e);
    world_at(e->timed_out ? timeout_ms : takes_ms, execution_due, e);
    return e;
}

struct patience {
    struct container *container;
    struct execution *execution;
    struct waiter *waiter;
};

static void patience_ends(void *arg)
{
    struct patience *p = arg;
    if (p->waiter->answered || !p->container->alive || p->execution->state == EXECUTION_DONE)
        return;
    p->waiter->answered = true;
    executor_answer(p->container, p->waiter->request, 202,
                    world_printf("{\"execution_id\":\"%s\",\"status\":\"running\","
                                 "\"execution_time_ms\":%" PRId64 "}",
                                 p->execution->id, world.now_ms - p->execution->started_ms));
}

static void give_record(struct container *c, struct sim_request *r, struct execution *e,
                        const json_t *wait_s)
{
    if (e->state == EXECUTION_DONE) {
        executor_answer(c, r, 200, executor_record_of(c, e));
        return;
    }
    wait_for(&e->waiters, r);
    if (!json_is_integer(wait_s))
        return;
    struct patience *p = world_alloc(sizeof *p);
    p->container = c;
    p->execution = e;
    for (p->waiter = e->waiters; p->waiter->request != r;)
        p->waiter = p->waiter->next;
    world_at(json_integer_value(wait_s) * 1000, patience_ends, p);
}

static void execute(struct container *c, struct sim_request *r, const json_t *body)
{
    const char *id = body_text(body, "execution_id"), *program = program_of(body);
    struct execution *known = id && !c->plain ? executor_find(c, id) : NULL;
    const json_t *timeout_s = json_object_get(body, "timeout_s");
    if (!program) {
        executor_answer_error(c, r, 400, "invalid_request", "neither code nor argv");
        return;
    }
    if (known && strcmp(known->request, program) != 0) {
        executor_answer_error(c, r, 409, "conflict", "this execution id had another body");
        return;
    }
    if (known) {
        if (world.sabotage == SABOTAGE_RUNS_TWICE)
            count_run(known);
        give_record(c, r, known, json_object_get(body, "wait_s"));
        return;
    }
    if (c->ending || c->complete_begun) {
        executor_answer_error(c, r, c->plain ? 400 : 409, "session_closed",
                              "the session is over");
        return;
    }
    if (running(c) && c->plain && running(c)->coordinator_life == r->coordinator_life)
        world_violate("I6", "two executions at once in the plain container of %s", c->session);
    if (running(c) && !c->plain) {
        executor_answer_error(c, r, 409, "not_ready", "another execution runs");
        return;
    }
    int64_t timeout_ms =
        json_is_integer(timeout_s) ? json_integer_value(timeout_s) * 1000 : 300000;
    give_record(c, r, start_execution(c, r, id, program, timeout_ms),
                json_object_get(body, "wait_s"));
}

void executor_execute(struct container *c, struct sim_request *r)
{
    json_t *body = read_body(r);
    if (!body)
        executor_answer_error(c, r, 400, "invalid_request", "not JSON");
    else if (check_session(c, r, body))
        execute(c, r, body);
    json_decref(body);
}

void executor_record(struct container *c, struct sim_request *r, const char *id_and_what)
{
    char *id = world_strdup(id_and_what);
    char *what = id + strcspn(id, "/?");
    bool cancel = strncmp(what, "/cancel", 7) == 0, output = strncmp(what, "/output", 7) == 0;
    const char *wait = strstr(what, "wait_s=");
    *what = '\0';
    struct execution *e = executor_find(c, id);
    if (e && output) {
        executor_output(c, r, e, id_and_what + (what - id));
        return;
    }
    if (!e) {
        executor_answer_error(c, r, 404, "not_found", "no such execution");
        return;
    }
    if (cancel && e->state == EXECUTION_RUNNING) {
        e->cancelled = true;
        wait_for(&e->waiters, r);
        end_execution(e);
        return;
    }
    if (e->state == EXECUTION_RUNNING && wait) {
        json_t *seconds = json_integer(strtoll(id_and_what + (wait - id) + 7, NULL, 10));
        give_record(c, r, e, seconds);
        json_decref(seconds);
        return;
    }
    executor_answer(c, r, 200, executor_record_of(c, e));
}

/* ---- upload ---- */

static const char *upload_body(const struct container *c)
{
    if (c->upload == UPLOAD_DONE)
        return world_printf(
            "{\"state\":\"done\",\"upload_completed\":true,\"session_id\":\"%s\","
            "\"files\":%u,\"bytes\":%u,\"files_done\":%u,\"bytes_done\":%u,"
            "\"manifest\":\"%s/manifest.json\"}",
            c->session, c->uploaded, c->uploaded * 100, c->uploaded, c->uploaded * 100,
            c->session);
    return world_printf("{\"state\":\"%s\",\"upload_completed\":false,\"session_id\":\"%s\","
                        "\"files\":%u,\"bytes\":%u,\"files_done\":0,\"bytes_done\":0%s}",
                        c->upload == UPLOAD_NONE      ? "none"
                        : c->upload == UPLOAD_RUNNING ? "running"
                                                      : "failed",
                        c->session, c->artifacts, c->artifacts * 100,
                        c->upload == UPLOAD_FAILED ? ",\"error\":\"the store is out of reach\""
                                                   : "");
}

static void finish_upload(struct container *c, bool ok)
{
    c->upload = ok ? UPLOAD_DONE : UPLOAD_FAILED;
    if (ok && world.sabotage != SABOTAGE_FALSE_UPLOAD) {
        c->uploaded = c->artifacts;
        c->uploaded_ms = world.now_ms;
        files_put(
            world_printf("/simulated/artifacts/%s/manifest.json", c->session),
            world_printf("{\"session_id\":\"%s\",\"attempt\":%s,\"nonce\":\"%s\",\"files\":[],"
                         "\"bytes\":%u}",
                         c->session, c->attempt, c->upload_nonce, c->uploaded * 100));
    }
    world_log("container %u upload %s", c->index, ok ? "done" : "failed");
    if (ok && c->upload_waiters)
        c->confirmation_read = true;
    answer_waiters(c, &c->upload_waiters, ok ? 200 : 500, upload_body(c));
    if (c->ending)
        container_exit_soon(c);
}

static void upload_due(void *arg)
{
    struct container *c = arg;
    if (!c->alive || c->upload != UPLOAD_RUNNING)
        return;
    enum mishap mishap = trap_strike(MOMENT_UPLOAD);
    bool down = world.now_ms < container_habits.artifacts_down_until_ms;
    if (mishap == MISHAP_ERROR || mishap == MISHAP_DEATH)
        finish_upload(c, false);
    else if (mishap == MISHAP_LATE)
        world_at(TRAP_LATE_MS, upload_due, c);
    else if (c->hung || (down && container_habits.artifacts_hang && !c->ending))
        world_at(1000, upload_due, c);
    else
        finish_upload(c, !down);
}

void executor_begin_upload(struct container *c, const char *nonce)
{
    c->upload = UPLOAD_RUNNING;
    c->upload_nonce = nonce;
    world_at(world_pick(container_habits.upload_min_ms, container_habits.upload_max_ms),
             upload_due, c);
}

void executor_complete(struct container *c, struct sim_request *r)
{
    json_t *body = read_body(r);
    const char *prefer = request_header(r, "Prefer");
    bool asynchronous = prefer && strstr(prefer, "respond-async") && !c->plain;
    if (!body) {
        executor_answer_error(c, r, 400, "invalid_request", "not JSON");
    } else if (check_session(c, r, body)) {
        const char *nonce = body_text(body, "nonce");
        c->complete_begun = true;
        executor_end_execution(c);
        if (c->upload == UPLOAD_NONE || c->upload == UPLOAD_FAILED)
            executor_begin_upload(c, nonce ? nonce : "");
        bool done = c->upload == UPLOAD_DONE;
        if (asynchronous) {
            executor_answer(c, r, 202,
                            world_printf("{\"state\":\"%s\"}", done ? "done" : "running"));
        } else if (done) {
            c->confirmation_read = true;
            executor_answer(c, r, 200, upload_body(c));
        } else {
            wait_for(&c->upload_waiters, r);
        }
    }
    json_decref(body);
}

void executor_upload_status(struct container *c, struct sim_request *r)
{
    executor_answer(c, r, 200, upload_body(c));
}
