/* Labels of containers: what was put in comes out, and nothing else is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/base64.h"
#include "base/mem.h"
#include "http/json.h"
#include "session/label.h"

#define ID "01890a5d-ac96-774b-bcce-b302099a8057"
#define OTHER_ID "01890a5d-ac96-774b-bcce-b302099a8058"
#define CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

static struct cleat core = {.master = {1, 2, 3}};
static struct session session;

static int setup(void **state)
{
    (void)state;
    session = (struct session){.core = &core,
                               .id = ID,
                               .request_id = "r-1",
                               .class_name = "gpu",
                               .context = {.tenant = "acme"},
                               .created = 1700000000123};
    session.parameters =
        "{\"class\":\"gpu\",\"idle_timeout_s\":60,\"tenant\":\"acme\",\"user\":\"u\"}";
    return 0;
}

static void refused(const char *text, enum error_code code, const char *words)
{
    struct label l;
    struct error e;
    assert_false(label_read(&core, ID, text, &l, &e));
    assert_int_equal(e.code, code);
    if (!strstr(e.message, words))
        fail_msg("\"%s\" does not say \"%s\"", e.message, words);
}

static void what_goes_in_comes_out(void **state)
{
    struct label l;
    struct error e;
    char *text = label_make(&session), *again = label_make(&session);
    (void)state;
    assert_string_equal(text, again); /* a repeated launch is the same request */
    assert_int_equal(strspn(text, CHARACTERS), strlen(text));
    assert_true(strlen(text) < LABEL_MAX);
    assert_true(label_read(&core, ID, text, &l, &e));
    assert_int_equal(e.code, ERR_NONE);
    assert_string_equal(l.tenant, "acme");
    assert_string_equal(l.request_id, "r-1");
    assert_string_equal(l.class_name, "gpu");
    assert_string_equal(l.parameters, session.parameters);
    assert_int_equal(l.created, session.created);
    assert_false(l.env);
    label_release(&l);
    free(again);
    free(text);
}

static void an_environment_is_in_no_label(void **state)
{
    struct label l;
    struct error e;
    char *raw = NULL;
    size_t len;
    (void)state;
    session.env = json_pack("{s:s}", "TOKEN", "s3cr3t");
    session.parameters =
        "{\"class\":\"gpu\",\"env\":{\"TOKEN\":\"s3cr3t\"},\"tenant\":\"acme\"}";
    char *text = label_make(&session);
    assert_true(base64url_decode(text + 33, &raw, &len));
    assert_null(strstr(raw, "s3cr3t"));
    assert_null(strstr(raw, "TOKEN"));
    assert_true(label_read(&core, ID, text, &l, &e));
    assert_true(l.env);
    assert_string_equal(l.parameters, "{\"class\":\"gpu\",\"tenant\":\"acme\"}");
    label_release(&l);
    free(text);
    json_decref(session.env);
    session.env = NULL;
    session.env_lost = true; /* of an adopted one there is a flag alone */
    text = label_make(&session);
    assert_true(label_read(&core, ID, text, &l, &e));
    assert_true(l.env);
    label_release(&l);
    free(text);
    free(raw);
}

static void the_longest_is_kept_and_what_is_longer_leaves_its_parameters(void **state)
{
    char input[3000];
    struct label l;
    struct error e;
    size_t longest = 0, with = 0;
    (void)state;
    for (size_t n = 1000; n < 2000; n++) {
        memset(input, 'x', n);
        input[n] = '\0';
        session.parameters =
            mem_printf("{\"class\":\"gpu\",\"input\":\"%s\",\"tenant\":\"acme\"}", input);
        char *text = label_make(&session);
        assert_true(strlen(text) <= LABEL_MAX);
        assert_true(label_read(&core, ID, text, &l, &e));
        assert_string_equal(l.request_id, "r-1");
        assert_string_equal(l.tenant, "acme");
        if (l.parameters) {
            assert_string_equal(l.parameters, session.parameters);
            assert_int_equal(with, n - 1000); /* all shorter ones had theirs */
            with++;
            longest = strlen(text);
        }
        label_release(&l);
        free(text);
        free(session.parameters);
    }
    assert_true(with > 0 && with < 1000);
    assert_true(longest > LABEL_MAX - 4);
}

static void every_truncation_is_refused(void **state)
{
    char *text = label_make(&session);
    (void)state;
    for (size_t n = strlen(text); n-- > 0;) {
        char *part = mem_strndup(text, n);
        refused(part, n < 33 ? ERR_INVALID : ERR_FORBIDDEN, "its label");
        free(part);
    }
    free(text);
}

static void every_changed_bit_is_refused(void **state)
{
    struct label l;
    struct error e;
    char *text = label_make(&session);
    (void)state;
    for (size_t i = 0; text[i]; i++)
        for (int bit = 0; bit < 8; bit++) {
            text[i] = (char)(text[i] ^ 1 << bit);
            assert_false(label_read(&core, ID, text, &l, &e));
            assert_true(e.code == ERR_INVALID || e.code == ERR_FORBIDDEN);
            text[i] = (char)(text[i] ^ 1 << bit);
        }
    free(text);
}

static void foreign_labels_are_refused(void **state)
{
    struct label l;
    struct error e;
    char *text = label_make(&session);
    struct cleat other = {.master = {9}};
    (void)state;
    refused(NULL, ERR_INVALID, "no label");
    refused("", ERR_INVALID, "damaged");
    refused("hello", ERR_INVALID, "damaged");
    assert_false(label_read(&other, ID, text, &l, &e));
    assert_int_equal(e.code, ERR_FORBIDDEN);
    assert_non_null(strstr(e.message, "another master key"));
    assert_false(label_read(&core, OTHER_ID, text, &l, &e));
    assert_int_equal(e.code, ERR_FORBIDDEN);
    text[0] = '2';
    refused(text, ERR_INVALID, "version 2");
    free(text);
    text = mem_alloc(LABEL_MAX + 2);
    memset(text, '1', LABEL_MAX + 1);
    refused(text, ERR_INVALID, "longer");
    free(text);
}

/* As if another version of this program had sealed it. */
static char *sealed(const char *json)
{
    char mac[PROOF_HEX_SIZE];
    char *text = base64url_encode(json, strlen(json));
    proof_label(mac, core.master, ID, text);
    char *label = mem_printf("1%.32s%s", mac, text);
    free(text);
    return label;
}

static void sealed_nonsense_is_refused(void **state)
{
#define REST "\"tenant\":\"t\",\"class\":\"c\",\"created\":1"
    static const char *const texts[] = {"",
                                        "[]",
                                        "{}",
                                        "{" REST ",\"env\":false}",
                                        "{" REST ",\"request_id\":\"r\"}",
                                        "{" REST ",\"request_id\":7,\"env\":false}",
                                        "{" REST ",\"request_id\":\"r\",\"env\":0}",
                                        "{" REST ",\"request_id\":\"r\",\"env\":false,"
                                        "\"parameters\":[]}",
                                        "{" REST ",\"request_id\":\"r\",\"env\":false,"
                                        "\"more\":1}",
                                        "{" REST ",\"request_id\":\"r\",\"env\":false} x"};
    struct label l;
    struct error e;
    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *text = sealed(texts[i]);
        refused(text, ERR_INVALID, "makes no sense");
        free(text);
    }
    char *text = sealed("{" REST ",\"request_id\":\"r\",\"env\":false}");
    assert_true(label_read(&core, ID, text, &l, &e));
    assert_null(l.parameters);
    label_release(&l);
    free(text);
}

static void base64url_is_its_own_inverse(void **state)
{
    static const char *const bad[] = {"A", "AB", "ABC", "AAAAA", "AA=", "A A", "+/+/"};
    unsigned char data[64];
    char *out;
    size_t len;
    (void)state;
    for (size_t n = 0; n <= sizeof(data); n++) {
        for (size_t i = 0; i < n; i++)
            data[i] = (unsigned char)(i * 37 + n * 101);
        char *text = base64url_encode(data, n);
        assert_int_equal(strspn(text, CHARACTERS), (n * 8 + 5) / 6);
        assert_int_equal(strlen(text), (n * 8 + 5) / 6);
        assert_true(base64url_decode(text, &out, &len));
        assert_int_equal(len, n);
        assert_memory_equal(out, data, n);
        free(out);
        free(text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(base64url_decode(bad[i], &out, &len));
    char *text = base64url_encode("\xfb\xff", 2); /* RFC 4648: + is -, / is _ */
    assert_string_equal(text, "-_8");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_goes_in_comes_out, setup),
        cmocka_unit_test_setup(an_environment_is_in_no_label, setup),
        cmocka_unit_test_setup(the_longest_is_kept_and_what_is_longer_leaves_its_parameters,
                               setup),
        cmocka_unit_test_setup(every_truncation_is_refused, setup),
        cmocka_unit_test_setup(every_changed_bit_is_refused, setup),
        cmocka_unit_test_setup(foreign_labels_are_refused, setup),
        cmocka_unit_test_setup(sealed_nonsense_is_refused, setup),
        cmocka_unit_test(base64url_is_its_own_inverse),
    };
    return cmocka_run_group_tests_name("label", tests, NULL, NULL);
}
