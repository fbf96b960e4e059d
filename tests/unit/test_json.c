#include "http/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text)
{
    struct error e = {0};
    json_t *o = js_parse_object(text, strlen(text), &e);
    assert_non_null(o);
    assert_int_equal(e.code, ERR_NONE);
    return o;
}

static void refused(const void *text, size_t len, const char *part)
{
    struct error e = {0};
    assert_null(js_parse_object(text, len, &e));
    assert_int_equal(e.code, ERR_INVALID);
    if (!strstr(e.message, part))
        fail_msg("'%s' is not in '%s'", part, e.message);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"[]", "object"},
        {"3", "object"},
        {"\"x\"", "object"},
        {"null", "object"},
        {"{", "ends too early"},
        {"{\"a\":1", "line 1"},
        {"{\"a\":1}x", "more text"},
        {"{\"a\":1}{}", "more text"},
        {"{\"a\":1,\"a\":2}", "twice"},
        {"{\"a\":{\"b\":1,\n\"b\":2}}", "line 2"},
        {"{\"a\":\"\\u0000\"}", "NUL"},
        {"{\"a\\u0000b\":1}", "NUL"},
        {"{\"a\":\"\xff\"}", "UTF-8"},
        {"{\"a\":\"\xed\xa0\x80\"}", "UTF-8"},
        {"{\"a\":\"\n\"}", "line "},
        {"{\"a\":01}", "line 1"},
        {"{\"a\":NaN}", "line 1"},
        {"{\"a\":1,}", "line 1"},
        {"{'a':1}", "line 1"},
        {"{\"a\":tru}", "line 1"},
        {"   ", "line 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].text, strlen(bad[i].text), bad[i].part);
    refused(NULL, 0, "nothing came");
    refused("{\"a\":1}\0", 8, "line 1");
    refused("{\"a\":true\0}", 11, "NUL");
    refused("{\"a\":1\0,\"b\":2}", 14, "NUL");
    refused("{\"a\":\"x\0y\"}", 11, "line 1");
}

static void test_overflow_names_the_field(void **state)
{
    static const char *const bad[] = {
        "{\"a\":1,\"count\":99999999999999999999}",
        "{\"count\" :\n -99999999999999999999 }",
        "{\"count\":1e999,\"a\":2}",
        "{\"b\":{\"count\":9223372036854775808}}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i], strlen(bad[i]), "'count'");
    refused("{\"a\":[1,99999999999999999999]}", 30, "too large");
    refused("{\"q\\\"q\":99999999999999999999}", 29, "'q\\\"q'");
}

/* Every text that ends anywhere is refused and nothing is read past its end. */
static void test_truncated(void **state)
{
    static const char text[] =
        "{\"a\":[1,-2.5e3,true,null,\"x\\n\\u00e9\\\\\"],\"b\":{\"c\":{}}}";
    (void)state;
    for (size_t len = 0; len < sizeof text - 1; len++) {
        char *copy = malloc(len ? len : 1);
        struct error e = {0};
        memcpy(copy, text, len);
        assert_null(js_parse_object(copy, len, &e));
        assert_int_equal(e.code, ERR_INVALID);
        free(copy);
    }
    json_decref(parse(text));
}

static char *nested(int depth, char open, char close)
{
    char *text = malloc((size_t)depth * 2 + 16), *to = text;
    to += sprintf(to, "{\"]}[{\":");
    memset(to, open, (size_t)depth - 1);
    memset(to + depth - 1, close, (size_t)depth - 1);
    strcpy(to + 2 * (depth - 1), "}");
    return text;
}

static void test_depth(void **state)
{
    (void)state;
    char *text = nested(32, '[', ']');
    json_decref(parse(text));
    free(text);
    text = nested(33, '[', ']');
    refused(text, strlen(text), "deeper");
    free(text);
    text = nested(100000, '[', '[');
    refused(text, strlen(text), "deeper");
    free(text);
}

static void test_text(void **state)
{
    static const char text[] =
        "{\"z\":1,\"a\":[true,null,\"\xc3\xa9\\n\"],\"m\":{\"y\":0,\"b\":-1}}";
    (void)state;
    json_t *o = parse(text);
    char *again = js_text(o);
    assert_string_equal(again, text);
    free(again);
    json_decref(o);
}

static void test_read(void **state)
{
    (void)state;
    json_t *o = parse(
        "{\"s\":\"\xc3\xa9\",\"i\":-7,\"b\":true,\"o\":{\"x\":1},\"a\":[1,2],\"f\":false}");
    struct error e = {0};
    const char *s = NULL, *absent = "kept";
    int64_t i = 0, other = 42;
    bool b = false, f = true;
    json_t *object = NULL, *array = NULL;
    js_string(o, "s", true, 2, &s, &e);
    js_int(o, "i", true, -7, -7, &i, &e);
    js_bool(o, "b", true, &b, &e);
    js_bool(o, "f", false, &f, &e);
    js_object(o, "o", true, &object, &e);
    js_array(o, "a", true, 2, &array, &e);
    js_string(o, "none", false, 9, &absent, &e);
    js_int(o, "none", false, 0, 1, &other, &e);
    assert_int_equal(e.code, ERR_NONE);
    assert_string_equal(s, "\xc3\xa9");
    assert_int_equal(i, -7);
    assert_true(b && !f);
    assert_int_equal(json_integer_value(json_object_get(object, "x")), 1);
    assert_int_equal(json_array_size(array), 2);
    assert_string_equal(absent, "kept");
    assert_int_equal(other, 42);
    json_decref(o);
}

struct reading {
    const char *text;
    const char *message;
};

static void read_all(const json_t *o, struct error *e)
{
    const char *s = NULL;
    int64_t i = 5;
    bool b = false;
    json_t *object = NULL, *array = NULL;
    js_string(o, "s", true, 3, &s, e);
    js_int(o, "i", false, 1, 10, &i, e);
    js_bool(o, "b", false, &b, e);
    js_object(o, "o", false, &object, e);
    js_array(o, "a", false, 2, &array, e);
    js_only(o, (const char *const[]){"s", "i", "b", "o", "a", NULL}, e);
}

static void test_wrong(void **state)
{
    static const struct reading bad[] = {
        {"{}", "'s' is missing"},
        {"{\"s\":null}", "'s' must be a string"},
        {"{\"s\":5}", "'s' must be a string"},
        {"{\"s\":\"1234\"}", "'s' is longer than 3 bytes"},
        {"{\"s\":\"\",\"i\":1.0}", "'i' must be an integer"},
        {"{\"s\":\"\",\"i\":1e1}", "'i' must be an integer"},
        {"{\"s\":\"\",\"i\":\"1\"}", "'i' must be an integer"},
        {"{\"s\":\"\",\"i\":true}", "'i' must be an integer"},
        {"{\"s\":\"\",\"i\":0}", "'i' must be within 1..10"},
        {"{\"s\":\"\",\"i\":11}", "'i' must be within 1..10"},
        {"{\"s\":\"\",\"b\":1}", "'b' must be true or false"},
        {"{\"s\":\"\",\"b\":\"true\"}", "'b' must be true or false"},
        {"{\"s\":\"\",\"o\":[]}", "'o' must be an object"},
        {"{\"s\":\"\",\"a\":{}}", "'a' must be an array"},
        {"{\"s\":\"\",\"a\":[1,2,3]}", "'a' has more than 2 elements"},
        {"{\"s\":\"\",\"x\\ny\xc3\xa9z\":1}", "unknown field 'x?y?\?z'"},
        {"{\"s\":1,\"i\":0,\"zzz\":1}", "'s' must be a string"}, /* the first is kept */
        {"{\"i\":0}", "'s' is missing"},
    };
    (void)state;
    for (size_t n = 0; n < sizeof bad / sizeof *bad; n++) {
        struct error e = {0};
        json_t *o = parse(bad[n].text);
        read_all(o, &e);
        assert_int_equal(e.code, ERR_INVALID);
        assert_string_equal(e.message, bad[n].message);
        json_decref(o);
    }
}

static void test_long_name(void **state)
{
    char text[400] = "{\"";
    struct error e = {0};
    (void)state;
    memset(text + 2, 'n', 300);
    strcpy(text + 302, "\":1}");
    json_t *o = parse(text);
    js_only(o, (const char *const[]){NULL}, &e);
    assert_int_equal(strlen(e.message), strlen("unknown field ''") + 63);
    json_decref(o);
}

static void set_bytes(const char *bytes, size_t len, const char *expected)
{
    json_t *o = json_object();
    js_set_bytes(o, "data", bytes, len);
    char *text = js_text(o);
    assert_string_equal(text, expected);
    free(text);
    json_decref(o);
}

static void test_bytes(void **state)
{
    (void)state;
    set_bytes("a\"b\n", 4, "{\"data\":\"a\\\"b\\n\"}");
    set_bytes("", 0, "{\"data\":\"\"}");
    set_bytes("\xc3\xa9", 2, "{\"data\":\"\xc3\xa9\"}");
    set_bytes("\xc3", 1, "{\"data_base64\":\"ww==\"}");
    set_bytes("a\0b", 3, "{\"data_base64\":\"YQBi\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),   cmocka_unit_test(test_overflow_names_the_field),
        cmocka_unit_test(test_truncated), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_text),      cmocka_unit_test(test_read),
        cmocka_unit_test(test_bytes),     cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_long_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
