#include "http/aws_verdict.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "base/mem.h"
#include "http/aws_error.h"
#include "http/xml.h"

#define SKEW_MAX_S 300 /* that AWS accepts */

/* RFC 9110 section 5.6.7, the one form that may be sent; 0: there is none. */
static int64_t date_ms(const struct http_answer *http)
{
    struct tm tm = {0};
    const char *date = http_answer_header(http, "Date");
    const char *rest = date ? strptime(date, "%a, %d %b %Y %H:%M:%S GMT", &tm) : NULL;
    return rest && !*rest ? (int64_t)timegm(&tm) * 1000 : 0;
}

/* How many seconds our clock is ahead; 0 when nobody knows. */
static int64_t skew_s(const struct http_answer *http, int64_t wall_ms)
{
    int64_t theirs_ms = date_ms(http);
    return theirs_ms ? (wall_ms - theirs_ms) / 1000 : 0;
}

static enum error_code error_code_of(enum aws_class class)
{
    switch (class) {
    case AWS_FINE:
        return ERR_NONE;
    case AWS_THROTTLED:
    case AWS_CAPACITY:
        return ERR_CAPACITY;
    case AWS_TRANSIENT: /* its effect is as unknown as after a lost connection */
        return ERR_RESET;
    default:
        return ERR_PERMANENT;
    }
}

static void describe(struct aws_answer *a, const char *action, const struct aws_fault *f,
                     const struct http_answer *http, int64_t ahead_s)
{
    char code[sizeof f->code], more[80] = "";
    mem_copy_string(code, sizeof code, f->code);
    if (!code[0])
        snprintf(code, sizeof code, "HTTP status %d", a->status);
    const char *region = http_answer_header(http, "x-amz-bucket-region");
    if (a->class == AWS_CLOCK_SKEW && ahead_s != 0)
        snprintf(more, sizeof more, " (our clock is %lld s %s)", (long long)llabs(ahead_s),
                 ahead_s > 0 ? "ahead" : "behind");
    else if (a->class == AWS_PERMANENT && region)
        snprintf(more, sizeof more, " (the bucket is in %.40s)", region);
    error_set(&a->error, error_code_of(a->class), "%s: %s%s%.*s%s", action, code,
              f->message[0] ? ": " : "", 256 - 90 - (int)strlen(action) - (int)strlen(code),
              f->message, more);
    a->error.of_engine = a->class == AWS_TRANSIENT || a->class == AWS_THROTTLED;
}

/* Every refusal names a code, but for those of S3 to HEAD: one without was cut, or is not from
 * AWS. */
static bool is_torn(enum aws_service service, const struct aws_fault *f, int status)
{
    return service != AWS_S3 && !f->code[0] && status == 400;
}

static void judge_fault(struct aws_answer *a, enum aws_service service, const char *action,
                        const struct aws_fault *f, const struct http_answer *http,
                        int64_t wall_ms)
{
    int64_t ahead_s = skew_s(http, wall_ms);
    a->class = is_torn(service, f, http->status)
                   ? AWS_TRANSIENT
                   : aws_classify(f->code, http->status, f->message);
    if (a->class == AWS_AUTH && aws_signature_refused(f->code) && llabs(ahead_s) > SKEW_MAX_S)
        a->class = AWS_CLOCK_SKEW;
    mem_copy_string(a->code, sizeof a->code, f->code);
    describe(a, action, f, http, ahead_s);
}

/* These begin to answer before they know how it ends (Amazon S3 API Reference, CopyObject). */
static bool answers_early(const char *action)
{
    return strcmp(action, "CopyObject") == 0 || strcmp(action, "UploadPartCopy") == 0 ||
           strcmp(action, "CompleteMultipartUpload") == 0;
}

/* Within a 200. What was read by GET may look like an error and be somebody's file. */
static bool success_is_fault(const char *method, const char *action, struct aws_fault *f,
                             const struct http_answer *http)
{
    if (strcmp(method, "GET") == 0 || (http->body_len == 0 && !answers_early(action)))
        return false;
    struct error e = {0};
    struct xml *root = xml_parse(http->body, http->body_len, &e);
    bool is_error = root && strcmp(root->name, "Error") == 0;
    bool is_cut = !root && answers_early(action);
    xml_free(root);
    if (is_cut) {
        *f = (struct aws_fault){.code = "InternalError"};
        mem_copy_string(f->message, sizeof f->message, "the answer broke off");
    } else if (is_error) {
        aws_fault_read(f, http->body, http->body_len, NULL);
    }
    return is_cut || is_error;
}

static void judge_no_answer(struct aws_answer *a, const char *action,
                            const struct http_answer *http)
{
    enum error_code code = http->error.code;
    bool hopeless = code == ERR_INVALID || code == ERR_TOO_LARGE || code == ERR_INTERNAL;
    a->class = hopeless ? AWS_PERMANENT : AWS_TRANSIENT;
    error_set(&a->error, hopeless ? ERR_PERMANENT : code, "%s: %.200s", action,
              http->error.message);
    a->error.of_engine = !hopeless;
}

bool aws_verdict(struct aws_answer *a, enum aws_service service, const char *method,
                 const char *action, const struct http_answer *http, int64_t wall_ms)
{
    *a = (struct aws_answer){.status = http->status,
                             .body = http->body,
                             .body_len = http->body_len,
                             .headers = http->headers,
                             .header_count = http->header_count};
    struct aws_fault fault = {0};
    if (http->error.code != ERR_NONE) {
        judge_no_answer(a, action, http);
        return http->sent;
    }
    if (http->status / 100 == 2) {
        if (service == AWS_S3 && success_is_fault(method, action, &fault, http))
            judge_fault(a, service, action, &fault, http, wall_ms);
        return true;
    }
    aws_fault_read(&fault, http->body, http->body_len,
                   http_answer_header(http, "x-amzn-ErrorType"));
    judge_fault(a, service, action, &fault, http, wall_ms);
    return http->status >= 500 && a->class != AWS_THROTTLED;
}
