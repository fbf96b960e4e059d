#include "http/xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"

static struct xml *parse(const char *text)
{
    struct error e = {0};
    struct xml *x = xml_parse(text, strlen(text), &e);
    if (!x)
        print_error("%s\n", e.message);
    assert_non_null(x);
    return x;
}

static void assert_refused(const char *text, size_t len, const char *why)
{
    struct error e = {0};
    assert_null(xml_parse(text, len, &e));
    assert_int_equal(e.code, ERR_PROTOCOL);
    if (!strstr(e.message, why))
        fail_msg("\"%s\" does not say \"%s\"", e.message, why);
}

static void refused(const char *text, const char *why)
{
    assert_refused(text, strlen(text), why);
}

static void test_tree(void **state)
{
    (void)state;
    struct xml *x =
        parse("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
              "<a xmlns='http://aws/doc/' xmlns:n='u' k='v'>\n <n:b> one\n two </n:b>"
              "<list><m><id>1</id></m><m><id>2 &amp; <![CDATA[<3>]]></id></m></list>"
              "<empty/></a>");
    assert_string_equal(x->name, "a");
    assert_string_equal(x->text, "");
    assert_string_equal(xml_text(x, "b"), "one\n two");
    assert_string_equal(xml_text(x, "list/m/id"), "1");
    const struct xml *second = xml_child(xml_child(x, "list"), "m")->next;
    assert_string_equal(xml_text(second, "id"), "2 & <3>");
    assert_null(second->next);
    assert_non_null(xml_find(x, "empty"));
    assert_string_equal(xml_text(x, "empty"), "");
    xml_free(x);
}

static void test_what_is_missing(void **state)
{
    (void)state;
    struct xml *x = parse("<a><bc>1</bc><b>2</b></a>");
    assert_string_equal(xml_text(x, "b"), "2"); /* no prefix matches */
    assert_null(xml_child(x, "c"));
    assert_null(xml_find(x, "b/c"));
    assert_null(xml_find(x, "c/b"));
    assert_null(xml_child(NULL, "b"));
    assert_null(xml_find(NULL, "b"));
    assert_string_equal(xml_text(NULL, "b"), "");
    assert_ptr_equal(xml_find(x, ""), x);
    xml_free(x);
    xml_free(NULL);
}

/* S3 sends spaces while it copies. */
static void test_spaces_sent_ahead(void **state)
{
    (void)state;
    struct xml *x = parse("  \r\n \n<?xml version=\"1.0\"?>\n   <a>1</a>\n ");
    assert_string_equal(x->text, "1");
    xml_free(x);
}

static void test_text_that_comes_in_pieces(void **state)
{
    (void)state;
    struct xml *x = parse("<a>x<b/>y&#228;z</a>");
    assert_string_equal(x->text, "xyäz");
    xml_free(x);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("", "empty");
    refused(" \n", "empty");
    refused("hello", "no XML");
    refused("<a><b></a>", "mismatched");
    refused("<a>", "no element found");
    refused("<a/><b/>", "junk");
    refused("<a>\xff</a>", "no XML");
    refused("<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "DOCTYPE");
    refused("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>", "DOCTYPE");
    assert_refused("<a>\0</a>", 8, "no XML");
}

static char *nested(int depth)
{
    struct buf b = {0};
    for (int i = 0; i < depth; i++)
        buf_puts(&b, "<d>");
    for (int i = 0; i < depth; i++)
        buf_puts(&b, "</d>");
    return buf_take(&b);
}

static void test_depth(void **state)
{
    (void)state;
    char *fits = nested(32), *deep = nested(33);
    xml_free(parse(fits));
    refused(deep, "too deep");
    free(fits);
    free(deep);
}

static void test_many_elements(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_puts(&b, "<a>");
    for (int i = 0; i < 199999; i++)
        buf_puts(&b, "<b/>");
    size_t fits = b.len;
    buf_puts(&b, "</a>");
    xml_free(parse(b.data));
    b.len = fits;
    buf_puts(&b, "<b/></a>");
    refused(b.data, "too many elements");
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_spaces_sent_ahead),
        cmocka_unit_test(test_text_that_comes_in_pieces),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_many_elements),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
