#include "driver/docker_events.h"
#include <stdlib.h>
#include "base/backoff.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/docker_fields.h"
#include "driver/docker_lines.h"

#define STREAM_MS (3600 * 1000) /* a stream lasts no longer: half-open ones end as well */
#define HEAD_MS 10000
#define RETRY_BASE_MS 100
#define RETRY_CAP_MS 5000
#define OVERLAP_S 2 /* told again after a reconnect: clocks have whole seconds here */

struct docker_events {
    struct docker_events_env env;
    struct docker_call *call;
    struct timer retry;
    struct buf pending;
    bool connected;
    int64_t since_s, opened_ms;
    unsigned failures, reconnects;
};

/* Who talks nonsense once is not believed to have told everything. */
static bool event_line(void *arg, const char *line, size_t len)
{
    struct docker_events *s = arg;
    struct docker_event event;
    if (!docker_read_event(line, len, &event))
        return false;
    if (event.key[0] != '\0')
        s->env.on_event(s->env.arg, &event);
    return true;
}

static void reconnect_later(struct docker_events *s, const char *why)
{
    bool lasted = s->connected && loop_now_ms(s->env.loop) - s->opened_ms >= RETRY_CAP_MS;
    if (lasted || s->failures == 0)
        log_warn("docker.events", KV("error", why));
    s->failures = lasted ? 1 : s->failures + 1;
    s->connected = false;
    s->pending.len = 0;
    s->reconnects++;
    timer_arm(&s->retry, backoff_ms(RETRY_BASE_MS, s->failures, RETRY_CAP_MS));
}

static void events_data(void *arg, const char *data, size_t len)
{
    struct docker_events *s = arg;
    if (!s->connected) {
        s->connected = true;
        s->opened_ms = loop_now_ms(s->env.loop);
        s->env.on_open(s->env.arg);
    }
    if (docker_split(&s->pending, data, len, event_line, s))
        return;
    docker_cancel(s->call);
    s->call = NULL;
    reconnect_later(s, "a line that is no JSON object");
}

static void events_ended(void *arg, const struct http_answer *answer)
{
    struct docker_events *s = arg;
    struct error e = answer->error;
    s->call = NULL;
    docker_refusal(answer->status, answer->body, answer->body_len, "events", &e);
    reconnect_later(s, e.code != ERR_NONE ? e.message : "the stream has ended");
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
