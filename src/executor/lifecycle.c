#include <signal.h>
#include <stdlib.h>
#include "base/log.h"
#include "executor/executor.h"
#include "executor/helper.h"
#include "executor/settings.h"

#define MAX_HEAD (64 << 10)
#define MAX_BODY (16 << 20)
#define MAX_CONNECTIONS 256
#define CONNECTION_IDLE_MS 120000
#define LINGER_MS 100 /* for the last answers to leave */

bool executor_closed(const struct executor *x)
{
    return x->stopping || x->closing.state != CLOSING_NONE;
}

void executor_touch(struct executor *x)
{
    if (x->config.idle_s > 0 && !x->stopping)
        timer_arm(&x->idle, x->config.idle_s * 1000);
}

void executor_leave(struct executor *x, int exit_code)
{
    struct lease *l = &x->lease;
    if (l->holder && l->end == LEASE_ENDED_UNKNOWN)
        l->end = exit_code == 0 ? LEASE_ENDED_IN_ORDER : LEASE_ENDED_KEEP;
    l->leaving = l->holder != NULL;
    x->exit_code = exit_code;
    server_stop_listening(x->server);
    timer_arm(&x->linger, LINGER_MS);
}

/* Uploads what is there, then leaves the loop. */
static void stop(struct executor *x, const char *reason)
{
    if (x->stopping)
        return;
    x->stopping = true;
    timer_stop(&x->idle);
    timer_stop(&x->lifetime);
    log_info("executor.stopping", KV("reason", reason));
    bool nothing_to_upload = x->closing.state == CLOSING_NONE && x->executions.started == 0;
    if (x->closing.state == CLOSING_DONE || nothing_to_upload)
        executor_leave(x, 0);
    else
        closing_begin(&x->closing, NULL);
}

static void on_closing_ended(void *arg)
{
    struct executor *x = arg;
    route_closing_ended(x);
    if (x->stopping)
        executor_leave(x, x->closing.state == CLOSING_DONE ? 0 : 1);
}

static void on_linger(void *arg)
{
    struct executor *x = arg;
    loop_stop(x->loop);
}

static void on_signal(void *arg)
{
    struct executor *x = arg;
    x->terminated = true;
    stop(x, "signal");
}

static void on_idle(void *arg)
{
    struct executor *x = arg;
    if (x->executions.current)
        executor_touch(x);
    else
        stop(x, "idle limit");
}

static void on_lifetime(void *arg)
{
    stop(arg, "lifetime limit");
}

void executor_begin(struct executor *x)
{
    executor_touch(x);
    if (x->config.lifetime_s > 0)
        timer_arm(&x->lifetime, x->config.lifetime_s * 1000);
}

static void start_timers(struct executor *x)
{
    timer_init(&x->idle, x->loop, on_idle, x);
    timer_init(&x->lifetime, x->loop, on_lifetime, x);
    timer_init(&x->linger, x->loop, on_linger, x);
    executor_begin(x);
}

enum error_code executor_start(struct executor *x, struct error *e)
{
    struct server_options options = {.ip = x->config.ip,
                                     .port = x->config.port,
                                     .max_head = MAX_HEAD,
                                     .max_body = MAX_BODY,
                                     .idle_timeout_ms = CONNECTION_IDLE_MS,
                                     .max_connections = MAX_CONNECTIONS};
    TAILQ_INIT(&x->waiters);
    TAILQ_INIT(&x->completing);
    TAILQ_INIT(&x->claiming);
    x->loop = loop_new(NULL);
    executions_init(&x->executions, x->loop, &x->config, route_execution_changed, x);
    closing_init(&x->closing, x->loop, &x->config, &x->executions, on_closing_ended, x);
    helper_settings(settings_line(x->config.helper_env, NULL));
    lease_challenge(x);
    start_timers(x);
    x->sigterm = signal_watch_new(x->loop, SIGTERM, on_signal, x);
    x->sigint = signal_watch_new(x->loop, SIGINT, on_signal, x);
    x->server = server_new(x->loop, &options, contract_request, x, e);
    if (!x->server)
        return e->code;
    log_info("executor.listening", KV("address", x->config.ip),
             KI("port", server_port(x->server)), KV("session", x->config.session),
             KI("attempt", x->config.attempt),
             KV("sandbox", x->config.sandbox == SANDBOX_BWRAP ? "bwrap" : "none"));
    return ERR_NONE;
}

static void drop_pending(struct pending_list *list)
{
    for (struct pending *p; (p = TAILQ_FIRST(list));) {
        TAILQ_REMOVE(list, p, entry);
        if (p->request)
            server_answer(p->request, 503, NULL, NULL, 0);
        free(p);
    }
}

static void drop_waiters(struct executor *x)
{
    for (struct waiter *w; (w = TAILQ_FIRST(&x->waiters));) {
        TAILQ_REMOVE(&x->waiters, w, entry);
        timer_stop(&w->timer);
        server_answer(w->request, 503, NULL, NULL, 0);
        free(w);
    }
}

void executor_release(struct executor *x)
{
    if (x->server)
        server_free(x->server); /* answers below only free their requests */
    drop_waiters(x);
    drop_pending(&x->completing);
    drop_pending(&x->claiming);
    helper_end_all();
    helper_settings(NULL);
    settings_release_keys(&x->keys);
    closing_release(&x->closing);
    executions_release(&x->executions);
    timer_stop(&x->idle);
    timer_stop(&x->lifetime);
    timer_stop(&x->linger);
    signal_watch_free(x->sigterm);
    signal_watch_free(x->sigint);
    nonces_release(&x->nonces);
    json_decref(x->claim);
    loop_free(x->loop);
}
