/* Inside the AWS client: the object that aws.c makes and the calls that aws_call.c carries out.
 */
#ifndef CLEAT_HTTP_AWS_CALL_H
#define CLEAT_HTTP_AWS_CALL_H

#include <sys/queue.h>
#include <uthash.h>
#include "http/aws.h"
#include "http/aws_credentials.h"
#include "http/aws_pace.h"

#define AWS_BUDGET 500 /* of retries; as the SDKs' standard mode has it */

struct aws_count {
    char *action;
    uint64_t calls, throttled, errors; /* calls: tries that were sent */
    UT_hash_handle hh;
};

TAILQ_HEAD(aws_calls, aws_call);

/* Calls that wait for their family's pace, first come first served. */
struct aws_gate {
    struct aws *aws;
    struct aws_pace pace;
    struct aws_calls waiting;
    size_t length;
    struct timer timer;
};

struct aws {
    struct loop *loop;
    struct http_share *share;
    struct aws_credentials *credentials;
    char *region;
    struct aws_gate gates[AWS_FAMILIES];
    struct aws_calls calls; /* all of them */
    int budget;
    struct aws_count *counts; /* by action */
};

struct aws_count *aws_count_of(struct aws *, const char *action);
void aws_gate_open(void *gate); /* its timer: sends what may go */

#endif
