#include "http/aws_fetch.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "http/aws_endpoint.h"
#include "http/aws_error.h"
#include "http/aws_keys.h"

#define ANSWER_MAX ((size_t)256 << 10)
#define JITTER_MS 200u

struct aws_fetch {
    struct loop *loop;
    struct http_share *share;
    struct http_exchange *exchange;
    struct aws_message message;
    struct aws_keys keys; /* no access key: not signed */
    char *region;
    struct aws_fetch_limits limits;
    unsigned tries;
    struct timer again;
    http_done_fn *done;
    void *arg;
};

static void fetch_free(struct aws_fetch *f)
{
    timer_stop(&f->again);
    aws_message_clear(&f->message);
    aws_keys_clear(&f->keys);
    http_share_free(f->share);
    free(f->region);
    free(f);
}

void aws_fetch_cancel(struct aws_fetch *f)
{
    if (!f)
        return;
    if (f->exchange)
        http_cancel(f->exchange);
    fetch_free(f);
}

static bool worth_another(const struct http_answer *answer)
{
    enum error_code code = answer->error.code;
    struct aws_fault fault;
    if (code != ERR_NONE)
        return code != ERR_INVALID && code != ERR_TOO_LARGE && code != ERR_INTERNAL;
    if (answer->status / 100 == 2)
        return false;
    aws_fault_read(&fault, answer->body, answer->body_len, NULL);
    enum aws_class class = aws_classify(fault.code, answer->status, fault.message);
    return class == AWS_THROTTLED || class == AWS_TRANSIENT;
}

static int64_t jitter_ms(struct aws_fetch *f)
{
    uint32_t random;
    loop_random(f->loop, &random, sizeof random);
    return (int64_t)(random % (JITTER_MS << f->tries));
}

static void answered(void *arg, const struct http_answer *answer)
{
    struct aws_fetch *f = arg;
    f->exchange = NULL;
    if (f->tries < f->limits.tries && worth_another(answer)) {
        timer_arm(&f->again, jitter_ms(f));
        return;
    }
    f->done(f->arg, answer);
    fetch_free(f);
}

static void send_try(void *arg)
{
    struct aws_fetch *f = arg;
    const struct http_sign sign = {.region = f->region,
                                   .service = aws_service_name(AWS_STS),
                                   .access_key = f->keys.access_key,
                                   .secret_key = f->keys.secret_key,
                                   .session_token = f->keys.session_token};
    f->tries++;
    f->exchange = http_start(f->share,
                             &(struct http_request){
                                 .method = f->message.method,
                                 .url = f->message.url,
                                 .headers = f->message.headers,
                                 .header_count = f->message.header_count,
                                 .sign = f->keys.access_key ? &sign : NULL,
                                 .body = f->message.body,
                                 .body_len = f->message.body_len,
                                 .connect_timeout_ms = f->limits.connect_ms,
                                 .first_byte_timeout_ms = f->limits.total_ms,
                                 .total_timeout_ms = f->limits.total_ms,
                                 .max_answer = ANSWER_MAX,
                             },
                             answered, f);
}

struct aws_fetch *aws_fetch_start(struct loop *loop, struct http_client *client,
                                  struct aws_message *m, const struct aws_keys *keys,
                                  const char *region, const struct aws_fetch_limits *limits,
                                  http_done_fn *done, void *arg)
{
    struct aws_fetch *f = mem_alloc(sizeof *f);
    *f = (struct aws_fetch){.loop = loop,
                            .share = http_share_new(client, 1),
                            .message = *m,
                            .region = mem_strdup(region),
                            .limits = *limits,
                            .done = done,
                            .arg = arg};
    *m = (struct aws_message){0};
    if (keys)
        aws_keys_copy(&f->keys, keys);
    timer_init(&f->again, loop, send_try, f);
    send_try(f);
    return f;
}

void aws_fetch_complain(const struct http_answer *answer, struct error *e)
{
    struct aws_fault fault;
    if (answer->error.code != ERR_NONE) {
        error_set(e, ERR_PERMANENT, "%.150s", answer->error.message);
        return;
    }
    aws_fault_read(&fault, answer->body, answer->body_len, NULL);
    error_set(e, ERR_PERMANENT, "HTTP status %d%s%s%s%.120s", answer->status,
              fault.code[0] ? ": " : "", fault.code, fault.message[0] ? ": " : "",
              fault.message);
}
