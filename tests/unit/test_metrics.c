/* Histograms and the text of metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/histogram.h"
#include "http/listen.h"
#include "http/prometheus.h"

static void an_empty_histogram_has_no_quantile(void **state)
{
    (void)state;
    struct histogram h = {0};
    assert_int_equal(histogram_quantile_us(&h, &buckets_long, 0.5), -1);
}

static void a_bound_belongs_to_its_bucket(void **state)
{
    (void)state;
    struct histogram h = {0};
    histogram_add(&h, &buckets_long, 1000);
    histogram_add(&h, &buckets_long, 1001);
    histogram_add(&h, &buckets_long, -5);
    assert_int_equal(h.counts[0], 2);
    assert_int_equal(h.counts[1], 1);
    assert_int_equal(h.total, 3);
    assert_int_equal(h.sum_us, 2001);
}

static void what_is_above_all_bounds_is_counted(void **state)
{
    (void)state;
    struct histogram h = {0};
    histogram_add(&h, &buckets_short, INT64_C(60) * 1000 * 1000);
    assert_int_equal(h.counts[buckets_short.count], 1);
    assert_int_equal(histogram_quantile_us(&h, &buckets_short, 0.5),
                     buckets_short.bounds_us[buckets_short.count - 1]);
}

static void bounds_rise(void **state)
{
    (void)state;
    const struct buckets *both[] = {&buckets_short, &buckets_long};
    for (size_t i = 0; i < 2; i++) {
        assert_true(both[i]->count > 1 && both[i]->count <= HISTOGRAM_BUCKETS);
        for (size_t j = 1; j < both[i]->count; j++)
            assert_true(both[i]->bounds_us[j] > both[i]->bounds_us[j - 1]);
    }
}

/* 100 of 60 ms and 100 of 200 ms: half of them are within 50..100 ms. */
static void a_quantile_lies_in_its_bucket(void **state)
{
    (void)state;
    struct histogram h = {0}, sum = {0};
    for (int i = 0; i < 100; i++)
        histogram_add(&h, &buckets_long, 60 * 1000);
    histogram_merge(&sum, &h);
    for (int i = 0; i < 100; i++)
        histogram_add(&sum, &buckets_long, 200 * 1000);
    assert_int_equal(histogram_quantile_us(&h, &buckets_long, 0.5), 75 * 1000);
    assert_int_equal(histogram_quantile_us(&sum, &buckets_long, 0.5), 100 * 1000);
    assert_int_equal(histogram_quantile_us(&sum, &buckets_long, 1), 250 * 1000);
    assert_int_equal(sum.total, 200);
}

static void labels_are_escaped(void **state)
{
    (void)state;
    struct exposition x = {0};
    expose_family(&x, "cleat_x", "gauge", "two\nlines \\ \"quoted\"");
    expose(&x, 7, "tenant", "a\"b\\c\nd \xc3\xa4}{,=", "state", "", NULL);
    expose(&x, -1, NULL);
    expose_seconds(&x, 1500007, NULL);
    char *text = buf_take(&x.text);
    assert_string_equal(text, "# HELP cleat_x two\\nlines \\\\ \"quoted\"\n"
                              "# TYPE cleat_x gauge\n"
                              "cleat_x{tenant=\"a\\\"b\\\\c\\nd \xc3\xa4}{,=\",state=\"\"} 7\n"
                              "cleat_x -1\n"
                              "cleat_x 1.500007\n");
    free(text);
}

static void a_histogram_is_cumulative(void **state)
{
    (void)state;
    static const struct buckets two = {.count = 2, .bounds_us = {2500, 5 * 1000 * 1000}};
    struct histogram h = {0};
    struct exposition x = {0};
    histogram_add(&h, &two, 1);
    histogram_add(&h, &two, 3000);
    histogram_add(&h, &two, 6 * 1000 * 1000);
    expose_family(&x, "t", "histogram", "h");
    expose_histogram(&x, &h, &two, "class", "c", NULL);
    expose_histogram(&x, &(struct histogram){0}, &two, NULL);
    char *text = buf_take(&x.text);
    assert_string_equal(text, "# HELP t h\n# TYPE t histogram\n"
                              "t_bucket{class=\"c\",le=\"0.0025\"} 1\n"
                              "t_bucket{class=\"c\",le=\"5\"} 2\n"
                              "t_bucket{class=\"c\",le=\"+Inf\"} 3\n"
                              "t_sum{class=\"c\"} 6.003001\n"
                              "t_count{class=\"c\"} 3\n"
                              "t_bucket{le=\"0.0025\"} 0\nt_bucket{le=\"5\"} 0\n"
                              "t_bucket{le=\"+Inf\"} 0\nt_sum 0.000000\nt_count 0\n");
    free(text);
}

static void addresses_are_read(void **state)
{
    (void)state;
    char ip[LISTEN_IP_SIZE];
    uint16_t port;
    static const char *const wrong[] = {
        "",
        "9464",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        ":9464",
        "localhost:1",
        "127.0.0.1:65536",
        "127.0.0.1:1x",
        "127.0.0.1:+1",
        "[::1]",
        "::1:9464",
        "[127.0.0.1]:1",
        "[::1:9464",
        "256.0.0.1:1",
        "[]:1",
        "127.0.0.1 :1",
        "[::1]]:1",
        "127.0.0.1:00001",
        "[00000:00000:00000:00000:00000:00000:00000:00000:00000]:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (listen_address(wrong[i], ip, &port))
            fail_msg("%s is taken", wrong[i]);
    assert_true(listen_address("127.0.0.1:9464", ip, &port));
    assert_string_equal(ip, "127.0.0.1");
    assert_int_equal(port, 9464);
    assert_true(listen_address("[::1]:65535", ip, &port));
    assert_string_equal(ip, "::1");
    assert_int_equal(port, 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_histogram_has_no_quantile),
        cmocka_unit_test(a_bound_belongs_to_its_bucket),
        cmocka_unit_test(what_is_above_all_bounds_is_counted),
        cmocka_unit_test(bounds_rise),
        cmocka_unit_test(a_quantile_lies_in_its_bucket),
        cmocka_unit_test(labels_are_escaped),
        cmocka_unit_test(a_histogram_is_cumulative),
        cmocka_unit_test(addresses_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
