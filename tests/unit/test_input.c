/* What a tenant may name as input, where buckets lie, what a session's credentials allow, and
 * lines from a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "driver/grant.h"
#include "driver/s3_url.h"
#include "http/json.h"
#include "loop/lines.h"
#include "session/input.h"

static void the_form_of_an_input(void **state)
{
    static const char *const good[] = {"file:///srv/in",  "file:///srv/in/",
                                       "file:///srv/a b", "s3://bucket",
                                       "s3://bucket/",    "s3://bucket/a/b.c/"};
    static const char *const bad[] = {"",
                                      "/srv/in",
                                      "file://srv/in",
                                      "http://x/y",
                                      "file:///srv/../etc",
                                      "file:///..",
                                      "file:///srv/./x",
                                      "file:////srv",
                                      "file:///srv//x",
                                      "file:///srv/x\n",
                                      "s3://",
                                      "s3:///x",
                                      "s3://UPPER/x",
                                      "s3://bucket/../x",
                                      "s3://bucket//x",
                                      "s3://bucket/a*"};
    struct error e;
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (input_check(good[i], &e) != ERR_NONE)
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (input_check(bad[i], &e) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
}

static void who_may_take_what(void **state)
{
    char *sources[] = {"ann=file:///srv/ann/", "bob=s3://bucket/bob",
                       "*=file:///home/{tenant}/in/{tenant}", "eve=s3://everything", NULL};
    struct class class = {.name = "c", .input_sources = sources};
    static const struct {
        const char *tenant, *url;
        bool allowed;
    } cases[] = {{"ann", "file:///srv/ann", true},
                 {"ann", "file:///srv/ann/deep/er", true},
                 {"ann", "file:///srv/ann2", false},
                 {"ann", "file:///srv/", false},
                 {"bob", "file:///srv/ann", false},
                 {"bob", "s3://bucket/bob", true},
                 {"bob", "s3://bucket/bob/x", true},
                 {"bob", "s3://bucket/bobby", false},
                 {"bob", "s3://bucket", false},
                 {"bo", "s3://bucket/bob", false},
                 {"bobby", "s3://bucket/bob", false},
                 {"zoe", "file:///home/zoe/in/zoe/x", true},
                 {"zoe", "file:///home/ann/in/ann", false},
                 {"zoe", "file:///home/zoe/in/ann", false},
                 {".", "file:///home/in", false},
                 {"*", "file:///home/zoe/in/zoe", false},
                 {"eve", "s3://everything/at/all", true},
                 {"eve", "s3://everything-else/x", false}};
    struct error e;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum error_code code = input_allow(&class, cases[i].tenant, cases[i].url, &e);
        if (code != (cases[i].allowed ? ERR_NONE : ERR_FORBIDDEN))
            fail_msg("%s, %s: %s", cases[i].tenant, cases[i].url, error_name(code));
    }
    class.input_sources = NULL;
    assert_int_equal(input_allow(&class, "ann", "file:///srv/ann", &e), ERR_FORBIDDEN);
}

static void urls_of_buckets(void **state)
{
    struct s3_url u;
    (void)state;
    assert_true(s3_url_parse(&u, "s3://b-1.x/a/b/"));
    assert_string_equal(u.bucket, "b-1.x");
    assert_string_equal(u.prefix, "a/b");
    assert_true(s3_url_parse(&u, "s3://bucket"));
    assert_string_equal(u.prefix, "");
    static const char *const bad[] = {
        "s3://ab",    "s3://-abc",     "s3://abc-",  "s3://a_bc",   "s3://abc/a$",
        "s3://abc/?", "s3://abc/.",    "S3://abc",   "file:///abc", "",
        "s3://a..b",  "s3://10.0.0.1", "s3://abc//", "s3://abc//d",
        "s3://abc/d//"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (s3_url_parse(&u, bad[i]))
            fail_msg("accepted: %s", bad[i]);
    char *prefix = mem_alloc(600);
    strcpy(prefix, "s3://abc/");
    memset(prefix + 9, 'x', 550);
    assert_false(s3_url_parse(&u, prefix));
    free(prefix);
}

static void a_policy_names_one_prefix(void **state)
{
    char *text = grant_policy("arn:aws-cn:iam::1:role/r", "bucket", "a/b", "S");
    struct error e;
    json_t *o = js_parse_object(text, strlen(text), &e);
    json_t *objects = json_array_get(json_object_get(o, "Statement"), 0),
           *list = json_array_get(json_object_get(o, "Statement"), 1);
    (void)state;
    assert_string_equal(json_string_value(json_object_get(objects, "Resource")),
                        "arn:aws-cn:s3:::bucket/a/b/S/*");
    assert_int_equal(json_array_size(json_object_get(objects, "Action")), 4);
    assert_string_equal(json_string_value(json_object_get(list, "Resource")),
                        "arn:aws-cn:s3:::bucket");
    const json_t *like = json_object_get(json_object_get(list, "Condition"), "StringLike");
    assert_string_equal(json_string_value(json_object_get(like, "s3:prefix")), "a/b/S/*");
    json_decref(o);
    free(text);
    text = grant_policy("arn:aws:iam::1:role/r", "bucket", "", "S");
    assert_non_null(strstr(text, "arn:aws:s3:::bucket/S/*"));
    free(text);
}

#define CREDENTIALS(expiration, token)                                                         \
    "<AssumeRoleResponse "                                                                     \
    "xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>"                   \
    "<Credentials><AccessKeyId>A</AccessKeyId><SecretAccessKey>B</SecretAccessKey>" token      \
    "<Expiration>" expiration "</Expiration></Credentials></AssumeRoleResult>"                 \
    "</AssumeRoleResponse>"
#define TOKEN "<SessionToken>C</SessionToken>"

static void credentials_are_read(void **state)
{
    static const char good[] = CREDENTIALS("2026-11-21T05:00:00Z", TOKEN);
    static const char *const bad[] = {"", "<x/>", CREDENTIALS("2026-11-21T05:00:00Z", ""),
                                      CREDENTIALS("soon", TOKEN),
                                      CREDENTIALS("2026-11-21T04:59:59Z", TOKEN)};
    const int64_t five = 1795237200000;
    struct aws_keys keys;
    struct error e = {0};
    (void)state;
    assert_true(grant_read(good, strlen(good), five - 1, &keys, &e));
    assert_int_equal(keys.expires_ms, five);
    assert_string_equal(keys.access_key, "A");
    assert_string_equal(keys.secret_key, "B");
    assert_string_equal(keys.session_token, "C");
    free(keys.access_key);
    free(keys.secret_key);
    free(keys.session_token);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        e = (struct error){0};
        if (grant_read(bad[i], strlen(bad[i]), five - 500, &keys, &e))
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(e.code, ERR_PROTOCOL);
    }
}

static void take_line(void *arg, const char *line)
{
    buf_printf(arg, "[%s]", line);
}

static void lines_come_whole(void **state)
{
    struct loop *loop = loop_new(NULL);
    struct buf got = {0};
    struct error e;
    char *longest = mem_alloc(20000);
    int writer;
    (void)state;
    struct lines *l = lines_open(loop, &writer, take_line, &got, &e);
    assert_non_null(l);
    lines_drain(l); /* nothing is there */
    assert_int_equal(write(writer, "one\ntw", 6), 6);
    lines_drain(l);
    assert_string_equal(got.data, "[one]");
    memset(longest, 'x', 20000);
    assert_int_equal(write(writer, "o\n", 2), 2);
    assert_int_equal(write(writer, longest, 20000), 20000);
    assert_int_equal(write(writer, "tail\nlast\nrest", 14), 14);
    close(writer);
    lines_drain(l);
    assert_string_equal(got.data, "[one][two][last]");
    lines_close(l);
    lines_close(NULL);
    buf_free(&got);
    free(longest);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_form_of_an_input), cmocka_unit_test(who_may_take_what),
        cmocka_unit_test(urls_of_buckets),      cmocka_unit_test(a_policy_names_one_prefix),
        cmocka_unit_test(credentials_are_read), cmocka_unit_test(lines_come_whole),
    };
    return cmocka_run_group_tests_name("input", tests, NULL, NULL);
}
