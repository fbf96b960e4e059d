/* breaker: when it opens, for how long, who tries, and what counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "session/breaker.h"

#define MIN_MS 60000

static struct breaker b;
static int64_t now;

static int setup(void **state)
{
    (void)state;
    b = (struct breaker){0};
    now = 1000000;
    return 0;
}

static struct error of_engine(void)
{
    struct error e;
    error_set(&e, ERR_LAUNCH, "the engine does not answer");
    e.of_engine = true;
    return e;
}

static bool admits(void)
{
    bool trial;
    return breaker_admits(&b, now, &trial);
}

static void call(const struct error *e)
{
    bool trial;
    assert_true(breaker_admits(&b, now, &trial));
    breaker_done(&b, now, trial, e);
}

static void engine_fails(unsigned times)
{
    struct error e = of_engine();
    for (unsigned i = 0; i < times; i++)
        call(&e);
}

static void answer(enum error_code code)
{
    struct error e;
    error_set(&e, code, "no");
    call(&e);
}

static void opens_after_five_in_a_row(void **state)
{
    (void)state;
    engine_fails(BREAKER_FAILURES - 1);
    assert_int_equal(breaker_state(&b, now), BREAKER_CLOSED);
    call(NULL); /* not in a row any more */
    engine_fails(BREAKER_FAILURES - 1);
    assert_true(admits());
    engine_fails(1);
    assert_int_equal(breaker_state(&b, now), BREAKER_OPEN);
    assert_string_equal(b.error.message, "the engine does not answer");
    assert_false(admits());
    assert_int_equal(breaker_retry_at(&b, now), now + BREAKER_PAUSE_MS);
}

static void an_answer_about_one_thing_is_no_failure(void **state)
{
    static const enum error_code codes[] = {ERR_CAPACITY, ERR_LAUNCH,   ERR_DIED,
                                            ERR_CONFLICT, ERR_REGISTER, ERR_PERMANENT};
    (void)state;
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
            answer(codes[i]);
    assert_int_equal(b.failures, 0);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        engine_fails(BREAKER_FAILURES - 1);
        answer(codes[i]); /* it works, whatever it thinks of that one */
        assert_int_equal(b.failures, 0);
    }
}

/* The engine was never asked. */
static void what_was_cancelled_shows_nothing(void **state)
{
    (void)state;
    engine_fails(BREAKER_FAILURES - 1);
    answer(ERR_CANCELLED);
    answer(ERR_INVALID);
    assert_int_equal(b.failures, BREAKER_FAILURES - 1);
    engine_fails(1);
    now += BREAKER_PAUSE_MS;
    answer(ERR_CANCELLED);
    assert_int_equal(breaker_state(&b, now), BREAKER_HALF_OPEN);
    assert_true(admits()); /* the next one tries */
}

static void exactly_one_tries(void **state)
{
    bool trial, another;
    (void)state;
    engine_fails(BREAKER_FAILURES);
    now += BREAKER_PAUSE_MS - 1;
    assert_false(admits());
    now++;
    assert_int_equal(breaker_state(&b, now), BREAKER_HALF_OPEN);
    assert_true(breaker_admits(&b, now, &trial));
    assert_true(trial);
    for (int i = 0; i < 100; i++) {
        now += 1000;
        assert_false(breaker_admits(&b, now, &another));
        assert_in_range(breaker_retry_at(&b, now) - now, 1, 1000);
    }
    breaker_done(&b, now, trial, NULL);
    assert_int_equal(breaker_state(&b, now), BREAKER_CLOSED);
    assert_int_equal(b.failures, 0);
    assert_true(breaker_admits(&b, now, &trial));
    assert_false(trial);
}

/* A stop is done only when its container is gone, which may be never. */
static void a_trial_without_end_holds_nobody_up(void **state)
{
    struct error e = of_engine();
    bool first, second;
    (void)state;
    engine_fails(BREAKER_FAILURES);
    now += BREAKER_PAUSE_MS;
    assert_true(breaker_admits(&b, now, &first));
    now += BREAKER_TRIAL_MS - 1;
    assert_false(admits());
    now++;
    assert_true(breaker_admits(&b, now, &second));
    assert_true(second);
    assert_false(admits());
    breaker_done(&b, now, second, NULL);
    assert_int_equal(breaker_state(&b, now), BREAKER_CLOSED);
    breaker_done(&b, now, first, &e);
    assert_int_equal(breaker_state(&b, now), BREAKER_CLOSED);
    assert_int_equal(b.failures, 1);
}

static void pauses_double_to_five_minutes(void **state)
{
    static const int64_t pauses[] = {MIN_MS / 2, MIN_MS,     2 * MIN_MS,
                                     4 * MIN_MS, 5 * MIN_MS, 5 * MIN_MS};
    (void)state;
    engine_fails(BREAKER_FAILURES);
    for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        assert_int_equal(breaker_retry_at(&b, now), now + pauses[i]);
        now += pauses[i];
        engine_fails(1); /* the trial */
    }
    now += 5 * MIN_MS;
    call(NULL);
    engine_fails(BREAKER_FAILURES);
    assert_int_equal(breaker_retry_at(&b, now), now + BREAKER_PAUSE_MS);
}

/* Calls that began before it opened end at any time. */
static void late_ends(void **state)
{
    struct error e = of_engine();
    bool trial;
    (void)state;
    engine_fails(BREAKER_FAILURES);
    int64_t until = breaker_retry_at(&b, now);
    for (int i = 0; i < 50; i++)
        breaker_done(&b, ++now, false, &e);
    assert_int_equal(breaker_retry_at(&b, now), until);
    now = until;
    assert_true(breaker_admits(&b, now, &trial));
    breaker_done(&b, now, false, &e);
    assert_false(admits()); /* the trial is still out */
    breaker_done(&b, now, false, NULL);
    assert_true(admits()); /* it works */
    breaker_done(&b, now, trial, &e);
    assert_int_equal(breaker_state(&b, now), BREAKER_CLOSED);
    assert_int_equal(b.failures, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(opens_after_five_in_a_row, setup),
        cmocka_unit_test_setup(an_answer_about_one_thing_is_no_failure, setup),
        cmocka_unit_test_setup(what_was_cancelled_shows_nothing, setup),
        cmocka_unit_test_setup(exactly_one_tries, setup),
        cmocka_unit_test_setup(a_trial_without_end_holds_nobody_up, setup),
        cmocka_unit_test_setup(pauses_double_to_five_minutes, setup),
        cmocka_unit_test_setup(late_ends, setup),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
