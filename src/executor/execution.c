#include "executor/execution.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <unistd.h>
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "executor/enter.h"
#include "executor/helper.h"
#include "executor/process.h"
#include "executor/program.h"
#include "executor/record.h"

#define SWEEP_EVERY_MS 5
#define SWEEP_LIMIT_MS 10000

static bool in_bwrap(const struct executions *all)
{
    return all->config->sandbox == SANDBOX_BWRAP;
}

static void write_record(const struct execution *x)
{
    char *path = mem_printf("%s/%u.json", x->owner->config->executions, x->num);
    json_t *doc = execution_document(x, false);
    char *text = js_text(doc);
    struct error e;
    if (file_replace(path, text, &e)) /* outlives us, need not outlive the machine */
        log_error("execution.record_lost", KI("execution", x->num), KV("error", e.message));
    free(text);
    json_decref(doc);
    free(path);
}

static void end(struct execution *x)
{
    struct executions *all = x->owner;
    output_finish(&x->out);
    output_finish(&x->err);
    x->running = false;
    x->elapsed_ms = loop_now_ms(all->loop) - x->started_ms;
    if (!x->error)
        x->error = record_error(x);
    all->current = NULL;
    all->ended++;
    write_record(x);
    log_info("execution.ended", KI("execution", x->num), KI("exit_code", x->exit_code),
             KI("signal", x->signal), KI("ms", x->elapsed_ms));
}

/* The program is gone; what it left behind goes too, before anything is told about the end. */
static void on_sweep(void *arg)
{
    struct executions *all = arg;
    struct execution *x = all->current;
    pid_t keep[HELPERS_MAX];
    size_t keeps = helper_pids(keep);
    bool empty = process_sweep(keep, keeps, config_own_user(all->config));
    if (!empty && loop_now_ms(all->loop) < all->sweep_until_ms) {
        timer_arm(&all->sweep, SWEEP_EVERY_MS);
        return;
    }
    if (!empty)
        log_error("execution.processes_left", KI("execution", x->num));
    end(x);
    all->changed(all->arg, x);
}

static void on_exit_status(void *arg, int status)
{
    struct executions *all = arg;
    struct execution *x = all->current;
    child_free(all->child);
    all->child = NULL;
    timer_stop(&all->deadline);
    timer_stop(&all->grace);
    record_status(x, status, in_bwrap(all));
    all->sweep_until_ms = loop_now_ms(all->loop) + SWEEP_LIMIT_MS;
    timer_arm(&all->sweep, 0);
}

static void on_grace(void *arg)
{
    struct executions *all = arg;
    process_signal(child_pid(all->child), SIGKILL, false);
    child_kill(all->child, SIGKILL, false);
}

static void terminate(struct executions *all)
{
    if (!all->child || timer_armed(&all->grace))
        return;
    bool somebody = process_signal(child_pid(all->child), SIGTERM, in_bwrap(all));
    timer_arm(&all->grace, somebody ? EXECUTION_GRACE_MS : 0);
}

static void on_deadline(void *arg)
{
    struct executions *all = arg;
    all->current->timed_out = true;
    terminate(all);
}

void executions_cancel(struct execution *x)
{
    if (!x->running || x->owner->current != x || !x->owner->child)
        return;
    if (!x->timed_out)
        x->cancelled = true;
    terminate(x->owner);
}

void executions_init(struct executions *all, struct loop *loop, const struct config *config,
                     void (*changed)(void *arg, struct execution *), void *arg)
{
    *all = (struct executions){.loop = loop, .config = config, .changed = changed, .arg = arg};
    timer_init(&all->deadline, loop, on_deadline, all);
    timer_init(&all->grace, loop, on_grace, all);
    timer_init(&all->sweep, loop, on_sweep, all);
}

static void execution_free(struct execution *x)
{
    output_release(&x->out);
    output_release(&x->err);
    order_release(&x->order);
    free(x->id);
    free(x->error);
    free(x);
}

void executions_release(struct executions *all)
{
    if (all->child) {
        if (in_bwrap(all)) /* else its warden does that, which misses none */
            process_signal(child_pid(all->child), SIGKILL, false);
        child_free(all->child);
    }
    timer_stop(&all->deadline);
    timer_stop(&all->grace);
    timer_stop(&all->sweep);
    struct execution *x, *next;
    HASH_ITER (hh, all->by_id, x, next) {
        HASH_DEL(all->by_id, x);
        execution_free(x);
    }
    json_decref(all->env);
}

struct execution *executions_find(struct executions *all, const char *id)
{
    struct execution *x;
    HASH_FIND_STR(all->by_id, id, x);
    return x;
}

static void on_output(void *arg)
{
    struct execution *x = arg;
    x->owner->changed(x->owner->arg, x);
}

static enum error_code open_outputs(struct execution *x, size_t limit, struct error *e)
{
    const char *dir = x->owner->config->executions;
    char *out = mem_printf("%s/%u.stdout", dir, x->num);
    char *err = mem_printf("%s/%u.stderr", dir, x->num);
    if (!output_open(&x->out, out, limit, e))
        output_open(&x->err, err, limit, e);
    free(out);
    free(err);
    if (x->collected && !e->code && !order_open(&x->order, dir, e)) {
        x->err.is_err = true;
        x->out.order = x->err.order = &x->order;
    }
    return e->code;
}

/* Its input as a file that nobody can change. -1: there is none, or *e. */
static int open_input(const struct execution_request *r, struct error *e)
{
    if (!r->input)
        return -1;
    int fd = memfd_create("stdin", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    for (size_t done = 0; fd >= 0 && done < r->input_len;) {
        ssize_t n = write(fd, r->input + done, r->input_len - done);
        if (n < 0 && errno != EINTR)
            break;
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_CUR) == (off_t)r->input_len &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) == 0 &&
        lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    error_set(e, ERR_INTERNAL, "input: %s", strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static enum error_code spawn(struct execution *x, const struct program *p, int input,
                             struct error *e)
{
    struct executions *all = x->owner;
    const struct config *c = all->config;
    struct enter_spec enter = {.sandbox = (enum sandbox)c->sandbox,
                               .network = (enum network)c->network,
                               .user = config_user(c),
                               .own_user = config_own_user(c),
                               .memory_mb = c->memory_mb,
                               .cpu_s = c->cpu_s,
                               .open_files = c->open_files,
                               .file_size_mb = c->file_size_mb,
                               .processes = c->processes,
                               .home = c->home,
                               .code = p->code_path ? p->code_path : "",
                               .code_name = p->code_name ? p->code_name : "",
                               .argv = p->argv};
    char **command = enter_command(&enter);
    struct child_spec spec = {.argv = (const char *const *)command,
                              .envp = (const char *const *)p->env,
                              .cwd = c->workspace,
                              .input_fd = input,
                              .pipe_fd = x->out.writer,
                              .error_fd = x->err.writer,
                              .lock_fd = in_bwrap(all) ? -1 : c->lock_fd,
                              .new_session = true};
    all->child = child_spawn(all->loop, &spec, on_exit_status, all, e);
    enter_free(command);
    return all->child ? ERR_NONE : e->code;
}

static void run(struct execution *x, const struct execution_request *r)
{
    struct executions *all = x->owner;
    struct program program = {0};
    struct error e = {0};
    int input = open_input(r, &e);
    if (e.code || program_make(&program, all->config, all->env, r, x->num, &e) ||
        open_outputs(x, (size_t)r->output_limit, &e) || spawn(x, &program, input, &e)) {
        x->error = mem_printf("could not start: %s", e.message);
        end(x);
    } else {
        output_start(&x->out, all->loop, on_output, x);
        output_start(&x->err, all->loop, on_output, x);
        timer_arm(&all->deadline, x->timeout_s * 1000);
        write_record(x);
    }
    if (input >= 0)
        close(input);
    program_release(&program);
}

static struct execution *execution_new(struct executions *all,
                                       const struct execution_request *r, const char *digest)
{
    struct execution *x = mem_alloc(sizeof *x);
    uint8_t random[10];
    char minted[ID_SIZE];
    loop_random(all->loop, random, sizeof random);
    id_make(minted, loop_wall_ms(all->loop), random);
    output_init(&x->out);
    output_init(&x->err);
    order_init(&x->order);
    if (all->collected)
        order_release(&all->collected->order); /* no descriptor for each that ever ran */
    all->collected = r->collected ? x : NULL;
    x->collected = r->collected;
    x->owner = all;
    x->id = mem_strdup(r->id ? r->id : minted);
    x->num = ++all->started;
    mem_copy_string(x->digest, sizeof x->digest, digest);
    x->running = true;
    x->is_python = r->code && !program_is_bash(r->code);
    x->exit_code = x->signal = -1;
    x->started_ms = loop_now_ms(all->loop);
    x->timeout_s = r->timeout_s;
    HASH_ADD_KEYPTR(hh, all->by_id, x->id, strlen(x->id), x);
    all->current = x;
    return x;
}

struct execution *executions_start(struct executions *all, const struct execution_request *r,
                                   struct error *e)
{
    char digest[65];
    record_digest(r, digest);
    struct execution *x = r->id ? executions_find(all, r->id) : NULL;
    if (x && strcmp(x->digest, digest) == 0)
        return x;
    if (x)
        error_set(e, ERR_CONFLICT, "execution %.64s was asked with another body", r->id);
    else if (all->current)
        error_set(e, ERR_NOT_READY, "execution %.64s runs", all->current->id);
    else if (all->started >= EXECUTIONS_MAX)
        error_set(e, ERR_FULL, "this container ran %d executions", EXECUTIONS_MAX);
    if (e->code)
        return NULL;
    x = execution_new(all, r, digest);
    run(x, r);
    return x;
}
