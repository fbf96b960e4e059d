/* What AWS says when a call fails: code and message out of its documents, and what they mean.
 * Sources: botocore's service models, data/_retry.json and retries/standard.py. */
#ifndef CLEAT_HTTP_AWS_ERROR_H
#define CLEAT_HTTP_AWS_ERROR_H

#include <stdbool.h>
#include <stddef.h>
#include "http/aws.h"

struct aws_fault {
    char code[96];     /* "ClusterNotFoundException": without name space and suffix; "": none */
    char message[512]; /* AWS's words on one line, "" when there are none */
};

/* Reads the body of an error: JSON (ECS, metadata services), or XML of ELB and STS, EC2 or S3.
 * type_header: X-Amzn-ErrorType, NULL when absent. False: it says nothing that we understand;
 * *f is then empty. */
bool aws_fault_read(struct aws_fault *f, const char *body, size_t len, const char *type_header);

/* status: of the HTTP answer; code and message may be "". Never AWS_FINE. */
enum aws_class aws_classify(const char *code, int status, const char *message);

/* The keys have run out or were withdrawn: new ones may be accepted. */
bool aws_keys_refused(const char *code);
/* It may be that the signature is fine but for its time. */
bool aws_signature_refused(const char *code);

const char *aws_class_name(enum aws_class); /* "throttled" … */

#endif
