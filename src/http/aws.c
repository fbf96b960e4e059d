#include "http/aws.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"
#include "http/aws_call.h"
#include "http/aws_profile.h"

#define IDLE_CONNECTIONS 8

static void open_gates(struct aws *aws)
{
    for (enum aws_family f = 0; f < AWS_FAMILIES; f++) {
        struct aws_gate *gate = &aws->gates[f];
        gate->aws = aws;
        aws_pace_init(&gate->pace, f, loop_now_ms(aws->loop));
        TAILQ_INIT(&gate->waiting);
        timer_init(&gate->timer, aws->loop, aws_gate_open, gate);
    }
}

static char *find_region(const char *given)
{
    static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    for (size_t i = 0; !given && i < 2; i++) {
        const char *value = getenv(variables[i]);
        given = value && *value ? value : NULL;
    }
    if (given)
        return mem_strdup(given);
    char *of_profile = aws_profile_region();
    return of_profile ? of_profile : mem_strdup("");
}

struct aws *aws_new(struct loop *loop, struct http_client *client, const char *region,
                    const struct aws_keys *keys)
{
    struct aws *aws = mem_alloc(sizeof *aws);
    aws->loop = loop;
    aws->share = http_share_new(client, IDLE_CONNECTIONS);
    aws->region = find_region(region);
    aws->credentials = aws_credentials_new(loop, client, aws->region, keys);
    aws->budget = AWS_BUDGET;
    TAILQ_INIT(&aws->calls);
    open_gates(aws);
    return aws;
}

void aws_free(struct aws *aws)
{
    while (!TAILQ_EMPTY(&aws->calls))
        aws_cancel(TAILQ_FIRST(&aws->calls));
    for (enum aws_family f = 0; f < AWS_FAMILIES; f++)
        timer_stop(&aws->gates[f].timer);
    aws_credentials_free(aws->credentials);
    http_share_free(aws->share);
    struct aws_count *count, *next;
    HASH_ITER (hh, aws->counts, count, next) {
        HASH_DEL(aws->counts, count);
        free(count->action);
        free(count);
    }
    free(aws->region);
    free(aws);
}

void aws_set_keys(struct aws *aws, const struct aws_keys *keys)
{
    aws_credentials_set(aws->credentials, keys);
}

const char *aws_region(struct aws *aws)
{
    return aws->region;
}

struct aws_count *aws_count_of(struct aws *aws, const char *action)
{
    struct aws_count *count;
    HASH_FIND_STR(aws->counts, action, count);
    if (count)
        return count;
    count = mem_alloc(sizeof *count);
    count->action = mem_strdup(action);
    HASH_ADD_KEYPTR(hh, aws->counts, count->action, strlen(count->action), count);
    return count;
}

static json_t *time_text(int64_t ms)
{
    char text[32];
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

json_t *aws_status(struct aws *aws)
{
    json_t *calls = json_object();
    for (struct aws_count *c = aws->counts; c; c = c->hh.next)
        json_object_set_new(calls, c->action,
                            json_pack("{sIsIsI}", "calls", (json_int_t)c->calls, "throttled",
                                      (json_int_t)c->throttled, "errors",
                                      (json_int_t)c->errors));
    json_t *status = json_pack("{ssss}", "region", aws->region, "credentials",
                               aws_credentials_source(aws->credentials));
    int64_t expires_ms = aws_credentials_expire_ms(aws->credentials);
    if (expires_ms > 0)
        json_object_set_new(status, "expires_at", time_text(expires_ms));
    const char *problem = aws_credentials_problem(aws->credentials);
    if (*problem)
        json_object_set_new(status, "credentials_problem", json_string(problem));
    json_object_set_new(status, "calls", calls);
    return status;
}
