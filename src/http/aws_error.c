#include "http/aws_error.h"

#include <ctype.h>
#include <string.h>
#include "base/mem.h"
#include "http/json.h"
#include "http/xml.h"

/* ---- reading */

/* "com.amazonaws.ecs#ClientException:http://…" → "ClientException" */
static void take_code(struct aws_fault *f, const char *text)
{
    const char *hash = strrchr(text, '#');
    const char *name = hash ? hash + 1 : text;
    size_t len = strcspn(name, ":");
    if (len >= sizeof f->code)
        len = sizeof f->code - 1;
    memcpy(f->code, name, len);
    f->code[len] = '\0';
    for (char *c = f->code; *c; c++)
        if (!isgraph((unsigned char)*c))
            *c = '_';
}

static void take_message(struct aws_fault *f, const char *text)
{
    mem_copy_string(f->message, sizeof f->message, text);
    for (char *c = f->message; *c; c++)
        if (iscntrl((unsigned char)*c))
            *c = ' ';
}

/* The first of those keys that holds a text. */
static const char *text_of(const json_t *o, const char *const *keys)
{
    for (; *keys; keys++) {
        const char *text = json_string_value(json_object_get(o, *keys));
        if (text && *text)
            return text;
    }
    return "";
}

static void read_json(struct aws_fault *f, const char *body, size_t len)
{
    static const char *const codes[] = {"__type", "code", "Code", NULL};
    static const char *const messages[] = {"message", "Message", "errorMessage", NULL};
    struct error e;
    json_t *o = js_parse_object(body, len, &e);
    if (!o)
        return;
    take_code(f, text_of(o, codes));
    take_message(f, text_of(o, messages));
    json_decref(o);
}

/* S3: <Error>; ELB, STS: <ErrorResponse><Error>; EC2: <Response><Errors><Error> */
static const struct xml *error_element(const struct xml *root)
{
    if (strcmp(root->name, "Error") == 0)
        return root;
    if (strcmp(root->name, "ErrorResponse") == 0)
        return xml_child(root, "Error");
    return strcmp(root->name, "Response") == 0 ? xml_find(root, "Errors/Error") : NULL;
}

static void read_xml(struct aws_fault *f, const char *body, size_t len)
{
    struct error e;
    struct xml *root = xml_parse(body, len, &e);
    if (!root)
        return;
    const struct xml *error = error_element(root);
    take_code(f, xml_text(error, "Code"));
    take_message(f, xml_text(error, "Message"));
    xml_free(root);
}

bool aws_fault_read(struct aws_fault *f, const char *body, size_t len, const char *type_header)
{
    *f = (struct aws_fault){0};
    size_t at = 0;
    while (at < len && isspace((unsigned char)body[at]))
        at++;
    if (at < len && body[at] == '{')
        read_json(f, body, len);
    else if (at < len && body[at] == '<')
        read_xml(f, body, len);
    if (!f->code[0] && type_header)
        take_code(f, type_header);
    return f->code[0] != '\0';
}

/* ---- meaning */

struct meaning {
    const char *code;
    enum aws_class class;
};

static const struct meaning meanings[] = {
    {"BandwidthLimitExceeded", AWS_THROTTLED},
    {"EC2ThrottledException", AWS_THROTTLED},
    {"ProvisionedThroughputExceededException", AWS_THROTTLED},
    {"RequestLimitExceeded", AWS_THROTTLED},
    {"RequestThrottled", AWS_THROTTLED},
    {"RequestThrottledException", AWS_THROTTLED},
    {"SlowDown", AWS_THROTTLED},
    {"ThrottledException", AWS_THROTTLED},
    {"Throttling", AWS_THROTTLED},
    {"ThrottlingException", AWS_THROTTLED},
    {"TooManyRequests", AWS_THROTTLED},
    {"TooManyRequestsException", AWS_THROTTLED},

    {"BadDigest", AWS_TRANSIENT}, /* what arrived is not what was sent */
    {"HealthUnavailable", AWS_TRANSIENT},
    {"IDPCommunicationError", AWS_TRANSIENT},
    {"InternalError", AWS_TRANSIENT},
    {"InternalFailure", AWS_TRANSIENT},
    {"InternalServerError", AWS_TRANSIENT},
    {"OperationAborted", AWS_TRANSIENT}, /* another operation on it is under way */
    {"PriorRequestNotComplete", AWS_TRANSIENT},
    {"RequestTimeout", AWS_TRANSIENT},
    {"RequestTimeoutException", AWS_TRANSIENT},
    {"ServerException", AWS_TRANSIENT},
    {"ServiceUnavailable", AWS_TRANSIENT},
    {"ServiceUnavailableException", AWS_TRANSIENT},
    {"Unavailable", AWS_TRANSIENT},

    {"InstanceLimitExceeded", AWS_CAPACITY},
    {"InsufficientFreeAddressesInSubnet", AWS_CAPACITY},
    {"InsufficientInstanceCapacity", AWS_CAPACITY},
    {"LimitExceededException", AWS_CAPACITY},
    {"ServiceQuotaExceededException", AWS_CAPACITY},
    {"TooManyRegistrationsForTargetId", AWS_CAPACITY},
    {"TooManyTargets", AWS_CAPACITY},
    {"VcpuLimitExceeded", AWS_CAPACITY},

    {"AccessDenied", AWS_AUTH},
    {"AccessDeniedException", AWS_AUTH},
    {"AuthFailure", AWS_AUTH},
    {"AuthorizationHeaderMalformed", AWS_PERMANENT}, /* S3: the region is another one */
    {"BlockedException", AWS_AUTH},
    {"ExpiredToken", AWS_AUTH},
    {"ExpiredTokenException", AWS_AUTH},
    {"IDPRejectedClaim", AWS_AUTH},
    {"IncompleteSignature", AWS_AUTH},
    {"IncompleteSignatureException", AWS_AUTH},
    {"InvalidAccessKeyId", AWS_AUTH},
    {"InvalidClientTokenId", AWS_AUTH},
    {"InvalidIdentityToken", AWS_AUTH},
    {"InvalidSignatureException", AWS_AUTH},
    {"InvalidToken", AWS_AUTH},
    {"MissingAuthenticationToken", AWS_AUTH},
    {"MissingAuthenticationTokenException", AWS_AUTH},
    {"NotAuthorized", AWS_AUTH},
    {"OptInRequired", AWS_AUTH},
    {"RegionDisabledException", AWS_AUTH},
    {"SignatureDoesNotMatch", AWS_AUTH},
    {"TokenRefreshRequired", AWS_AUTH},
    {"UnauthorizedException", AWS_AUTH},
    {"UnauthorizedOperation", AWS_AUTH},
    {"UnrecognizedClientException", AWS_AUTH},

    {"RequestExpired", AWS_CLOCK_SKEW},
    {"RequestInTheFuture", AWS_CLOCK_SKEW},
    {"RequestTimeTooSkewed", AWS_CLOCK_SKEW},
};

/* ECS has one code, ClientException or InvalidParameterException, for many things. */
static const struct meaning wordings[] = {
    {"Signature expired", AWS_CLOCK_SKEW},
    {"Signature not yet current", AWS_CLOCK_SKEW},
    {"Rate exceeded", AWS_THROTTLED},
    {"Too many concurrent attempts", AWS_THROTTLED},
    {"Capacity is unavailable", AWS_CAPACITY},
    {"reached the limit on the number of tasks", AWS_CAPACITY},
    {"reached the limit on the number of vCPUs", AWS_CAPACITY},
};

static bool is_one_of(const char *code, const char *const *list)
{
    for (; *list; list++)
        if (strcmp(code, *list) == 0)
            return true;
    return false;
}

static enum aws_class class_of_status(int status)
{
    if (status == 429 || status == 509)
        return AWS_THROTTLED;
    if (status >= 500 || status == 408 || status == 0)
        return AWS_TRANSIENT;
    return status == 401 || status == 403 ? AWS_AUTH : AWS_PERMANENT;
}

/* What is said of the time counts before the code, which for AUTH may be about anything. */
enum aws_class aws_classify(const char *code, int status, const char *message)
{
    for (size_t i = 0; i < sizeof wordings / sizeof *wordings; i++)
        if (strstr(message, wordings[i].code))
            return wordings[i].class;
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (strcmp(code, meanings[i].code) == 0)
            return meanings[i].class;
    return class_of_status(status);
}

bool aws_keys_refused(const char *code)
{
    static const char *const codes[] = {"ExpiredToken",
                                        "ExpiredTokenException",
                                        "InvalidAccessKeyId",
                                        "InvalidClientTokenId",
                                        "RequestExpired",
                                        "TokenRefreshRequired",
                                        "UnrecognizedClientException",
                                        NULL};
    return is_one_of(code, codes);
}

bool aws_signature_refused(const char *code)
{
    static const char *const codes[] = {"AuthFailure", "InvalidSignatureException",
                                        "SignatureDoesNotMatch", NULL};
    return is_one_of(code, codes);
}

const char *aws_class_name(enum aws_class class)
{
    static const char *const names[] = {
        [AWS_FINE] = "fine",
        [AWS_THROTTLED] = "throttled",
        [AWS_TRANSIENT] = "transient",
        [AWS_CAPACITY] = "capacity",
        [AWS_PERMANENT] = "permanent",
        [AWS_AUTH] = "auth",
        [AWS_CLOCK_SKEW] = "clock_skew",
    };
    return names[class];
}
