#include "cleatd/exchange.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleatd/metrics.h"

#define RETRY_AFTER_S 2 /* when nothing better is known */

static void release_stream(struct exchange *x)
{
    if (x->stream)
        x->release(x);
}

static void exchange_free(struct exchange *x)
{
    release_stream(x);
    free(x->tenant);
    free(x);
}

static void finish_gone(void *arg)
{
    struct exchange *x = arg;
    server_answer(x->request, 503, NULL, NULL, 0); /* reaches nobody, frees the request */
    if (x->list)
        TAILQ_REMOVE(x->list, x, entry);
    exchange_free(x);
}

/* The server still holds the request while it tells us, hence later. */
static void on_gone(void *arg)
{
    struct exchange *x = arg;
    if (x->gone)
        return;
    x->gone = true;
    if (x->call && x->cancels && (x->created || !x->session[0]))
        cleat_call_abandon(x->call);
    else if (x->call)
        cleat_call_cancel(x->call);
    x->call = NULL;
    release_stream(x);
    log_debug("api.gone", KV("method", server_method(x->request)),
              KV("path", server_path(x->request)));
    loop_free_later(x->loop, x, finish_gone);
}

struct exchange *exchange_new(struct exchange_list *list, struct loop *loop,
                              struct cleat *cleat, struct server_request *request)
{
    struct exchange *x = mem_alloc(sizeof *x);
    x->loop = loop;
    x->cleat = cleat;
    x->request = request;
    x->status = 200;
    x->started_ms = loop_now_ms(loop);
    x->list = list;
    TAILQ_INSERT_TAIL(list, x, entry);
    server_on_gone(request, on_gone, x);
    return x;
}

void exchange_drop(struct exchange *x)
{
    if (x->gone) { /* is on the loop's list */
        TAILQ_REMOVE(x->list, x, entry);
        x->list = NULL;
        return;
    }
    if (x->call)
        cleat_call_cancel(x->call);
    finish_gone(x);
}

static void add_retry_after(struct exchange *x)
{
    char *text = mem_printf("%d", x->retry_after_s > 0 ? x->retry_after_s : RETRY_AFTER_S);
    server_add_header(x->request, "Retry-After", text);
    free(text);
}

static void finish_stream(struct exchange *x, void (*finish)(struct server_request *))
{
    finish(x->request);
    TAILQ_REMOVE(x->list, x, entry);
    exchange_free(x);
}

void exchange_end(struct exchange *x)
{
    finish_stream(x, server_stream_end);
}

void exchange_cut(struct exchange *x)
{
    finish_stream(x, server_stream_cut);
}

struct stream_counts exchange_streams(const struct exchange *x)
{
    const struct exchange *other;
    struct stream_counts n = {0};
    TAILQ_FOREACH (other, x->list, entry) {
        if (!other->stream)
            continue;
        n.all++;
        n.of_tenants += other->tenant != NULL;
        n.of_own += other->tenant && x->tenant && strcmp(other->tenant, x->tenant) == 0;
    }
    return n;
}

void exchange_answer(struct exchange *x, int status, const char *document)
{
    const char *method = server_method(x->request);
    bool quiet = status < 400 && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0);
    log_at(quiet ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "api.request", KV("session", x->session),
           KV("method", method), KV("path", server_path(x->request)), KI("status", status),
           KI("ms", loop_now_ms(x->loop) - x->started_ms));
    if (status == 429 || status == 503)
        add_retry_after(x);
    metrics_note_answer(status);
    server_answer(x->request, status, status < 400 ? x->content_type : NULL, document,
                  strlen(document));
    TAILQ_REMOVE(x->list, x, entry);
    exchange_free(x);
}

void exchange_answer_owned(struct exchange *x, char *document)
{
    if (document)
        exchange_answer(x, x->status, document);
    else
        exchange_refuse(x, ERR_NOT_FOUND, 0, "no such session");
    free(document);
}

void exchange_fail(struct exchange *x, const struct cleat_error *error)
{
    json_t *e =
        json_pack("{s:s, s:s, s:b, s:b}", "code", error->code, "message", error->message,
                  "retryable", error->retryable, "admitted", error->admitted);
    if (e && error->ran)
        json_object_set_new(e, "ran", json_string(error->ran));
    if (e && error->reason)
        json_object_set_new(e, "reason", json_string(error->reason));
    x->retry_after_s = error->retry_after_s;
    if (e && error->retry_after_s > 0)
        json_object_set_new(e, "retry_after_s", json_integer(error->retry_after_s));
    if (e && x->creates && x->session[0])
        json_object_set_new(e, "session_id", json_string(x->session));
    json_t *whole = json_pack("{s:o*}", "error", e);
    char *text = whole ? json_dumps(whole, JSON_COMPACT) : NULL;
    json_decref(whole);
    exchange_answer(x, error->http_status,
                    text ? text : "{\"error\":{\"code\":\"internal\",\"retryable\":false}}");
    free(text);
}

static void refuse(struct exchange *x, enum error_code code, int status, const char *reason,
                   const char *message)
{
    struct cleat_error error = {
        .code = error_name(code),
        .message = message,
        .http_status = status ? status : error_http_status(code),
        .retryable = error_retryable(code),
        .reason = reason,
    };
    exchange_fail(x, &error);
}

/* status 0: the code's own. */
void exchange_refuse(struct exchange *x, enum error_code code, int status, const char *message)
{
    refuse(x, code, status, NULL, message);
}

void exchange_refuse_full(struct exchange *x, const char *reason, const char *message)
{
    refuse(x, ERR_FULL, 0, reason, message);
}

void exchange_done(void *exchange, const struct cleat_error *error, const char *document)
{
    struct exchange *x = exchange;
    x->call = NULL;
    if (error)
        exchange_fail(x, error);
    else
        exchange_answer(x, x->status, document);
}
