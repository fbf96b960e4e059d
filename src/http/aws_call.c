#include "http/aws_call.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/aws_endpoint.h"
#include "http/aws_error.h"
#include "http/aws_prepare.h"
#include "http/aws_sign.h"
#include "http/aws_verdict.h"

#define TRIES 5
#define TIMEOUT_MS 30000
#define CONNECT_TIMEOUT_MS 5000
#define ANSWER_MAX ((size_t)4 << 20)
#define WAITING_MAX 10000 /* calls of one family */
#define JITTER_BASE_MS 500
#define JITTER_MAX_MS 20000
#define COST 5          /* of a retry, from the budget; the SDKs' standard mode */
#define COST_TIMEOUT 10 /* of one after a time-out */

struct aws_call {
    struct aws *aws;
    TAILQ_ENTRY(aws_call) entry, waiting_entry;
    struct aws_message message;
    struct error refusal; /* it cannot be sent */
    enum aws_service service;
    char *action;
    int64_t timeout_ms, sent_ms;
    unsigned tries_max, tries;
    size_t max_answer;
    http_data_fn *on_data;
    aws_done_fn *done;
    void *arg;

    struct task begin;
    struct timer retry;
    struct aws_waiter waiter; /* for keys */
    struct aws_gate *gate;
    bool at_gate;
    bool keys_renewed; /* after a refusal: once */
    bool sent;
    int paid;         /* for the last retry, from the budget */
    char *access_key; /* that the try under way is signed with */
    struct http_exchange *exchange;
};

static void seek_keys(void *arg);

/* ---- the end */

static void detach(struct aws_call *call)
{
    TAILQ_REMOVE(&call->aws->calls, call, entry);
    task_stop(&call->begin);
    timer_stop(&call->retry);
    aws_credentials_forget(&call->waiter);
    if (call->at_gate) {
        TAILQ_REMOVE(&call->gate->waiting, call, waiting_entry);
        call->gate->length--;
    }
}

static void free_call(struct aws_call *call)
{
    aws_message_clear(&call->message);
    free(call->action);
    free(call->access_key);
    free(call);
}

void aws_cancel(struct aws_call *call)
{
    detach(call);
    if (call->exchange)
        http_cancel(call->exchange);
    free_call(call);
}

/* The owner may free the whole client in the call. */
static void finish(struct aws_call *call, struct aws_answer *answer)
{
    answer->tries = call->tries;
    answer->sent = call->sent;
    if (answer->class != AWS_FINE)
        aws_count_of(call->aws, call->action)->errors++;
    detach(call);
    call->done(call->arg, answer);
    free_call(call);
}

static void finish_unsent(struct aws_call *call, enum aws_class class, enum error_code code,
                          const char *why)
{
    struct aws_answer answer = {.class = class, .body = ""};
    error_set(&answer.error, code, "%s: %s", call->action, why);
    finish(call, &answer);
}

/* ---- once more */

static int64_t jitter_ms(struct aws_call *call)
{
    uint32_t random;
    int64_t most = JITTER_BASE_MS;
    for (unsigned n = 1; n < call->tries && most < JITTER_MAX_MS; n++)
        most *= 2;
    if (most > JITTER_MAX_MS)
        most = JITTER_MAX_MS;
    loop_random(call->aws->loop, &random, sizeof random);
    return (int64_t)((uint64_t)random * (uint64_t)(most + 1) >> 32);
}

static bool pay(struct aws_call *call, const struct aws_answer *answer)
{
    int cost = answer->error.code == ERR_TIMEOUT ? COST_TIMEOUT : COST;
    if (call->aws->budget < cost)
        return false;
    call->aws->budget -= cost;
    call->paid = cost;
    return true;
}

static void refund(struct aws_call *call)
{
    int budget = call->aws->budget + (call->paid ? call->paid : 1);
    call->aws->budget = budget < AWS_BUDGET ? budget : AWS_BUDGET;
}

/* Other keys may be accepted: at once, and besides the tries, for a refused call had no effect.
 */
static bool renew_keys(struct aws_call *call, const struct aws_answer *answer)
{
    if (call->keys_renewed || !aws_keys_refused(answer->code) ||
        !aws_credentials_refused(call->aws->credentials, call->access_key))
        return false;
    call->keys_renewed = true;
    log_info("aws.keys_refused", KV("action", call->action), KV("code", answer->code));
    seek_keys(call);
    return true;
}

static bool retry(struct aws_call *call, const struct aws_answer *answer)
{
    if (renew_keys(call, answer))
        return true;
    bool may_help = answer->class == AWS_THROTTLED || answer->class == AWS_TRANSIENT;
    if (!may_help || call->tries >= call->tries_max || !pay(call, answer))
        return false;
    timer_arm(&call->retry, jitter_ms(call));
    return true;
}

/* ---- one try */

static void note(struct aws_call *call, const struct aws_answer *answer)
{
    if (answer->class == AWS_FINE)
        refund(call);
    if (answer->class != AWS_THROTTLED)
        return;
    aws_count_of(call->aws, call->action)->throttled++;
    aws_pace_throttled(&call->gate->pace, call->sent_ms, loop_now_ms(call->aws->loop));
    log_info("aws.throttled", KV("action", call->action), KV("code", answer->code),
             KI("tries", call->tries));
}

static void answered(void *arg, const struct http_answer *http)
{
    struct aws_call *call = arg;
    call->exchange = NULL;
    struct aws_answer answer;
    bool effect = aws_verdict(&answer, call->service, call->message.method, call->action, http,
                              loop_wall_ms(call->aws->loop));
    call->sent |= effect;
    note(call, &answer);
    if (answer.class == AWS_FINE || !retry(call, &answer))
        finish(call, &answer);
}

/* The owner may cancel the call. */
static void hand_over(void *arg, const char *data, size_t len)
{
    struct aws_call *call = arg;
    call->on_data(call->arg, data, len);
}

/* With a signature of ours in place of libcurl's. */
static struct http_exchange *start_signed(struct aws_call *call, struct http_request *request,
                                          const struct http_sign *sign)
{
    size_t count = call->message.header_count;
    struct http_header *headers = mem_array(count + AWS_SIGN_HEADERS, sizeof *headers);
    memcpy(headers, call->message.headers, count * sizeof *headers);
    size_t added =
        aws_sign(headers + count, &call->message, sign, loop_wall_ms(call->aws->loop));
    request->sign = NULL;
    request->headers = headers;
    request->header_count = count + added;
    struct http_exchange *exchange = http_start(call->aws->share, request, answered, call);
    for (size_t i = count; i < count + added; i++)
        free((char *)headers[i].value);
    free(headers);
    return exchange;
}

static void send_try(struct aws_call *call)
{
    const struct aws_keys *keys = aws_credentials_now(call->aws->credentials);
    if (!keys) {
        seek_keys(call);
        return;
    }
    struct http_sign sign = {.region = call->aws->region,
                             .service = aws_service_name(call->service),
                             .access_key = keys->access_key,
                             .secret_key = keys->secret_key,
                             .session_token = keys->session_token};
    struct http_request request = {
        .method = call->message.method,
        .url = call->message.url,
        .headers = call->message.headers,
        .header_count = call->message.header_count,
        .sign = &sign,
        .body = call->message.body,
        .body_len = call->message.body_len,
        .connect_timeout_ms =
            call->timeout_ms < CONNECT_TIMEOUT_MS ? call->timeout_ms : CONNECT_TIMEOUT_MS,
        .first_byte_timeout_ms = call->timeout_ms,
        .total_timeout_ms = call->timeout_ms,
        .max_answer = call->max_answer,
        .on_data = call->on_data ? hand_over : NULL,
    };
    free(call->access_key);
    call->access_key = mem_strdup(keys->access_key);
    call->tries++;
    call->sent_ms = loop_now_ms(call->aws->loop);
    aws_count_of(call->aws, call->action)->calls++;
    call->exchange = aws_sign_needed(&call->message)
                         ? start_signed(call, &request, &sign)
                         : http_start(call->aws->share, &request, answered, call);
}

/* ---- the way to a try: keys, then the family's pace */

void aws_gate_open(void *arg)
{
    struct aws_gate *gate = arg;
    while (!TAILQ_EMPTY(&gate->waiting)) {
        int64_t wait_ms = aws_pace_take(&gate->pace, loop_now_ms(gate->aws->loop));
        if (wait_ms > 0) {
            timer_arm(&gate->timer, wait_ms);
            return;
        }
        struct aws_call *call = TAILQ_FIRST(&gate->waiting);
        TAILQ_REMOVE(&gate->waiting, call, waiting_entry);
        gate->length--;
        call->at_gate = false;
        send_try(call);
    }
}

static void line_up(struct aws_call *call)
{
    struct aws_gate *gate = call->gate;
    if (gate->length == WAITING_MAX) {
        finish_unsent(call, AWS_THROTTLED, ERR_CAPACITY, "too many calls wait already");
        return;
    }
    TAILQ_INSERT_TAIL(&gate->waiting, call, waiting_entry);
    gate->length++;
    call->at_gate = true;
    if (!timer_armed(&gate->timer))
        timer_arm(&gate->timer, 0);
}

static void keys_came(void *arg, const struct error *e)
{
    struct aws_call *call = arg;
    if (e)
        finish_unsent(call, AWS_AUTH, ERR_PERMANENT, e->message);
    else
        line_up(call);
}

static void seek_keys(void *arg)
{
    struct aws_call *call = arg;
    if (aws_credentials_now(call->aws->credentials))
        line_up(call);
    else
        aws_credentials_wait(call->aws->credentials, &call->waiter);
}

static void begin(void *arg)
{
    struct aws_call *call = arg;
    if (call->refusal.code != ERR_NONE)
        finish_unsent(call, AWS_PERMANENT, ERR_PERMANENT, call->refusal.message);
    else
        seek_keys(call);
}

static void check(struct aws_call *call, const struct aws_request *r)
{
    const char *region = call->aws->region;
    if (!*region)
        error_set(&call->refusal, ERR_CONFIG, "no region: set AWS_REGION");
    else if (!aws_region_valid(region))
        error_set(&call->refusal, ERR_CONFIG, "\"%.60s\" is no region", region);
    else
        aws_prepare(&call->message, r, region, &call->refusal);
}

struct aws_call *aws_start(struct aws *aws, const struct aws_request *r, aws_done_fn *done,
                           void *arg)
{
    struct aws_call *call = mem_alloc(sizeof *call);
    *call = (struct aws_call){
        .aws = aws,
        .service = r->service,
        .action = mem_strdup(r->action),
        .timeout_ms = r->timeout_ms > 0 ? r->timeout_ms : TIMEOUT_MS,
        .tries_max = r->on_data     ? 1
                     : r->tries > 0 ? r->tries
                                    : TRIES,
        .max_answer = r->max_answer > 0 ? r->max_answer : ANSWER_MAX,
        .on_data = r->on_data,
        .done = done,
        .arg = arg,
        .gate = &aws->gates[aws_family(r->service, r->action)],
    };
    call->waiter = (struct aws_waiter){.fn = keys_came, .arg = call};
    task_init(&call->begin, aws->loop, begin, call);
    timer_init(&call->retry, aws->loop, seek_keys, call);
    TAILQ_INSERT_TAIL(&aws->calls, call, entry);
    check(call, r);
    task_wake(&call->begin);
    return call;
}
