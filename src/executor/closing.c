#include "executor/closing.h"

#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "executor/upload.h"
#include "http/json.h"

const char *closing_state_name(enum closing_state state)
{
    static const char *const names[] = {"none", "running", "done", "failed"};
    return names[state];
}

static void finish(struct closing *c, const struct error *e)
{
    c->state = e ? CLOSING_FAILED : CLOSING_DONE;
    if (e) {
        c->error = *e;
        log_error("upload.failed", KV("error", e->message));
    } else {
        log_info("upload.done", KI("files", c->progress.files_done),
                 KI("bytes", c->progress.bytes_done));
    }
    c->ended(c->arg);
}

static void on_uploaded(void *arg, const struct error *e,
                        const struct helper_progress *progress)
{
    struct closing *c = arg;
    c->upload = NULL;
    c->progress = *progress;
    finish(c, e);
}

static void write_status(const struct closing *c)
{
    const struct config *config = c->config;
    char *path = mem_printf("%s/debug/session_status.json", config->workspace);
    json_t *o = json_pack("{s:s,s:I,s:s,s:s,s:i,s:I}", "session_id", config->session, "attempt",
                          (json_int_t)config->attempt, "owner", config->owner, "status",
                          "closing", "executions", (int)c->executions->ended, "closed_at_ms",
                          (json_int_t)loop_wall_ms(c->loop));
    char *text = js_text(o);
    struct error e;
    if (file_replace(path, text, &e))
        log_error("session.status_lost", KV("error", e.message));
    free(text);
    json_decref(o);
    free(path);
}

static void step(void *arg)
{
    struct closing *c = arg;
    pid_t pids[HELPERS_MAX];
    if (c->state != CLOSING_RUNNING || c->upload)
        return;
    if (c->executions->current) {
        executions_cancel(c->executions->current);
        return;
    }
    if (helper_pids(pids) > 0)
        return;
    write_status(c);
    if (!config_has_store(c->config)) {
        finish(c, NULL);
        return;
    }
    struct error e = {0};
    c->upload = upload_start(c->loop, c->config, c->nonce, on_uploaded, c, &e);
    if (!c->upload)
        finish(c, &e);
}

void closing_init(struct closing *c, struct loop *loop, const struct config *config,
                  struct executions *executions, void (*ended)(void *arg), void *arg)
{
    *c = (struct closing){
        .loop = loop, .config = config, .executions = executions, .ended = ended, .arg = arg};
    task_init(&c->step, loop, step, c);
}

void closing_release(struct closing *c)
{
    task_stop(&c->step);
    free(c->nonce);
}

void closing_begin(struct closing *c, const char *nonce)
{
    if (c->state == CLOSING_RUNNING || c->state == CLOSING_DONE)
        return;
    free(c->nonce);
    c->nonce = mem_strdup(nonce ? nonce : "");
    c->state = CLOSING_RUNNING;
    c->progress = (struct helper_progress){0};
    c->error = (struct error){0};
    log_info("session.closing", KI("executions", c->executions->started));
    task_wake(&c->step);
}

void closing_wake(struct closing *c)
{
    task_wake(&c->step);
}
