#include "driver/docker_stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/backoff.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

#define LINE_MAX_BYTES (1u << 20)
#define STREAM_MS (3600 * 1000) /* a stream lasts no longer: half-open ones end as well */
#define HEAD_MS 10000
#define RETRY_BASE_MS 100
#define RETRY_CAP_MS 5000
#define OVERLAP_S 2 /* told again after a reconnect: clocks have whole seconds here */
#define PROGRESS_EVERY_MS 2000

/* ---- lines */

typedef void line_fn(void *arg, const char *line, size_t len);

/* False: a line without end. */
static bool split(struct buf *pending, const char *data, size_t len, line_fn *fn, void *arg)
{
    size_t begin = 0;
    const char *end;
    buf_add(pending, data, len);
    while (pending->len > begin &&
           (end = memchr(pending->data + begin, '\n', pending->len - begin)) != NULL) {
        size_t line = (size_t)(end - pending->data) - begin;
        if (line > 1) /* not an empty or "\r" one */
            fn(arg, pending->data + begin, line);
        begin += line + 1;
    }
    if (begin > 0)
        buf_drop(pending, begin);
    return pending->len <= LINE_MAX_BYTES;
}

/* ---- events */

struct docker_events {
    struct docker_events_env env;
    struct docker_call *call;
    struct timer retry;
    struct buf pending;
    bool connected;
    int64_t since_s;
    unsigned failures, reconnects;
};

static void event_line(void *arg, const char *line, size_t len)
{
    struct docker_events *s = arg;
    struct docker_event event;
    if (!docker_read_event(line, len, &event))
        log_warn("docker.event", KV("problem", "a line that is no JSON object"));
    else if (event.key[0] != '\0')
        s->env.on_event(s->env.arg, &event);
}

static void reconnect_later(struct docker_events *s)
{
    s->connected = false;
    s->pending.len = 0;
    s->reconnects++;
    timer_arm(&s->retry, backoff_ms(RETRY_BASE_MS, ++s->failures, RETRY_CAP_MS));
}

static void events_data(void *arg, const char *data, size_t len)
{
    struct docker_events *s = arg;
    if (!s->connected) {
        s->connected = true;
        s->failures = 0;
        s->env.on_open(s->env.arg);
    }
    if (split(&s->pending, data, len, event_line, s))
        return;
    log_warn("docker.events", KV("error", "a line without end"));
    docker_cancel(s->call);
    s->call = NULL;
    reconnect_later(s);
}

static void events_ended(void *arg, const struct http_answer *answer)
{
    struct docker_events *s = arg;
    struct error e = answer->error;
    s->call = NULL;
    docker_refusal(answer->status, answer->body, answer->body_len, "events", &e);
    if (s->failures == 0)
        log_warn("docker.events", KV("error", e.code ? e.message : "the stream has ended"));
    reconnect_later(s);
}

static void connect_events(void *arg)
{
    struct docker_events *s = arg;
    char *path = docker_events_path(s->env.owner, s->since_s);
    s->since_s = loop_wall_ms(s->env.loop) / 1000 - OVERLAP_S;
    s->call = docker_ask(s->env.engine,
                         &(struct docker_request){.method = "GET",
                                                  .path = path,
                                                  .timeout_ms = STREAM_MS,
                                                  .first_byte_ms = HEAD_MS,
                                                  .on_data = events_data},
                         events_ended, s);
    free(path);
}

struct docker_events *docker_events_open(const struct docker_events_env *env)
{
    struct docker_events *s = mem_alloc(sizeof(*s));
    s->env = *env;
    s->since_s = loop_wall_ms(env->loop) / 1000 - OVERLAP_S;
    timer_init(&s->retry, env->loop, connect_events, s);
    connect_events(s);
    return s;
}

void docker_events_close(struct docker_events *s)
{
    if (s->call != NULL)
        docker_cancel(s->call);
    timer_stop(&s->retry);
    buf_free(&s->pending);
    free(s);
}

bool docker_events_connected(const struct docker_events *s)
{
    return s->connected;
}

unsigned docker_events_reconnects(const struct docker_events *s)
{
    return s->reconnects;
}

/* ---- pull */

struct docker_pull {
    struct loop *loop;
    struct docker_call *call;
    struct buf pending;
    char *image, status[64];
    struct error error;
    int64_t logged_ms;
    runtime_done_fn *done;
    void *arg;
};

static void free_pull(struct docker_pull *p)
{
    buf_free(&p->pending);
    free(p->image);
    free(p);
}

static void progress_line(void *arg, const char *line, size_t len)
{
    struct docker_pull *p = arg;
    int64_t now = loop_now_ms(p->loop);
    docker_read_progress(line, len, p->status, sizeof(p->status), &p->error);
    if (now - p->logged_ms < PROGRESS_EVERY_MS || p->status[0] == '\0')
        return;
    p->logged_ms = now;
    log_info("image.pulling", KV("image", p->image), KV("progress", p->status));
}

static void pull_data(void *arg, const char *data, size_t len)
{
    struct docker_pull *p = arg;
    if (!split(&p->pending, data, len, progress_line, p)) {
        error_set(&p->error, ERR_PROTOCOL, "pull of %.100s: a line without end", p->image);
        p->pending.len = 0;
    }
}

/* The engine answers 200 before it knows whether it works: then the last line says it. */
static void pull_ended(void *arg, const struct http_answer *answer)
{
    struct docker_pull *p = arg;
    runtime_done_fn *done = p->done;
    void *owner = p->arg;
    struct error e = answer->error;
    char what[128];
    snprintf(what, sizeof(what), "pull of %.100s", p->image);
    if (e.code == ERR_NONE &&
        docker_refusal(answer->status, answer->body, answer->body_len, what, &e) == ERR_NONE)
        e = p->error;
    if (e.code == ERR_NONE)
        log_info("image.pulled", KV("image", p->image));
    else
        log_warn("image.pull_failed", KV("image", p->image), KV("error", e.message));
    free_pull(p);
    done(owner, e.code != ERR_NONE ? &e : NULL);
}

struct docker_pull *docker_pull_start(struct loop *loop, struct docker_engine *engine,
                                      const char *image, int64_t timeout_ms,
                                      runtime_done_fn *done, void *arg)
{
    struct docker_pull *p = mem_alloc(sizeof(*p));
    char *path = docker_pull_path(image);
    p->loop = loop;
    p->image = mem_strdup(image);
    p->done = done;
    p->arg = arg;
    p->logged_ms = loop_now_ms(loop) - PROGRESS_EVERY_MS;
    log_info("image.pull", KV("image", image));
    p->call = docker_ask(
        engine,
        &(struct docker_request){
            .method = "POST", .path = path, .timeout_ms = timeout_ms, .on_data = pull_data},
        pull_ended, p);
    free(path);
    return p;
}

void docker_pull_cancel(struct docker_pull *p)
{
    docker_cancel(p->call);
    free_pull(p);
}
