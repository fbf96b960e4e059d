/* Calls of AWS APIs: endpoint, credentials, signature, pace, retries, and what an error means.
 *
 * Region, endpoints and credentials come from the environment and the shared files as the SDKs
 * read them (AWS SDKs and Tools Reference Guide, "Standardized credential providers").
 * Credentials are fetched without blocking the loop, once however many calls wait, and
 * refreshed before they expire. */
#ifndef CLEAT_HTTP_AWS_H
#define CLEAT_HTTP_AWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "http/client.h"
#include "loop/loop.h"

struct aws;
struct aws_call;

enum aws_service { AWS_ECS, AWS_ELB, AWS_S3, AWS_STS, AWS_EC2, AWS_SERVICES };

/* What a failed call means to its caller. */
enum aws_class {
    AWS_FINE,
    AWS_THROTTLED, /* Throttling, TooManyRequests, SlowDown, 429; after all retries */
    AWS_TRANSIENT, /* no answer, 5xx, RequestTimeout; after all retries */
    AWS_CAPACITY, /* the engine has no room or the account's quota is used up: later it may work
                   */
    AWS_PERMANENT,  /* repeating is pointless: AWS's own code and message say why */
    AWS_AUTH,       /* no credentials, refused ones, no permission */
    AWS_CLOCK_SKEW, /* our clock is off: RequestTimeTooSkewed, SignatureDoesNotMatch by date */
};

struct aws_keys {                                  /* strings owned by whoever fills it */
    char *access_key, *secret_key, *session_token; /* token NULL: none */
    int64_t expires_ms;                            /* Unix time; 0: never */
};

/* region NULL: AWS_REGION, AWS_DEFAULT_REGION, the profile's. keys NULL: the credential chain;
 * else copied, and used until aws_set_keys. Does nothing until the first call. */
struct aws *aws_new(struct loop *, struct http_client *, const char *region,
                    const struct aws_keys *keys);
void aws_free(struct aws *); /* cancels what is under way */
void aws_set_keys(struct aws *, const struct aws_keys *);
const char *aws_region(struct aws *); /* "" when nobody names one */

struct aws_request {
    enum aws_service service;
    const char *
        action; /* "RunTask", "DescribeTargetHealth", "PutObject": for paces, errors and logs */
    const char *method; /* S3; NULL: POST */
    const char *bucket; /* S3 */
    const char *key;    /* S3, not encoded; NULL: the bucket itself */
    const char *query;  /* S3: sorted and encoded ("list-type=2&prefix=a%2F"); NULL: none */
    const struct http_header *headers; /* S3: further ones (x-amz-copy-source, Content-Type) */
    size_t header_count;
    /* ECS: JSON; ELB, STS, EC2: a form without Action and Version, which are added; S3: the
     * object. Copied. */
    const void *body;
    size_t body_len;
    int64_t timeout_ms;    /* of one try; 0: 30 s */
    unsigned tries;        /* at most; 0: 5. 1: the caller repeats by itself */
    size_t max_answer;     /* 0: 4 MiB */
    http_data_fn *on_data; /* as in http_request, for S3 GetObject; then it is tried once */
};

struct aws_answer {
    enum aws_class class;
    /* ERR_NONE; ERR_CAPACITY (THROTTLED, CAPACITY), ERR_PERMANENT (PERMANENT, AUTH,
     * CLOCK_SKEW), or what broke on the connection (TRANSIENT; ERR_RESET when AWS itself said
     * so, as by a 5xx); of THROTTLED and TRANSIENT it is of_engine. The message names action,
     * code and AWS's own words. */
    struct error error;
    char code[96]; /* AWS's ("ClusterNotFoundException"), "" when there was none */
    bool sent;     /* some try may have had its effect */
    unsigned tries;
    int status;       /* of the last try */
    const char *body; /* valid during the call, as headers are; also of an error */
    size_t body_len;
    const struct http_header *headers;
    size_t header_count;
};

typedef void aws_done_fn(void *arg, const struct aws_answer *);

/* done is called once, from the loop. Retries: THROTTLED, TRANSIENT and expired credentials,
 * full jitter (0 … min(20 s, 0.5 s × 2^n)), from a budget that all calls of this object share.
 * Calls of one family (RunTask, writes to ELB, …) wait for its pace (aws_pace.h); the time-out
 * does not run meanwhile. An S3 answer of 200 whose body is an <Error> counts as that error,
 * unless it was read by GET. Without sending: ERR_PERMANENT (no region, no credentials, no
 * bucket's name), ERR_CAPACITY (10,000 calls wait already). */
struct aws_call *aws_start(struct aws *, const struct aws_request *, aws_done_fn *done,
                           void *arg);
void aws_cancel(struct aws_call *); /* never calls back; an effect it had stays */

/* {"region","credentials":"environment","expires_at"?,"credentials_problem"?,"calls":{"RunTask":{"calls","throttled","errors"},…}}.
 * New reference. */
json_t *aws_status(struct aws *);

/* For forms and queries: percent-encodes all but A-Za-z0-9-_.~ (and '/', when keep_slash);
 * free(). */
char *aws_encode(const char *text, bool keep_slash);

#endif
