#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/executor.h"
#include "executor/program.h"
#include "executor/tree.h"
#include "executor/upload.h"
#include "http/json.h"

/* ---- requests that wait */

void pending_gone(void *arg)
{
    struct pending *p = arg;
    server_answer(p->request, 503, NULL, NULL, 0); /* nobody reads it: frees the request */
    p->request = NULL;
}

static void add_pending(struct executor *x, struct pending_list *list, struct server_request *r)
{
    struct pending *p = mem_alloc(sizeof *p);
    *p = (struct pending){.request = r, .executor = x};
    TAILQ_INSERT_TAIL(list, p, entry);
    server_on_gone(r, pending_gone, p);
}

static void answer_pending(struct executor *x, struct pending_list *list,
                           void (*answer)(struct executor *, struct server_request *))
{
    for (struct pending *p; (p = TAILQ_FIRST(list));) {
        TAILQ_REMOVE(list, p, entry);
        if (p->request)
            answer(x, p->request);
        free(p);
    }
}

/* ---- complete */

static void answer_completed(struct executor *x, struct server_request *r)
{
    const struct closing *c = &x->closing;
    if (c->state == CLOSING_FAILED) {
        contract_answer(x, r, 500,
                        json_pack("{s:b,s:s,s:s}", "upload_completed", false, "session_id",
                                  x->config.session, "error", c->error.message));
        return;
    }
    char *manifest = config_has_store(&x->config) ? upload_manifest_path(&x->config) : NULL;
    x->confirmed = true;
    contract_answer(x, r, 200,
                    json_pack("{s:b,s:s,s:I,s:I,s:s?}", "upload_completed", true, "session_id",
                              x->config.session, "files", (json_int_t)c->progress.files_done,
                              "bytes", (json_int_t)c->progress.bytes_done, "manifest",
                              manifest));
    free(manifest);
}

void route_closing_ended(struct executor *x)
{
    answer_pending(x, &x->completing, answer_completed);
}

static bool wants_async(const struct server_request *r)
{
    const char *prefer = server_header(r, "Prefer");
    return prefer && strcasestr(prefer, "respond-async");
}

void route_complete(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    struct error e = {0};
    const char *nonce = NULL;
    json_t *body = contract_body(x, r);
    if (!body)
        return;
    js_string(body, "nonce", false, 128, &nonce, &e);
    if (e.code) {
        contract_refuse(x, r, &e);
    } else {
        closing_begin(&x->closing, nonce);
        if (wants_async(r))
            contract_answer(x, r, 202,
                            json_pack("{s:s}", "state", closing_state_name(x->closing.state)));
        else if (x->closing.state == CLOSING_DONE)
            answer_completed(x, r);
        else
            add_pending(x, &x->completing, r);
    }
    json_decref(body);
}

void route_complete_state(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    const struct closing *c = &x->closing;
    const struct helper_progress *p = c->upload ? helper_progress(c->upload) : &c->progress;
    json_t *body = json_pack(
        "{s:s,s:b,s:I,s:I,s:I,s:I}", "state", closing_state_name(c->state), "upload_completed",
        c->state == CLOSING_DONE, "files", (json_int_t)p->files, "bytes", (json_int_t)p->bytes,
        "files_done", (json_int_t)p->files_done, "bytes_done", (json_int_t)p->bytes_done);
    if (c->state == CLOSING_FAILED)
        json_object_set_new(body, "error", json_string(c->error.message));
    contract_answer(x, r, 200, body);
}

/* ---- claim */

static void answer_claimed(struct executor *x, struct server_request *r)
{
    contract_answer(
        x, r, 200,
        json_pack("{s:s,s:s}", "session_id", x->config.session, "status", "claimed"));
}

static void answer_claim_failed(struct executor *x, struct server_request *r)
{
    struct error e;
    error_set(&e, ERR_INTERNAL, "the input could not be copied");
    contract_refuse(x, r, &e);
}

static void on_input_copied(void *arg, const struct error *e, const struct helper_progress *p)
{
    struct executor *x = arg;
    if (e) {
        log_error("claim.failed", KV("error", e->message));
        json_decref(x->claim);
        x->claim = NULL;
        x->claim_state = CLAIM_NONE;
        answer_pending(x, &x->claiming, answer_claim_failed);
    } else {
        log_info("claim.copied", KI("files", p->files_done), KI("bytes", p->bytes_done));
        x->claim_state = CLAIM_DONE;
        answer_pending(x, &x->claiming, answer_claimed);
    }
    closing_wake(&x->closing);
}

static enum error_code read_claim(const json_t *body, json_t **env, const char **input,
                                  struct error *e)
{
    js_object(body, "env", false, env, e);
    js_string(body, "input", false, 4096, input, e);
    if (!e->code && *env)
        program_check_env(*env, e);
    if (!e->code && *input && **input && strncmp(*input, "file:///", 8) != 0)
        error_set(e, ERR_INVALID, "input must be file:///DIRECTORY");
    return e->code;
}

static enum error_code take_claim(struct executor *x, json_t *body, struct error *e)
{
    json_t *env = NULL;
    const char *input = NULL;
    if (read_claim(body, &env, &input, e))
        return e->code;
    if (input && *input) {
        struct copy_request copy = {.from_root = input + strlen("file://"),
                                    .from_dir = "",
                                    .to_root = x->config.home,
                                    .to_dir = "input",
                                    .from_owner = TREE_ANY_OWNER,
                                    .to_owner = config_user(&x->config)};
        if (!copy_start(x->loop, &copy, on_input_copied, x, e))
            return e->code;
        x->claim_state = CLAIM_COPYING;
    } else {
        x->claim_state = CLAIM_DONE;
    }
    x->claim = json_incref(body);
    json_decref(x->executions.env);
    x->executions.env = json_incref(env);
    return ERR_NONE;
}

void route_claim(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    struct error e = {0};
    json_t *body = contract_body(x, r);
    if (!body)
        return;
    if (executor_closed(x))
        error_set(&e, ERR_CLOSED, "the session is closing");
    else if (x->claim && !json_equal(x->claim, body))
        error_set(&e, ERR_CONFLICT, "this container was claimed with another body");
    else if (!x->claim)
        take_claim(x, body, &e);
    if (e.code)
        contract_refuse(x, r, &e);
    else if (x->claim_state == CLAIM_COPYING)
        add_pending(x, &x->claiming, r);
    else
        answer_claimed(x, r);
    json_decref(body);
}
