#include "http/aws_pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Calls that go between two times when somebody always wants to. */
static int calls(struct aws_pace *p, int64_t from_ms, int64_t to_ms)
{
    int count = 0;
    for (int64_t now = from_ms; now < to_ms;) {
        int64_t wait = aws_pace_take(p, now);
        count += wait == 0;
        assert_true(wait >= 0);
        now += wait;
    }
    return count;
}

static void test_families(void **state)
{
    (void)state;
    assert_int_equal(aws_family(AWS_ECS, "RunTask"), AWS_RUN_TASK);
    assert_int_equal(aws_family(AWS_ECS, "StopTask"), AWS_STOP_TASK);
    assert_int_equal(aws_family(AWS_ECS, "DescribeTasks"), AWS_ECS_READS);
    assert_int_equal(aws_family(AWS_ECS, "ListTasks"), AWS_ECS_READS);
    assert_int_equal(aws_family(AWS_ECS, "TagResource"), AWS_ECS_WRITES);
    assert_int_equal(aws_family(AWS_ELB, "DescribeTargetHealth"), AWS_ELB_READS);
    assert_int_equal(aws_family(AWS_ELB, "RegisterTargets"), AWS_ELB_WRITES);
    assert_int_equal(aws_family(AWS_EC2, "DescribeSubnets"), AWS_EC2_CALLS);
    assert_int_equal(aws_family(AWS_STS, "AssumeRole"), AWS_STS_CALLS);
    assert_int_equal(aws_family(AWS_S3, "PutObject"), AWS_S3_CALLS);
}

static void test_burst_then_rate(void **state)
{
    (void)state;
    struct aws_pace p;
    aws_pace_init(&p, AWS_RUN_TASK, 1000);
    for (int i = 0; i < 20; i++)
        assert_int_equal(aws_pace_take(&p, 1000), 0);
    int64_t wait = aws_pace_take(&p, 1000);
    assert_in_range(wait, 50, 52); /* 20 a second */
    assert_int_equal(aws_pace_take(&p, 1000 + wait), 0);
    assert_in_range(calls(&p, 2000, 12000), 200, 220);
}

static void test_a_pause_saves_up_one_burst(void **state)
{
    (void)state;
    struct aws_pace p;
    aws_pace_init(&p, AWS_ELB_WRITES, 0);
    assert_in_range(calls(&p, 1000000, 1000001), 4, 4);
}

static void test_throttling_slows_down_once_for_a_burst(void **state)
{
    (void)state;
    struct aws_pace p;
    aws_pace_init(&p, AWS_RUN_TASK, 0);
    aws_pace_throttled(&p, 10, 50);
    assert_true(p.rate > 13.9 && p.rate < 14.1);
    for (int i = 0; i < 19; i++) /* they were under way then */
        aws_pace_throttled(&p, 11 + i, 60 + i);
    assert_true(p.rate > 13.9);
    assert_in_range(calls(&p, 100, 1100), 12, 18);
    double before = p.rate;
    aws_pace_throttled(&p, 1050, 1100); /* sent after the rate fell */
    assert_true(p.rate < before * 0.75);
}

static void test_slowed_down_nothing_is_left_of_the_burst(void **state)
{
    (void)state;
    struct aws_pace p;
    aws_pace_init(&p, AWS_STOP_TASK, 0);
    aws_pace_throttled(&p, 0, 0);
    assert_true(aws_pace_take(&p, 0) > 0);
}

static void test_it_comes_back(void **state)
{
    (void)state;
    struct aws_pace p;
    aws_pace_init(&p, AWS_RUN_TASK, 0);
    aws_pace_throttled(&p, 0, 0);
    double before = p.rate;
    for (int64_t now = 250; now <= 20000; now += 250) {
        aws_pace_take(&p, now);
        assert_true(p.rate >= before - 1e-9 && p.rate <= p.limit);
        before = p.rate;
    }
    assert_true(p.rate == p.limit);
}

static void test_it_never_stops_wholly(void **state)
{
    (void)state;
    struct aws_pace p;
    aws_pace_init(&p, AWS_ELB_WRITES, 0);
    for (int64_t now = 1; now < 100; now++)
        aws_pace_throttled(&p, now, now);
    assert_true(p.rate >= 0.5);
    assert_true(aws_pace_take(&p, 100) <= 2001);
    assert_true(calls(&p, 100, 10100) >= 4);
}

static void test_a_clock_that_stands_still(void **state)
{
    (void)state;
    struct aws_pace p;
    aws_pace_init(&p, AWS_ELB_WRITES, 5000);
    for (int i = 0; i < 4; i++)
        assert_int_equal(aws_pace_take(&p, 4000), 0);
    assert_true(aws_pace_take(&p, 4000) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_burst_then_rate),
        cmocka_unit_test(test_a_pause_saves_up_one_burst),
        cmocka_unit_test(test_throttling_slows_down_once_for_a_burst),
        cmocka_unit_test(test_slowed_down_nothing_is_left_of_the_burst),
        cmocka_unit_test(test_it_comes_back),
        cmocka_unit_test(test_it_never_stops_wholly),
        cmocka_unit_test(test_a_clock_that_stands_still),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
