/* How fast a family of calls may go: a token bucket that slows down when AWS throttles.
 *
 * A throttled call takes the rate to 0.7 of what it was, once for all calls that were sent
 * before the rate fell; then it comes back on a cubic curve (RFC 9438 section 4; the adaptive
 * mode of the AWS SDKs does the same with the same constants): fast to near where the
 * throttling began, slowly past it, so that it stays below that point most of the time, and it
 * depends on time, not on how many calls there are. It never exceeds the family's own rate. */
#ifndef CLEAT_HTTP_AWS_PACE_H
#define CLEAT_HTTP_AWS_PACE_H

#include <stdint.h>
#include "http/aws.h"

enum aws_family {
    AWS_RUN_TASK,
    AWS_STOP_TASK,
    AWS_ECS_READS,
    AWS_ECS_WRITES,
    AWS_ELB_READS,
    AWS_ELB_WRITES,
    AWS_EC2_CALLS,
    AWS_S3_CALLS,
    AWS_STS_CALLS,
    AWS_FAMILIES
};

enum aws_family aws_family(enum aws_service, const char *action);

struct aws_pace {
    double limit, burst; /* calls per second; calls at once */
    double rate, tokens; /* now, and at at_ms */
    double peak;         /* the rate that was throttled last */
    int64_t at_ms;
    int64_t slowed_ms; /* when it was, -1: never */
};

void aws_pace_init(struct aws_pace *, enum aws_family, int64_t now_ms);
/* 0: a call may go, and is counted. Else after so many ms there may be room; nothing is
 * counted. */
int64_t aws_pace_take(struct aws_pace *, int64_t now_ms);
/* A call that was sent at sent_ms was throttled. */
void aws_pace_throttled(struct aws_pace *, int64_t sent_ms, int64_t now_ms);

#endif
