/* Which class a request for resources gets, and what it is told when none fits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "cleat.h"
#include "http/json.h"
#include "session/choice.h"
#include "session/request.h"

/* default has no limits, no GPU and no labels. */
static const char *const options[][3] = {{"large", "memory_mb", "8192"},
                                         {"large", "cpu_milli", "4000"},
                                         {"large", "labels", "zone=a,disk=ssd"},
                                         {"small", "memory_mb", "1024"},
                                         {"small", "cpu_milli", "1000"},
                                         {"small", "labels", "zone=b"},
                                         {"twin", "memory_mb", "1024"},
                                         {"twin", "cpu_milli", "1000"},
                                         {"slim", "memory_mb", "1024"},
                                         {"slim", "cpu_milli", "500"},
                                         {"gpu", "gpu", "2"},
                                         {"gpu", "memory_mb", "512"},
                                         {"gpu", "cpu_milli", "250"},
                                         {"gpu", "labels", "zone=a,a=b=c"}};

static int setup(void **state)
{
    struct cleat_config *config = cleat_config_new();
    char why[256];
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        assert_true(cleat_config_set(config, options[i][0], options[i][1], options[i][2], why,
                                     sizeof(why)));
    *state = config;
    return 0;
}

static int teardown(void **state)
{
    cleat_config_free(*state);
    return 0;
}

/* resources and, where it is named, the class → the class of the request, or words of what is
 * said against it. */
static void gets(const struct cleat_config *config, const char *fields, const char *wanted)
{
    char text[512];
    struct create_request r;
    struct error e;
    snprintf(text, sizeof(text), "{%s}", fields);
    if (!create_request_parse(config, NULL, text, strlen(text), &r, &e))
        fail_msg("%s is refused: %s", text, e.message);
    if (r.misfit.code == ERR_NONE && strcmp(r.class_name, wanted) != 0)
        fail_msg("%s gets %s instead of %s", text, r.class_name, wanted);
    if (r.misfit.code != ERR_NONE && !strstr(r.misfit.message, wanted))
        fail_msg("%s: \"%s\" does not say \"%s\"", text, r.misfit.message, wanted);
    if (r.misfit.code != ERR_NONE)
        assert_int_equal(r.misfit.code, ERR_NO_CLASS);
    create_request_release(&r);
}

static void the_least_that_fits_is_chosen(void **state)
{
    gets(*state, "", "default");
    gets(*state, "\"resources\":{\"memory_mb\":1}", "slim");
    gets(*state, "\"resources\":{\"memory_mb\":1024}", "slim");
    gets(*state, "\"resources\":{\"cpu_milli\":501}", "small");
    gets(*state, "\"resources\":{\"memory_mb\":1025}", "large");
    gets(*state, "\"resources\":{\"memory_mb\":8192,\"cpu_milli\":4000}", "large");
    gets(*state, "\"resources\":{\"memory_mb\":8193}", "default"); /* it has no limit */
    gets(*state, "\"resources\":{\"cpu_milli\":4001}", "default");
    gets(*state, "\"resources\":{\"gpu\":1}", "gpu");
    gets(*state, "\"resources\":{}", "slim");
}

static void the_first_of_equals_is_chosen(void **state)
{
    gets(*state, "\"resources\":{\"cpu_milli\":1000}", "small");
}

static void labels_are_met_all_and_exactly(void **state)
{
    gets(*state, "\"resources\":{\"labels\":{\"zone\":\"a\"}}",
         "large"); /* without a GPU first */
    gets(*state, "\"resources\":{\"labels\":{\"zone\":\"b\"}}", "small");
    gets(*state, "\"resources\":{\"labels\":{\"zone\":\"a\",\"disk\":\"ssd\"}}", "large");
    gets(*state, "\"resources\":{\"labels\":{\"a\":\"b=c\"}}", "gpu");
    gets(*state, "\"resources\":{\"labels\":{\"zon\":\"a\"}}",
         "no class has what is asked for: labels");
    gets(*state, "\"resources\":{\"labels\":{\"zone\":\"\"}}",
         "no class has what is asked for: labels");
    gets(*state, "\"resources\":{\"labels\":{}}", "slim");
}

static void what_fails_is_said(void **state)
{
    gets(*state, "\"resources\":{\"gpu\":3}", "no class has what is asked for: gpu");
    gets(*state, "\"resources\":{\"gpu\":1,\"memory_mb\":4096}",
         "no class has all of it at once");
    gets(*state, "\"class\":\"small\",\"resources\":{\"memory_mb\":1024}", "small");
    gets(*state, "\"class\":\"small\",\"resources\":{\"memory_mb\":1025}",
         "class small lacks what is asked for: memory_mb");
    gets(*state, "\"class\":\"small\",\"resources\":{\"cpu_milli\":1001}",
         "class small lacks what is asked for: cpu_milli");
    gets(*state, "\"class\":\"small\",\"resources\":{\"gpu\":1}",
         "class small lacks what is asked for: gpu");
    gets(*state, "\"class\":\"small\",\"resources\":{\"labels\":{\"zone\":\"a\"}}",
         "class small lacks what is asked for: labels");
}

static void nonsense_is_refused(void **state)
{
    static const char *const bad[] = {"1",
                                      "[]",
                                      "null",
                                      "{\"cpu\":1}",
                                      "{\"gpu\":-1}",
                                      "{\"gpu\":1025}",
                                      "{\"gpu\":\"1\"}",
                                      "{\"memory_mb\":1.5}",
                                      "{\"cpu_milli\":1024001}",
                                      "{\"labels\":[]}",
                                      "{\"labels\":{\"\":\"a\"}}",
                                      "{\"labels\":{\"a=b\":\"c\"}}",
                                      "{\"labels\":{\"a\":1}}",
                                      "{\"labels\":{\"a\":null}}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[128];
        struct create_request r;
        struct error e;
        snprintf(text, sizeof(text), "{\"resources\":%s}", bad[i]);
        if (create_request_parse(*state, NULL, text, strlen(text), &r, &e))
            fail_msg("accepted: %s", text);
        assert_int_equal(e.code, ERR_INVALID);
    }
}

/* The row of a session is read again under the class that it got. */
static void the_choice_is_kept(void **state)
{
    static const char text[] = "{\"resources\":{\"memory_mb\":1025}}";
    struct create_request r, again;
    struct error e;
    char why[64];
    assert_true(create_request_parse(*state, NULL, text, strlen(text), &r, &e));
    assert_true(r.any_class);
    assert_true(cleat_config_set(*state, "large", "memory_mb", "64", why, sizeof(why)));
    assert_true(
        create_request_parse(*state, NULL, r.parameters, strlen(r.parameters), &again, &e));
    assert_string_equal(again.class_name, "large");
    assert_string_equal(again.parameters, r.parameters);
    create_request_release(&again);
    create_request_release(&r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(the_least_that_fits_is_chosen),
                                       TEST(the_first_of_equals_is_chosen),
                                       TEST(labels_are_met_all_and_exactly),
                                       TEST(what_fails_is_said),
                                       TEST(nonsense_is_refused),
                                       TEST(the_choice_is_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
