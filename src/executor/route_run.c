#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "base/mem.h"
#include "executor/executor.h"
#include "executor/program.h"
#include "http/json.h"

#define DEFAULT_TIMEOUT_S 300
#define MAX_TIMEOUT_S 86400
#define DEFAULT_OUTPUT (1 << 20)
#define MAX_OUTPUT (64 << 20)
#define MAX_CODE (8 << 20)
#define MAX_ARGS 1024
#define MAX_INPUT (4 << 20)

/* ---- waiting */

static void forget(struct waiter *w)
{
    struct executor *x = w->executor;
    timer_stop(&w->timer);
    TAILQ_REMOVE(&x->waiters, w, entry);
    x->waiter_count--;
    free(w);
}

static void on_expired(void *arg)
{
    struct waiter *w = arg;
    if (w->try_answer(w, true))
        forget(w);
}

static void on_gone(void *arg)
{
    struct waiter *w = arg;
    server_answer(w->request, 503, NULL, NULL, 0); /* nobody reads it: frees the request */
    forget(w);
}

void route_wait(struct executor *x, struct server_request *r, struct execution *execution,
                waiter_fn *try_answer, const struct waiter *template, int64_t wait_s)
{
    struct error e;
    struct waiter *w = mem_alloc(sizeof *w);
    *w = *template;
    w->executor = x;
    w->request = r;
    w->execution = execution;
    w->try_answer = try_answer;
    if (try_answer(w, wait_s == 0)) {
        free(w);
    } else if (x->waiter_count >= WAITERS_MAX) {
        error_set(&e, ERR_FULL, "%d requests wait already", WAITERS_MAX);
        contract_refuse(x, r, &e);
        free(w);
    } else {
        timer_init(&w->timer, x->loop, on_expired, w);
        if (wait_s > 0)
            timer_arm(&w->timer, wait_s * 1000);
        TAILQ_INSERT_TAIL(&x->waiters, w, entry);
        x->waiter_count++;
        server_on_gone(r, on_gone, w);
    }
}

void route_execution_changed(void *arg, struct execution *execution)
{
    struct executor *x = arg;
    for (struct waiter *w = TAILQ_FIRST(&x->waiters), *next; w; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (w->execution == execution && w->try_answer(w, false))
            forget(w);
    }
    if (!execution->running) {
        executor_touch(x);
        closing_wake(&x->closing);
    }
}

static bool answer_record(struct waiter *w, bool expired)
{
    if (w->execution->running && !expired)
        return false;
    contract_answer(w->executor, w->request, 200, execution_document(w->execution, true));
    return true;
}

/* ---- POST /execute */

static bool answer_execute(struct waiter *w, bool expired)
{
    struct execution *execution = w->execution;
    if (!execution->running || !expired)
        return answer_record(w, false);
    int64_t ms = loop_now_ms(w->executor->loop) - execution->started_ms;
    contract_answer(w->executor, w->request, 202,
                    json_pack("{s:s,s:s,s:I}", "execution_id", execution->id, "status",
                              "running", "execution_time_ms", (json_int_t)ms));
    return true;
}

static bool strings_only(const json_t *argv)
{
    size_t i;
    json_t *arg;
    json_array_foreach (argv, i, arg)
        if (!json_is_string(arg))
            return false;
    return true;
}

static enum error_code check_request(const struct execution_request *q, struct error *e)
{
    if (e->code)
        return e->code;
    if (!q->code == !q->argv)
        return error_set(e, ERR_INVALID, "give either code or argv");
    if (q->argv && (json_array_size(q->argv) == 0 || !strings_only(q->argv) ||
                    !*json_string_value(json_array_get(q->argv, 0))))
        return error_set(e, ERR_INVALID, "argv must be strings, the first not empty");
    if (q->id && (!*q->id || strchr(q->id, '/') || strpbrk(q->id, "?#% \t\r\n")))
        return error_set(e, ERR_INVALID, "execution_id has characters that a path cannot have");
    return q->env ? program_check_env(q->env, e) : ERR_NONE;
}

static enum error_code read_request(const json_t *body, struct execution_request *q,
                                    int64_t *wait_s, struct error *e)
{
    json_t *argv = NULL;
    q->timeout_s = DEFAULT_TIMEOUT_S;
    q->output_limit = DEFAULT_OUTPUT;
    js_string(body, "execution_id", false, 128, &q->id, e);
    js_string(body, "code", false, MAX_CODE, &q->code, e);
    js_array(body, "argv", false, MAX_ARGS, &argv, e);
    js_object(body, "env", false, &q->env, e);
    js_int(body, "timeout_s", false, 1, MAX_TIMEOUT_S, &q->timeout_s, e);
    js_int(body, "output_limit", false, 0, MAX_OUTPUT, &q->output_limit, e);
    js_int(body, "wait_s", false, 0, WAIT_MAX_S, wait_s, e);
    js_bool(body, "collect", false, &q->collected, e);
    q->argv = argv;
    return check_request(q, e);
}

/* Its input as bytes; free(). */
static char *read_input(const json_t *body, struct execution_request *q, struct error *e)
{
    const char *text = NULL;
    char *bytes = NULL;
    js_string(body, "stdin_base64", false, MAX_INPUT / 3 * 4 + 4, &text, e);
    if (!text || e->code)
        return NULL;
    if (!base64_decode(text, &bytes, &q->input_len))
        error_set(e, ERR_INVALID, "stdin_base64 is not base64");
    q->input = bytes;
    return bytes;
}

void route_execute(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    struct error e = {0};
    struct execution_request q = {0};
    int64_t wait_s = -1;
    json_t *body = contract_body(x, r);
    if (!body)
        return;
    read_request(body, &q, &wait_s, &e);
    char *input = read_input(body, &q, &e);
    if (!e.code && executor_closed(x) && (!q.id || !executions_find(&x->executions, q.id)))
        error_set(&e, ERR_CLOSED, "the session is closing: nothing more is executed");
    struct execution *execution = e.code ? NULL : executions_start(&x->executions, &q, &e);
    if (execution)
        route_wait(x, r, execution, answer_execute, &(struct waiter){0}, wait_s);
    else
        contract_refuse(x, r, &e);
    free(input);
    json_decref(body);
}

/* ---- /executions/ID */

struct execution *route_find_execution(struct executor *x, struct server_request *r,
                                       const char *id)
{
    struct error e;
    struct execution *execution = executions_find(&x->executions, id);
    if (!execution) {
        error_set(&e, ERR_NOT_FOUND, "no such execution");
        contract_refuse(x, r, &e);
    }
    return execution;
}

void route_execution(struct executor *x, struct server_request *r, const char *id)
{
    struct execution *execution = route_find_execution(x, r, id);
    if (execution)
        contract_answer(x, r, 200, execution_document(execution, true));
}

void route_cancel(struct executor *x, struct server_request *r, const char *id)
{
    struct execution *execution = route_find_execution(x, r, id);
    if (!execution)
        return;
    executions_cancel(execution);
    route_wait(x, r, execution, answer_record, &(struct waiter){0}, -1);
}
