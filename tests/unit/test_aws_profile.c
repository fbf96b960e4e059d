/* What is pure about where keys and endpoints come from: shared files, URLs, times, answers of
 * sources. */
#include "http/aws_profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "http/aws_endpoint.h"
#include "http/aws_ini.h"
#include "http/aws_keys.h"
#include "http/aws_metadata.h"

/* ---- shared files */

static void check_value(const char *text, const char *section, const char *key,
                        const char *wanted)
{
    char *found = aws_ini_value(text, section, key);
    if (wanted) {
        assert_non_null(found);
        assert_string_equal(found, wanted);
    } else {
        assert_null(found);
    }
    free(found);
}

static void test_ini(void **state)
{
    (void)state;
    static const char text[] = "# a comment\n"
                               "stray = 1\n"
                               "[default]\r\n"
                               "region=eu-west-1\r\n"
                               "s3 =\n"
                               "  region = nested\n"
                               "[ profile  \"a b\" ] ; comment\n"
                               "KEY = v # comment\n"
                               "other = x;y#z\n"
                               "empty =\n"
                               "keyless\n"
                               "[default]\n"
                               "more = 2\n"
                               "more = 3\n"
                               "last = 4";
    check_value(text, "default", "region", "eu-west-1");
    check_value(text, "default", "more", "3");
    check_value(text, "default", "last", "4");
    check_value(text, "default", "stray", NULL);
    check_value(text, "default", "s3", NULL);
    check_value(text, "profile a b", "key", "v");
    check_value(text, "profile a b", "other", "x;y#z");
    check_value(text, "profile a b", "empty", NULL);
    check_value(text, "profile a b", "keyless", NULL);
    check_value(text, "profile a", "key", NULL);
    check_value("", "default", "region", NULL);
    assert_true(aws_ini_has(text, "profile a b"));
    assert_false(aws_ini_has(text, "a b"));
}

static enum error_code plan(struct aws_plan *p, const char *config, const char *credentials,
                            const char *profile, struct error *e)
{
    enum error_code code = aws_profile_plan(p, config, credentials, profile, e);
    assert_int_equal(code, e->code);
    return code;
}

static void check_keys(const char *config, const char *credentials, const char *profile,
                       const char *access, const char *secret, const char *token)
{
    struct aws_plan p;
    struct error e;
    if (plan(&p, config, credentials, profile, &e) != ERR_NONE)
        fail_msg("%s", e.message);
    assert_int_equal(p.base, AWS_BASE_KEYS);
    assert_int_equal(p.role_count, 0);
    assert_string_equal(p.keys.access_key, access);
    assert_string_equal(p.keys.secret_key, secret);
    if (token)
        assert_string_equal(p.keys.session_token, token);
    else
        assert_null(p.keys.session_token);
    aws_plan_clear(&p);
}

#define PAIR(n) "aws_access_key_id = A" n "\naws_secret_access_key = S" n "\n"

static void test_static_keys(void **state)
{
    (void)state;
    check_keys("", "[default]\n" PAIR("1"), "default", "A1", "S1", NULL);
    check_keys("[default]\n" PAIR("2") "aws_session_token=T\n", "", "default", "A2", "S2", "T");
    check_keys("[profile x]\n" PAIR("3"), "[x]\n" PAIR("4"), "x", "A4", "S4", NULL);
    check_keys("[profile default]\n" PAIR("5") "[default]\n" PAIR("6"), "", "default", "A5",
               "S5", NULL);
}

static void test_nothing_configured(void **state)
{
    (void)state;
    struct aws_plan p;
    struct error e;
    assert_int_equal(plan(&p, "", "", "default", &e), ERR_NONE);
    assert_int_equal(p.base, AWS_BASE_NONE);
    assert_int_equal(plan(&p, "[profile x]\nregion = r\n", "", "x", &e), ERR_NONE);
    assert_int_equal(p.base, AWS_BASE_NONE);
}

static void refused(const char *config, const char *profile, const char *why)
{
    struct aws_plan p;
    struct error e;
    assert_int_equal(plan(&p, config, "", profile, &e), ERR_CONFIG);
    if (!strstr(e.message, why))
        fail_msg("\"%s\" does not say \"%s\"", e.message, why);
    assert_int_equal(p.base, AWS_BASE_NONE);
    assert_null(p.keys.access_key);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("[profile y]\n", "x", "no profile x");
    refused("[x]\n" PAIR("1"), "x", "no profile x"); /* a prefix is missing */
    refused("[profile x]\naws_access_key_id=A\n", "x", "half");
    refused("[profile x]\ncredential_process = /bin/true\n", "x", "credential_process");
    refused("[profile x]\nsso_session = s\n", "x", "sso_session");
    refused("[profile x]\nrole_arn=r\nmfa_serial=m\nsource_profile=y\n", "x", "mfa_serial");
    refused("[profile x]\nrole_arn=r\n", "x", "neither source_profile nor");
    refused("[profile x]\nrole_arn=r\nsource_profile=y\n", "x", "no profile y");
    refused("[profile x]\nrole_arn=r\nsource_profile=y\n[profile y]\nregion=r\n", "x",
            "profile y, which a role's keys");
    refused("[profile x]\nrole_arn=r\ncredential_source=Moon\n", "x", "Moon");
    refused("[profile x]\nrole_arn=r\nsource_profile=y\n[profile "
            "y]\nrole_arn=q\nsource_profile=x\n",
            "x", "circle");
    refused("[profile x]\nrole_arn=r\nsource_profile=x\n", "x", "has none");
}

static void test_roles(void **state)
{
    (void)state;
    static const char config[] = "[profile a]\nrole_arn = arn:a\nsource_profile = b\n"
                                 "role_session_name = me\nduration_seconds = 1800\n"
                                 "[profile b]\nrole_arn = arn:b\nsource_profile = c\n"
                                 "external_id = ext\n"
                                 "[profile c]\n" PAIR("c");
    struct aws_plan p;
    struct error e;
    assert_int_equal(plan(&p, config, "", "a", &e), ERR_NONE);
    assert_int_equal(p.base, AWS_BASE_KEYS);
    assert_string_equal(p.keys.access_key, "Ac");
    assert_int_equal(p.role_count, 2);
    assert_string_equal(p.roles[0].arn, "arn:b");
    assert_string_equal(p.roles[0].external_id, "ext");
    assert_string_equal(p.roles[1].arn, "arn:a");
    assert_string_equal(p.roles[1].session_name, "me");
    assert_int_equal(p.roles[1].duration_s, 1800);
    aws_plan_clear(&p);
}

static void test_a_role_on_its_own_keys(void **state)
{
    (void)state;
    struct aws_plan p;
    struct error e;
    assert_int_equal(
        plan(&p, "[profile x]\nrole_arn=r\nsource_profile=x\n", "[x]\n" PAIR("x"), "x", &e),
        ERR_NONE);
    assert_int_equal(p.base, AWS_BASE_KEYS);
    assert_int_equal(p.role_count, 1);
    aws_plan_clear(&p);
}

static void check_base(const char *config, enum aws_base base)
{
    struct aws_plan p;
    struct error e;
    assert_int_equal(plan(&p, config, "", "x", &e), ERR_NONE);
    assert_int_equal(p.base, base);
    assert_int_equal(p.role_count, 1);
    aws_plan_clear(&p);
}

static void test_bases_of_roles(void **state)
{
    (void)state;
    check_base("[profile x]\nrole_arn=r\ncredential_source=Environment\n",
               AWS_BASE_ENVIRONMENT);
    check_base("[profile x]\nrole_arn=r\ncredential_source=EcsContainer\n", AWS_BASE_CONTAINER);
    check_base("[profile x]\nrole_arn=r\ncredential_source=Ec2InstanceMetadata\n",
               AWS_BASE_INSTANCE);
    check_base("[profile x]\nrole_arn=r\nweb_identity_token_file=/t\n", AWS_BASE_WEB_IDENTITY);
}

/* ---- endpoints */

static void clear_environment(void)
{
    static const char *const names[] = {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3",
                                        "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL_STS",
                                        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

static void check_url(struct aws_request r, const char *region, const char *wanted)
{
    struct error e = {0};
    char *url = aws_url(&r, region, &e);
    if (!url)
        fail_msg("%s", e.message);
    assert_string_equal(url, wanted);
    free(url);
}

static void test_regional_endpoints(void **state)
{
    (void)state;
    clear_environment();
    check_url((struct aws_request){.service = AWS_ECS}, "eu-central-1",
              "https://ecs.eu-central-1.amazonaws.com/");
    check_url((struct aws_request){.service = AWS_ELB}, "cn-north-1",
              "https://elasticloadbalancing.cn-north-1.amazonaws.com.cn/");
    check_url((struct aws_request){.service = AWS_STS}, "us-gov-west-1",
              "https://sts.us-gov-west-1.amazonaws.com/");
    check_url((struct aws_request){.service = AWS_STS}, "", "https://sts.amazonaws.com/");
    check_url((struct aws_request){.service = AWS_EC2}, "us-iso-east-1",
              "https://ec2.us-iso-east-1.c2s.ic.gov/");
    check_url((struct aws_request){.service = AWS_EC2}, "us-isob-east-1",
              "https://ec2.us-isob-east-1.sc2s.sgov.gov/");
    check_url((struct aws_request){.service = AWS_S3, .bucket = "b-1", .key = "a b/ü"},
              "eu-west-1", "https://b-1.s3.eu-west-1.amazonaws.com/a%20b/%C3%BC");
    check_url((struct aws_request){.service = AWS_S3, .bucket = "b.1", .query = "list-type=2"},
              "eu-west-1", "https://s3.eu-west-1.amazonaws.com/b.1/?list-type=2");
}

static void test_configured_endpoints(void **state)
{
    (void)state;
    struct error e = {0};
    clear_environment();
    setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:5/x/", 1);
    setenv("AWS_ENDPOINT_URL_S3", "https://s3.test//", 1);
    check_url((struct aws_request){.service = AWS_ECS}, "r", "http://127.0.0.1:5/x/");
    check_url((struct aws_request){.service = AWS_S3, .bucket = "bbb", .key = "k"}, "r",
              "https://s3.test/bbb/k");
    setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True", 1);
    check_url((struct aws_request){.service = AWS_ECS}, "r", "https://ecs.r.amazonaws.com/");
    unsetenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    setenv("AWS_ENDPOINT_URL_ECS", "ftp://x", 1);
    assert_null(aws_url(&(struct aws_request){.service = AWS_ECS}, "r", &e));
    assert_int_equal(e.code, ERR_CONFIG);
    assert_string_equal(e.message, "AWS_ENDPOINT_URL_ECS is no http or https URL");
    clear_environment();
}

static void test_names(void **state)
{
    (void)state;
    struct error e = {0};
    static const char *const bad[] = {"ab", "Abc", "a_b", "a..b", ".abc", "abc-", "a/b", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct aws_request r = {.service = AWS_S3, .bucket = bad[i]};
        if (aws_url(&r, "eu-west-1", &e))
            fail_msg("%s", bad[i]);
        assert_int_equal(e.code, ERR_INVALID);
    }
    assert_true(aws_region_valid("eu-central-1"));
    assert_true(aws_region_valid("us-iso-east-1"));
    assert_false(aws_region_valid("EU"));
    assert_false(aws_region_valid("x/"));
    assert_false(aws_region_valid("1x"));
    assert_false(aws_region_valid("a.b"));
    assert_false(aws_region_valid("a-"));
    assert_false(aws_region_valid(""));
}

/* ---- keys */

static void test_times(void **state)
{
    (void)state;
    assert_int_equal(aws_time_ms("2023-11-14T22:13:20Z"), 1700000000000);
    assert_int_equal(aws_time_ms("2023-11-14T22:13:20.123Z"), 1700000000000);
    assert_int_equal(aws_time_ms("2023-11-14T22:13:20+00:00"), 1700000000000);
    assert_int_equal(aws_time_ms("2023-11-14T22:13:20+01:00"), -1);
    assert_int_equal(aws_time_ms("2023-11-14"), -1);
    assert_int_equal(aws_time_ms("soon"), -1);
    assert_int_equal(aws_time_ms(""), -1);
}

static void lies(const char *json, const char *why)
{
    struct aws_keys k = {0};
    struct error e = {0};
    if (aws_keys_from_json(&k, json, strlen(json), &e) == ERR_NONE)
        aws_keys_check(&k, 1700000000000, &e);
    assert_int_equal(e.code, ERR_PROTOCOL);
    if (!strstr(e.message, why))
        fail_msg("\"%s\" does not say \"%s\"", e.message, why);
    aws_keys_clear(&k);
}

static void test_answers_of_services(void **state)
{
    (void)state;
    static const char good[] =
        "{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":"
        "\"S/+=\",\"Token\":\"T\",\"Expiration\":\"2023-11-14T22:13:20Z\"}";
    struct aws_keys k = {0};
    struct error e = {0};
    assert_int_equal(aws_keys_from_json(&k, good, strlen(good), &e), ERR_NONE);
    assert_int_equal(aws_keys_check(&k, 1699999999999, &e), ERR_NONE);
    assert_string_equal(k.secret_key, "S/+=");
    assert_int_equal(k.expires_ms, 1700000000000);
    aws_keys_clear(&k);
    lies(good, "ran out 0 s ago");
    lies("<html>", "no JSON");
    lies("{}", "no access key");
    lies("{\"Code\":\"Failed\"}", "Failed");
    lies("{\"AccessKeyId\":\"A\"}", "no secret");
    lies("{\"AccessKeyId\":\"A\\r\\nX: y\",\"SecretAccessKey\":\"S\"}", "no access key");
    lies("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"a b\"}",
         "session token");
    lies("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Expiration\":\"x\"}", "expiry");
}

static void test_answers_of_sts(void **state)
{
    (void)state;
    static const char good[] =
        "<AssumeRoleResponse "
        "xmlns='x'><AssumeRoleResult><Credentials><AccessKeyId>A</AccessKeyId>"
        "<SecretAccessKey>S</SecretAccessKey><SessionToken>T</SessionToken>"
        "<Expiration>2023-11-14T22:13:20Z</Expiration></Credentials></AssumeRoleResult>"
        "</AssumeRoleResponse>";
    struct aws_keys k = {0};
    struct error e = {0};
    assert_int_equal(aws_keys_from_sts(&k, "AssumeRole", good, strlen(good), &e), ERR_NONE);
    assert_int_equal(aws_keys_check(&k, 0, &e), ERR_NONE);
    assert_string_equal(k.session_token, "T");
    aws_keys_clear(&k);
    assert_int_equal(aws_keys_from_sts(&k, "AssumeRoleWithWebIdentity", good, strlen(good), &e),
                     ERR_NONE);
    assert_int_equal(aws_keys_check(&k, 0, &e), ERR_PROTOCOL);
    aws_keys_clear(&k);
    assert_int_equal(aws_keys_from_sts(&k, "AssumeRole", "{", 1, &e), ERR_PROTOCOL);
}

static void test_where_a_container_may_ask(void **state)
{
    (void)state;
    static const char *const allowed[] = {
        "https://anywhere.example/x",   "http://127.0.0.1:80/x",  "http://127.72.3.4/x",
        "http://localhost/x",           "http://[::1]:8080/x",    "http://169.254.170.2/v2/x",
        "http://169.254.170.23/v1/a@b", "http://[fd00:ec2::23]/x"};
    static const char *const refusals[] = {"http://192.168.0.1/x",
                                           "http://169.254.170.21/x",
                                           "http://169.254.169.254/x",
                                           "http://127.0.0.1.evil.test",
                                           "http://127.0.0.1@evil/",
                                           "http://127.0.0.1:80@evil/",
                                           "http://[::1]evil@x/",
                                           "http://[::1",
                                           "http://",
                                           "ftp://127.0.0.1/",
                                           "file:///etc/passwd",
                                           "http://1270.0.1/"};
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (!aws_container_url_allowed(allowed[i]))
            fail_msg("%s", allowed[i]);
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (aws_container_url_allowed(refusals[i]))
            fail_msg("%s", refusals[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ini),
        cmocka_unit_test(test_static_keys),
        cmocka_unit_test(test_nothing_configured),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_roles),
        cmocka_unit_test(test_a_role_on_its_own_keys),
        cmocka_unit_test(test_bases_of_roles),
        cmocka_unit_test(test_regional_endpoints),
        cmocka_unit_test(test_configured_endpoints),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_answers_of_services),
        cmocka_unit_test(test_answers_of_sts),
        cmocka_unit_test(test_where_a_container_may_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
