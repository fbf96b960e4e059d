#include "driver/docker_engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include "base/log.h"
#include "base/mem.h"

#define CONNECT_TIMEOUT_MS 5000
#define PING_TIMEOUT_MS 5000
#define MAX_ANSWER (16u << 20) /* a listing of some thousand containers */
#define VERSION_SIZE 16

struct docker_call {
    TAILQ_ENTRY(docker_call) entry;
    struct docker_engine *engine;
    const char *method;
    char *path, *body, *registry_auth;
    int64_t timeout_ms, first_byte_ms;
    http_data_fn *on_data;
    http_done_fn *done;
    void *arg;
    struct http_exchange *exchange; /* NULL: waits for the version */
    uint64_t round;                 /* of asking for the version */
};

struct docker_engine {
    struct http_share *share;
    char *socket;
    char version[VERSION_SIZE];
    struct http_exchange *ping;
    uint64_t round;
    TAILQ_HEAD(, docker_call) calls;
};

static void free_secret(char *text)
{
    if (text != NULL)
        mem_wipe(text, strlen(text));
    free(text);
}

static void free_call(struct docker_call *c)
{
    TAILQ_REMOVE(&c->engine->calls, c, entry);
    free_secret(c->body);
    free_secret(c->registry_auth);
    free(c->path);
    free(c);
}

static void end_call(struct docker_call *c, const struct http_answer *answer)
{
    http_done_fn *done = c->done;
    void *arg = c->arg;
    free_call(c);
    done(arg, answer);
}

/* Without an answer the engine may be another one next time. */
static void answered(void *arg, const struct http_answer *answer)
{
    struct docker_call *c = arg;
    if (answer->error.code != ERR_NONE)
        c->engine->version[0] = '\0';
    c->exchange = NULL;
    end_call(c, answer);
}

static void take_data(void *arg, const char *data, size_t len)
{
    struct docker_call *c = arg;
    c->on_data(c->arg, data, len);
}

static void send_call(struct docker_call *c)
{
    struct docker_engine *d = c->engine;
    struct http_header headers[2];
    size_t count = 0;
    if (c->body != NULL)
        headers[count++] = (struct http_header){"Content-Type", "application/json"};
    if (c->registry_auth != NULL)
        headers[count++] = (struct http_header){"X-Registry-Auth", c->registry_auth};
    char *url = mem_printf("http://docker/v%s%s", d->version, c->path);
    c->exchange = http_start(
        d->share,
        &(struct http_request){.method = c->method,
                               .url = url,
                               .unix_socket = d->socket,
                               .headers = headers,
                               .header_count = count,
                               .body = c->body,
                               .body_len = c->body != NULL ? strlen(c->body) : 0,
                               .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                               .first_byte_timeout_ms =
                                   c->first_byte_ms != 0 ? c->first_byte_ms : c->timeout_ms,
                               .total_timeout_ms = c->timeout_ms,
                               .max_answer = MAX_ANSWER,
                               .on_data = c->on_data != NULL ? take_data : NULL},
        answered, c);
    free(url);
}

/* ---- the version */

static bool version_valid(const char *version)
{
    unsigned major, minor;
    int end = 0;
    return version != NULL && strlen(version) < VERSION_SIZE &&
           sscanf(version, "%3u.%5u%n", &major, &minor, &end) == 2 && version[end] == '\0';
}

static struct docker_call *next_waiting(const struct docker_engine *d, uint64_t round)
{
    struct docker_call *c;
    TAILQ_FOREACH (c, &d->calls, entry)
        if (c->exchange == NULL && c->round == round)
            return c;
    return NULL;
}

/* A callback may ask again: that waits for the next round. */
static void fail_waiting(struct docker_engine *d, uint64_t round,
                         const struct http_answer *answer)
{
    struct docker_call *c;
    while ((c = next_waiting(d, round)) != NULL)
        end_call(c, answer);
}

static void pinged(void *arg, const struct http_answer *answer)
{
    struct docker_engine *d = arg;
    struct docker_call *c;
    const char *version = http_answer_header(answer, "Api-Version");
    uint64_t round = d->round++;
    d->ping = NULL;
    if (answer->error.code == ERR_NONE && answer->status == 200 && version_valid(version)) {
        mem_copy_string(d->version, sizeof(d->version), version);
        log_info("docker.engine", KV("socket", d->socket), KV("api_version", d->version));
        TAILQ_FOREACH (c, &d->calls, entry)
            if (c->exchange == NULL)
                send_call(c);
        return;
    }
    struct http_answer failed = {.error = answer->error, .body = ""};
    if (failed.error.code == ERR_NONE)
        error_set(&failed.error, ERR_PROTOCOL, "what listens there is no Docker Engine");
    fail_waiting(d, round, &failed);
}

static void ping(struct docker_engine *d)
{
    if (d->ping != NULL)
        return;
    d->ping = http_start(d->share,
                         &(struct http_request){.method = "GET",
                                                .url = "http://docker/_ping",
                                                .unix_socket = d->socket,
                                                .connect_timeout_ms = CONNECT_TIMEOUT_MS,
                                                .first_byte_timeout_ms = PING_TIMEOUT_MS,
                                                .total_timeout_ms = PING_TIMEOUT_MS,
                                                .max_answer = 65536},
                         pinged, d);
}

/* ---- calls */

struct docker_call *docker_ask(struct docker_engine *d, const struct docker_request *r,
                               http_done_fn *done, void *arg)
{
    struct docker_call *c = mem_alloc(sizeof(*c));
    c->engine = d;
    c->method = r->method;
    c->path = mem_strdup(r->path);
    c->body = mem_strdup(r->body);
    c->registry_auth = mem_strdup(r->registry_auth);
    c->timeout_ms = r->timeout_ms;
    c->first_byte_ms = r->first_byte_ms;
    c->on_data = r->on_data;
    c->done = done;
    c->arg = arg;
    c->round = d->round;
    TAILQ_INSERT_TAIL(&d->calls, c, entry);
    if (d->version[0] != '\0')
        send_call(c);
    else
        ping(d);
    return c;
}

void docker_cancel(struct docker_call *c)
{
    if (c->exchange != NULL)
        http_cancel(c->exchange);
    free_call(c);
}

struct docker_engine *docker_engine_new(struct http_client *client, const char *socket)
{
    struct docker_engine *d = mem_alloc(sizeof(*d));
    d->share = http_share_new(client, 1);
    d->socket = mem_strdup(socket);
    TAILQ_INIT(&d->calls);
    return d;
}

void docker_engine_free(struct docker_engine *d)
{
    while (!TAILQ_EMPTY(&d->calls))
        docker_cancel(TAILQ_FIRST(&d->calls));
    if (d->ping != NULL)
        http_cancel(d->ping);
    http_share_free(d->share);
    free(d->socket);
    free(d);
}

const char *docker_engine_version(const struct docker_engine *d)
{
    return d->version;
}
