#include "http/cookie.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/mem.h"

#define NOW INT64_C(1790000000000) /* 21 September 2026, 14:13:20 UTC */

static char *const alb[] = {"AWSALB", "AWSALBCORS", "AWSALBTG*", "SERVERID", NULL};

/* Reads the given Set-Cookie values among other headers. */
static bool read_set(struct cookie_set *set, const char *const *values)
{
    struct http_header headers[16] = {{"Content-Type", "x"}, {"Cookie", "AWSALB=not-a-setter"}};
    struct http_answer answer = {.headers = headers, .header_count = 2};
    for (; *values; values++)
        headers[answer.header_count++] = (struct http_header){
            answer.header_count % 2 ? "Set-Cookie" : "set-cookie", *values};
    return cookie_set_read(set, &answer, alb, NOW);
}

#define VALUES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void expect_skipped(const char *value)
{
    struct cookie_set set = {.expires_ms = 7};
    if (read_set(&set, VALUES(value)))
        fail_msg("was read: %s", value);
    assert_int_equal(set.expires_ms, 7); /* untouched */
}

static void expect_header(const char *const *values, const char *header)
{
    struct cookie_set set = {0};
    assert_true(read_set(&set, values));
    if (header)
        assert_string_equal(set.header, header);
    else
        assert_null(set.header);
    assert_int_equal(set.set_ms, NOW);
    cookie_set_clear(&set);
    assert_null(set.header);
}

static void expect_expiry(const char *value, int64_t expires_ms)
{
    struct cookie_set set = {0};
    assert_true(read_set(&set, VALUES(value)));
    assert_int_equal(set.expires_ms, expires_ms);
    assert_non_null(set.header);
    cookie_set_clear(&set);
}

static void test_set(void **state)
{
    (void)state;
    expect_header(VALUES("AWSALB=a/b+c==; Expires=Fri, 16 Oct 2026 10:00:00 GMT; Path=/",
                         "AWSALBCORS=x; SameSite=None; Secure", "other=1"),
                  "AWSALB=a/b+c==; AWSALBCORS=x");
    expect_header(VALUES("AWSALBTG=1", "AWSALBTGCORS=2", "AWSALBT=3"),
                  "AWSALBTG=1; AWSALBTGCORS=2");
    expect_header(VALUES(" SERVERID = \"q\" ;path=/"), "SERVERID=\"q\"");
    expect_header(VALUES("SERVERID=\"\""), "SERVERID=\"\"");
    expect_header(VALUES("SERVERID=a=b=c"), "SERVERID=a=b=c");
    expect_header(VALUES("AWSALB=1", "SERVERID=s", "AWSALB=2"), "AWSALB=2; SERVERID=s");
}

static void test_none(void **state)
{
    (void)state;
    expect_skipped("other=1");
    expect_skipped("awsalb=1"); /* names are case-sensitive */
    expect_skipped("AWSALBX=1");
    expect_skipped("AWSALB");
    expect_skipped("=AWSALB");
    expect_skipped("");
    expect_skipped(";;;=");
    struct http_answer empty = {0};
    struct cookie_set set = {0};
    assert_false(cookie_set_read(&set, &empty, alb, NOW));
    static char *const no_names[] = {NULL};
    struct http_header header = {"Set-Cookie", "AWSALB=1"};
    struct http_answer one = {.headers = &header, .header_count = 1};
    assert_false(cookie_set_read(&set, &one, no_names, NOW));
}

static void test_malformed(void **state)
{
    (void)state;
    expect_skipped("AWSALB=a\x01"
                   "b");
    expect_skipped("AWSALB=a\r\nX: y");
    expect_skipped("AWSALB=a; Path=/\n");
    expect_skipped("AWSALB=a\tb");
    expect_skipped("AWSALBTG\x7f=1");
    expect_skipped("AWSALBTG x=1");
    expect_skipped("AWSALBTG,=1");
}

static void test_size(void **state)
{
    (void)state;
    char value[4200];
    memset(value, 'v', sizeof value);
    memcpy(value, "AWSALB=", 7);
    value[4096] = '\0';
    struct cookie_set set = {0};
    assert_true(read_set(&set, VALUES(value)));
    assert_int_equal(strlen(set.header), 4096);
    cookie_set_clear(&set);
    value[4096] = 'v';
    value[4097] = '\0';
    expect_skipped(value);
}

static void test_deleted(void **state)
{
    (void)state;
    expect_header(VALUES("AWSALB=1; Max-Age=0"), NULL);
    expect_header(VALUES("AWSALB=1; max-age=-1"), NULL);
    expect_header(VALUES("AWSALB="), NULL);
    expect_header(VALUES("SERVERID=; Expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/"), NULL);
    expect_header(VALUES("AWSALB=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"), NULL);
    expect_header(VALUES("AWSALB=1; Expires=Mon, 21 Sep 2026 14:13:20 GMT"), NULL);
    expect_header(VALUES("AWSALB=1", "SERVERID=s", "AWSALB=; Max-Age=0"), "SERVERID=s");
    expect_header(VALUES("AWSALB=; Max-Age=0", "AWSALB=1"), "AWSALB=1");
    expect_header(VALUES("AWSALB=1; Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
                  "AWSALB=1"); /* Max-Age wins */
}

static void test_expiry(void **state)
{
    (void)state;
    expect_expiry("AWSALB=1", 0);
    expect_expiry("AWSALB=1; Max-Age=60", NOW + 60000);
    expect_expiry("AWSALB=1; Max-Age=5; MAX-AGE = 7 ", NOW + 7000);
    expect_expiry("AWSALB=1; Expires=Mon, 21 Sep 2026 14:13:21 GMT", NOW + 1000);
    expect_expiry("AWSALB=1; expires=Mon, 21-sep-2026 14:13:21 GMT", NOW + 1000);
    expect_expiry("AWSALB=1; Max-Age=99999999999999999999999999; Path=/",
                  NOW + (INT64_MAX - NOW) / 1000 * 1000);
    /* ignored, as if they were not there */
    expect_expiry("AWSALB=1; Max-Age=", 0);
    expect_expiry("AWSALB=1; Max-Age=-", 0);
    expect_expiry("AWSALB=1; Max-Age=1x", 0);
    expect_expiry("AWSALB=1; Max-Age", 0);
    expect_expiry("AWSALB=1; Expires=Thu Jan  1 00:00:00 1970", 0);
    expect_expiry("AWSALB=1; Expires=Thu, 01 Jan 70 00:00:00 GMT", 0);
    expect_expiry("AWSALB=1; Expires=Thu, 32 Jan 1970 00:00:00 GMT", 0);
    expect_expiry("AWSALB=1; Expires=Thu, 01 Foo 1970 00:00:00 GMT", 0);
    expect_expiry("AWSALB=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT+1", 0);
    expect_expiry("AWSALB=1; Expires=Thu, 01 Jan 1970 00:00", 0);
    expect_expiry("AWSALB=1; Expires=", 0);
    expect_expiry("AWSALB=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT and much more text", 0);
    struct cookie_set set = {0};
    assert_true(read_set(&set, VALUES("AWSALB=1; Max-Age=60", "SERVERID=2; Max-Age=30",
                                      "AWSALBCORS=3", "AWSALBTG=; Max-Age=0")));
    assert_int_equal(set.expires_ms, NOW + 30000);
    cookie_set_clear(&set);
}

static void test_move(void **state)
{
    (void)state;
    struct cookie_set a = {.header = mem_strdup("a=1"), .expires_ms = 1, .set_ms = 2};
    struct cookie_set b = {.header = mem_strdup("b=1")};
    cookie_set_move(&b, &a);
    assert_null(a.header);
    assert_int_equal(a.set_ms, 0);
    assert_string_equal(b.header, "a=1");
    assert_int_equal(b.expires_ms, 1);
    cookie_set_move(&b, &b);
    assert_string_equal(b.header, "a=1");
    cookie_set_clear(&b);
    cookie_set_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),       cmocka_unit_test(test_none),
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_size),
        cmocka_unit_test(test_deleted),   cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
