#include "http/aws_pace.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define SLOWER 0.7       /* beta of the SDKs' adaptive mode */
#define CURVE 0.4        /* its scale constant */
#define SLOWEST_RATE 0.5 /* its minimum, calls per second */

/* Amazon ECS API Reference, "Request throttling" (RunTask 20/s; the others are higher),
 * measured limits of ELB, which throttles early; the rest only keeps us from being a nuisance.
 */
static const struct {
    double rate, burst;
} limits[AWS_FAMILIES] = {
    [AWS_RUN_TASK] = {20, 20},   [AWS_STOP_TASK] = {40, 40},    [AWS_ECS_READS] = {20, 20},
    [AWS_ECS_WRITES] = {10, 10}, [AWS_ELB_READS] = {10, 10},    [AWS_ELB_WRITES] = {4, 4},
    [AWS_EC2_CALLS] = {10, 10},  [AWS_S3_CALLS] = {1000, 1000}, [AWS_STS_CALLS] = {100, 100},
};

static bool reads(const char *action)
{
    return strncmp(action, "Describe", 8) == 0 || strncmp(action, "List", 4) == 0 ||
           strncmp(action, "Get", 3) == 0;
}

enum aws_family aws_family(enum aws_service service, const char *action)
{
    switch (service) {
    case AWS_ELB:
        return reads(action) ? AWS_ELB_READS : AWS_ELB_WRITES;
    case AWS_S3:
        return AWS_S3_CALLS;
    case AWS_STS:
        return AWS_STS_CALLS;
    case AWS_EC2:
        return AWS_EC2_CALLS;
    default:
        break;
    }
    if (strcmp(action, "RunTask") == 0)
        return AWS_RUN_TASK;
    if (strcmp(action, "StopTask") == 0)
        return AWS_STOP_TASK;
    return reads(action) ? AWS_ECS_READS : AWS_ECS_WRITES;
}

void aws_pace_init(struct aws_pace *p, enum aws_family family, int64_t now_ms)
{
    *p = (struct aws_pace){.limit = limits[family].rate, .burst = limits[family].burst};
    p->rate = p->peak = p->limit;
    p->tokens = p->burst;
    p->at_ms = now_ms;
    p->slowed_ms = -1;
}

/* Where the curve is at now; it crosses peak when the cube root of what was lost has passed. */
static double recovered(const struct aws_pace *p, int64_t now_ms)
{
    double seconds = (double)(now_ms - p->slowed_ms) / 1000;
    double zero = cbrt(p->peak * (1 - SLOWER) / CURVE);
    double rate = CURVE * pow(seconds - zero, 3) + p->peak;
    return fmax(SLOWEST_RATE, fmin(p->limit, rate));
}

static void advance(struct aws_pace *p, int64_t now_ms)
{
    if (now_ms <= p->at_ms)
        return;
    if (p->slowed_ms >= 0)
        p->rate = recovered(p, now_ms);
    /* Slowed down, there is no saving up for a burst. */
    double most = fmax(1, fmin(p->burst, p->burst * p->rate / p->limit));
    p->tokens = fmin(most, p->tokens + p->rate * (double)(now_ms - p->at_ms) / 1000);
    p->at_ms = now_ms;
}

int64_t aws_pace_take(struct aws_pace *p, int64_t now_ms)
{
    advance(p, now_ms);
    if (p->tokens < 1)
        return 1 + (int64_t)((1 - p->tokens) / p->rate * 1000);
    p->tokens -= 1;
    return 0;
}

void aws_pace_throttled(struct aws_pace *p, int64_t sent_ms, int64_t now_ms)
{
    advance(p, now_ms);
    if (p->slowed_ms >= 0 && sent_ms <= p->slowed_ms)
        return;
    p->peak = p->rate;
    p->rate = fmax(SLOWEST_RATE, p->rate * SLOWER);
    p->tokens = 0;
    p->slowed_ms = now_ms;
}
