#include "http/aws_error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "http/aws_verdict.h"

/* ---- what the documents say */

static void check_fault(const char *body, const char *header, const char *code,
                        const char *message)
{
    struct aws_fault f;
    bool found = aws_fault_read(&f, body, strlen(body), header);
    assert_int_equal(found, code[0] != '\0');
    assert_string_equal(f.code, code);
    assert_string_equal(f.message, message);
}

static void test_json(void **state)
{
    (void)state;
    check_fault("{\"__type\":\"ClientException\",\"message\":\"no\"}", NULL, "ClientException",
                "no");
    check_fault(
        "{\"__type\":\"com.amazonaws.ecs#ClusterNotFoundException\",\"Message\":\"a\\nb\"}",
        NULL, "ClusterNotFoundException", "a b");
    check_fault(" {\"message\":\"m\"}", "ServerException:http://internal.amazon.com/x/",
                "ServerException", "m");
    check_fault("{\"code\":\"AccessDenied\",\"message\":\"m\"}", "Other", "AccessDenied", "m");
    check_fault("{\"__type\":17,\"message\":[]}", NULL, "", "");
    check_fault("{\"__type\":", "aws#Throttling", "Throttling", "");
    check_fault("{\"__type\":\"a b\\u0001\"}", NULL, "a_b_", "");
}

static void test_xml(void **state)
{
    (void)state;
    check_fault(
        "<ErrorResponse xmlns='http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/'>"
        "<Error><Type>Sender</Type><Code>TargetGroupNotFound</Code><Message>none</Message>"
        "</Error><RequestId>1</RequestId></ErrorResponse>",
        NULL, "TargetGroupNotFound", "none");
    check_fault(
        "<?xml version='1.0'?><Response><Errors><Error><Code>UnauthorizedOperation</Code>"
        "<Message>You are not</Message></Error></Errors></Response>",
        NULL, "UnauthorizedOperation", "You are not");
    check_fault("<Error><Code>NoSuchKey</Code><Message>gone</Message><Key>k</Key></Error>",
                NULL, "NoSuchKey", "gone");
    check_fault("<Error><Code>NoSuchKey</Code>", NULL, "", "");
    check_fault("<html><Code>NoSuchKey</Code></html>", NULL, "", "");
    check_fault("", NULL, "", "");
    check_fault("Service Unavailable", NULL, "", "");
}

static void test_long_words_are_cut(void **state)
{
    (void)state;
    struct aws_fault f;
    char body[2000];
    snprintf(body, sizeof body, "{\"__type\":\"%0300d\",\"message\":\"%0900d\"}", 1, 2);
    assert_true(aws_fault_read(&f, body, strlen(body), NULL));
    assert_int_equal(strlen(f.code), sizeof f.code - 1);
    assert_int_equal(strlen(f.message), sizeof f.message - 1);
}

/* ---- what they mean */

static void test_codes(void **state)
{
    (void)state;
    static const struct {
        const char *code;
        int status;
        const char *message;
        enum aws_class class;
    } cases[] = {
        {"ThrottlingException", 400, "Rate exceeded", AWS_THROTTLED},
        {"Throttling", 400, "", AWS_THROTTLED},
        {"RequestLimitExceeded", 503, "", AWS_THROTTLED},
        {"SlowDown", 503, "", AWS_THROTTLED},
        {"", 429, "", AWS_THROTTLED},
        {"ClientException", 400, "Rate exceeded", AWS_THROTTLED},
        {"ServerException", 500, "", AWS_TRANSIENT},
        {"InternalError", 200, "", AWS_TRANSIENT},
        {"RequestTimeout", 400, "", AWS_TRANSIENT},
        {"IDPCommunicationError", 400, "", AWS_TRANSIENT},
        {"SomethingNew", 500, "", AWS_TRANSIENT},
        {"", 503, "", AWS_TRANSIENT},
        {"ClientException", 400, "Capacity is unavailable at this time. Please try again",
         AWS_CAPACITY},
        {"ClientException", 400,
         "You've reached the limit on the number of tasks you can run concurrently",
         AWS_CAPACITY},
        {"LimitExceededException", 400, "The limit for the resource was exceeded.",
         AWS_CAPACITY},
        {"TooManyTargets", 400, "", AWS_CAPACITY},
        {"TooManyRegistrationsForTargetId", 400, "", AWS_CAPACITY},
        {"ClientException", 400, "TaskDefinition is inactive", AWS_PERMANENT},
        {"InvalidParameterException", 400, "", AWS_PERMANENT},
        {"ClusterNotFoundException", 400, "", AWS_PERMANENT},
        {"ClusterContainsContainerInstancesException", 400, "", AWS_PERMANENT},
        {"ConflictException", 400, "", AWS_PERMANENT},
        {"NoSuchBucket", 404, "", AWS_PERMANENT},
        {"", 404, "", AWS_PERMANENT},
        {"", 301, "", AWS_PERMANENT},
        {"AccessDeniedException", 400, "not authorized to perform: ecs:RunTask", AWS_AUTH},
        {"UnrecognizedClientException", 400, "", AWS_AUTH},
        {"ExpiredToken", 403, "", AWS_AUTH},
        {"", 403, "", AWS_AUTH},
        {"", 401, "", AWS_AUTH},
        {"RequestTimeTooSkewed", 403, "", AWS_CLOCK_SKEW},
        {"InvalidSignatureException", 400, "Signature expired: 2026 is now earlier than 2026",
         AWS_CLOCK_SKEW},
        {"SignatureDoesNotMatch", 403, "Signature not yet current: x", AWS_CLOCK_SKEW},
        {"SignatureDoesNotMatch", 403, "The request signature we calculated", AWS_AUTH},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum aws_class class = aws_classify(cases[i].code, cases[i].status, cases[i].message);
        if (class != cases[i].class)
            fail_msg("%s %d \"%s\" is %s", cases[i].code, cases[i].status, cases[i].message,
                     aws_class_name(class));
    }
}

static void test_refused_keys(void **state)
{
    (void)state;
    assert_true(aws_keys_refused("ExpiredToken"));
    assert_true(aws_keys_refused("ExpiredTokenException"));
    assert_true(aws_keys_refused("InvalidClientTokenId"));
    assert_false(aws_keys_refused("AccessDenied"));
    assert_false(aws_keys_refused(""));
}

/* ---- the verdict on an HTTP answer */

#define WALL_MS 1700000000000 /* Tue, 14 Nov 2023 22:13:20 GMT */

static bool judge(struct aws_answer *a, enum aws_service service, const char *method,
                  const char *action, int status, const char *body, const char *name,
                  const char *value)
{
    const struct http_header header = {name, value};
    struct http_answer http = {.sent = true,
                               .status = status,
                               .body = body,
                               .body_len = strlen(body),
                               .headers = &header,
                               .header_count = name ? 1 : 0};
    return aws_verdict(a, service, method, action, &http, WALL_MS);
}

static bool judge_s3(struct aws_answer *a, const char *method, const char *action,
                     const char *body)
{
    return judge(a, AWS_S3, method, action, 200, body, NULL, NULL);
}

static void test_an_error_inside_a_200(void **state)
{
    (void)state;
    static const char error[] = "<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code>"
                                "<Message>We encountered</Message></Error>";
    struct aws_answer a;
    assert_true(judge_s3(&a, "PUT", "CopyObject", error));
    assert_int_equal(a.class, AWS_TRANSIENT);
    assert_string_equal(a.code, "InternalError");
    assert_string_equal(a.error.message, "CopyObject: InternalError: We encountered");
    judge_s3(&a, "POST", "CompleteMultipartUpload",
             " \n\n<Error><Code>SlowDown</Code><Message/></Error>");
    assert_int_equal(a.class, AWS_THROTTLED);
    judge_s3(&a, "PUT", "UploadPartCopy", "<Error><Code>AccessDenied</Code></Error>");
    assert_int_equal(a.class, AWS_AUTH);
    judge_s3(&a, "PUT", "UploadPartCopy",
             "<CopyPartResult><ETag>\"1\"</ETag></CopyPartResult>");
    assert_int_equal(a.class, AWS_FINE);
    assert_int_equal(a.error.code, ERR_NONE);
    judge_s3(&a, "GET", "GetObject", error); /* somebody's file */
    assert_int_equal(a.class, AWS_FINE);
}

static void test_an_early_answer_that_breaks_off(void **state)
{
    (void)state;
    struct aws_answer a;
    assert_true(judge_s3(&a, "POST", "CompleteMultipartUpload", ""));
    assert_int_equal(a.class, AWS_TRANSIENT);
    judge_s3(&a, "PUT", "CopyObject", "<CopyObjectResult><ETag>");
    assert_int_equal(a.class, AWS_TRANSIENT);
    judge_s3(&a, "PUT", "PutObject", "");
    assert_int_equal(a.class, AWS_FINE);
}

static void test_effects(void **state)
{
    (void)state;
    struct aws_answer a;
    assert_true(judge(&a, AWS_ECS, "POST", "RunTask", 200, "{}", NULL, NULL));
    assert_true(judge(&a, AWS_ECS, "POST", "RunTask", 500, "", NULL, NULL));
    assert_string_equal(a.error.message, "RunTask: HTTP status 500");
    assert_int_equal(a.error.code, ERR_RESET);
    assert_true(a.error.of_engine);
    assert_false(judge(&a, AWS_ECS, "POST", "RunTask", 400, "{\"__type\":\"ClientException\"}",
                       NULL, NULL));
    assert_false(a.error.of_engine); /* this request is wrong */
    assert_false(judge(&a, AWS_EC2, "POST", "DescribeSubnets", 503,
                       "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error>"
                       "</Errors></Response>",
                       NULL, NULL));
    assert_int_equal(a.error.code, ERR_CAPACITY);
    assert_true(a.error.of_engine); /* throttled, in truth */
}

static void test_no_answer(void **state)
{
    (void)state;
    struct aws_answer a;
    struct http_answer http = {
        .error = {.code = ERR_RESET, .message = "gone"}, .sent = true, .body = ""};
    assert_true(aws_verdict(&a, AWS_ECS, "POST", "RunTask", &http, WALL_MS));
    assert_int_equal(a.class, AWS_TRANSIENT);
    assert_int_equal(a.error.code, ERR_RESET);
    assert_string_equal(a.error.message, "RunTask: gone");
    http =
        (struct http_answer){.error = {.code = ERR_TOO_LARGE, .message = "large"}, .body = ""};
    assert_false(aws_verdict(&a, AWS_ECS, "POST", "RunTask", &http, WALL_MS));
    assert_int_equal(a.class, AWS_PERMANENT);
    assert_int_equal(a.error.code, ERR_PERMANENT);
}

static void test_a_clock_that_is_off(void **state)
{
    (void)state;
    static const char refusal[] =
        "{\"__type\":\"InvalidSignatureException\",\"message\":\"The request signature\"}";
    struct aws_answer a;
    judge(&a, AWS_ECS, "POST", "RunTask", 400, refusal, "Date",
          "Tue, 14 Nov 2023 22:03:20 GMT");
    assert_int_equal(a.class, AWS_CLOCK_SKEW);
    assert_non_null(strstr(a.error.message, "our clock is 600 s ahead"));
    judge(&a, AWS_ECS, "POST", "RunTask", 400, refusal, "date",
          "Tue, 14 Nov 2023 22:23:21 GMT");
    assert_int_equal(a.class, AWS_CLOCK_SKEW);
    assert_non_null(strstr(a.error.message, "our clock is 601 s behind"));
    judge(&a, AWS_ECS, "POST", "RunTask", 400, refusal, "Date",
          "Tue, 14 Nov 2023 22:13:00 GMT");
    assert_int_equal(a.class, AWS_AUTH);
    judge(&a, AWS_ECS, "POST", "RunTask", 400, refusal, "Date", "yesterday");
    assert_int_equal(a.class, AWS_AUTH);
}

static void test_a_bucket_elsewhere(void **state)
{
    (void)state;
    struct aws_answer a;
    judge(&a, AWS_S3, "HEAD", "HeadBucket", 301, "", "x-amz-bucket-region", "eu-west-1");
    assert_int_equal(a.class, AWS_PERMANENT);
    assert_string_equal(a.error.message,
                        "HeadBucket: HTTP status 301 (the bucket is in eu-west-1)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_xml),
        cmocka_unit_test(test_long_words_are_cut),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_refused_keys),
        cmocka_unit_test(test_an_error_inside_a_200),
        cmocka_unit_test(test_an_early_answer_that_breaks_off),
        cmocka_unit_test(test_effects),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_a_clock_that_is_off),
        cmocka_unit_test(test_a_bucket_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
