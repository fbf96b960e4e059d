/* Calls against a scripted HTTP client: each try gets the next answer of the script. */
#include "http/aws.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "spin.h"

/* ---- the HTTP client */

struct act {
    int status; /* 0: error is what happens; HANG: nothing does */
    const char *body;
    enum error_code error;
    bool sent;
    const char *date;
};
#define HANG (-1)

struct http_exchange {
    struct task task;
    struct act act;
    http_done_fn *done;
    http_data_fn *on_data;
    void *arg;
};

static const struct act *script; /* the last one is repeated */
static size_t script_len;
static bool hold; /* the next answer waits for the test */
static struct http_exchange *held;
static size_t started, under_way, shares;
static char last_key[64], last_token[64], last_url[256], last_body[256];

struct http_share *http_share_new(struct http_client *client, unsigned max_idle)
{
    (void)client, (void)max_idle;
    shares++;
    return mem_alloc(1);
}

void http_share_free(struct http_share *share)
{
    shares--;
    free(share);
}

static void deliver(void *arg)
{
    struct http_exchange *x = arg;
    const struct http_header date = {"Date", x->act.date};
    struct http_answer answer = {.status = x->act.status,
                                 .body = x->act.body ? x->act.body : "",
                                 .sent = x->act.status > 0 || x->act.sent,
                                 .headers = &date,
                                 .header_count = x->act.date ? 1 : 0};
    if (x->act.error != ERR_NONE)
        error_set(&answer.error, x->act.error, "scripted");
    if (x->on_data && x->act.status == 200) {
        x->on_data(x->arg, answer.body, strlen(answer.body));
        answer.body = "";
    }
    answer.body_len = strlen(answer.body);
    under_way--;
    x->done(x->arg, &answer);
    free(x);
}

static struct loop *loop;

struct http_exchange *http_start(struct http_share *share, const struct http_request *r,
                                 http_done_fn *done, void *arg)
{
    struct http_exchange *x = mem_alloc(sizeof *x);
    (void)share;
    *x = (struct http_exchange){.done = done, .on_data = r->on_data, .arg = arg};
    x->act = script[started < script_len ? started : script_len - 1];
    started++;
    under_way++;
    mem_copy_string(last_key, sizeof last_key, r->sign ? r->sign->access_key : "");
    mem_copy_string(last_token, sizeof last_token,
                    r->sign && r->sign->session_token ? r->sign->session_token : "");
    mem_copy_string(last_url, sizeof last_url, r->url);
    mem_copy_string(last_body, sizeof last_body, r->body ? r->body : "");
    task_init(&x->task, loop, deliver, x);
    if (hold)
        held = x;
    else if (x->act.status != HANG)
        task_wake(&x->task);
    return x;
}

void http_cancel(struct http_exchange *x)
{
    task_stop(&x->task);
    under_way--;
    free(x);
}

/* ---- no waiting where chance may say so */

static bool patient; /* jitter is at its longest */

void __wrap_loop_random(struct loop *l, void *out, size_t len);
void __wrap_loop_random(struct loop *l, void *out, size_t len)
{
    (void)l;
    memset(out, patient ? 0xff : 0, len);
}

/* ---- the bench */

struct got {
    int calls;
    struct aws_answer answer;
    char body[256];
};

static struct aws *aws;
static struct got got;

static void take(void *arg, const struct aws_answer *a)
{
    struct got *g = arg;
    g->calls++;
    g->answer = *a;
    mem_copy_string(g->body, sizeof g->body, a->body);
}

static void clear_environment(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_PROFILE",
                                        "AWS_ENDPOINT_URL",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    setenv("HOME", "/nonexistent", 1);
}

static int open_bench(void **state)
{
    static struct aws_keys keys = {(char *)"GIVEN", (char *)"SECRET", NULL, 0};
    (void)state;
    clear_environment();
    loop = loop_new(NULL);
    aws = aws_new(loop, NULL, "eu-west-1", &keys);
    memset(&got, 0, sizeof got);
    started = 0;
    patient = false;
    return 0;
}

static int close_bench(void **state)
{
    (void)state;
    if (aws)
        aws_free(aws);
    loop_free(loop);
    assert_int_equal(under_way, 0);
    assert_int_equal(shares, 0);
    return 0;
}

/* The same with keys from the environment. */
static int open_chain_bench(void **state)
{
    open_bench(state);
    aws_free(aws);
    setenv("AWS_REGION", "us-east-2", 1);
    setenv("AWS_ACCESS_KEY_ID", "FIRST", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
    setenv("AWS_SESSION_TOKEN", "T1", 1);
    aws = aws_new(loop, NULL, NULL, NULL);
    return 0;
}

#define SCRIPT(...)                                                                            \
    do {                                                                                       \
        static const struct act acts[] = {__VA_ARGS__};                                        \
        script = acts;                                                                         \
        script_len = sizeof acts / sizeof *acts;                                               \
    } while (0)

#define THROTTLE                                                                               \
    {                                                                                          \
        400, "{\"__type\":\"ThrottlingException\",\"message\":\"Rate exceeded\"}", 0, 0, 0     \
    }
#define FINE                                                                                   \
    {                                                                                          \
        200, "{\"ok\":1}", 0, 0, 0                                                             \
    }
#define EXPIRED                                                                                \
    {                                                                                          \
        400, "{\"__type\":\"ExpiredTokenException\",\"message\":\"expired\"}", 0, 0, 0         \
    }
#define DOWN                                                                                   \
    {                                                                                          \
        500, "", 0, 0, 0                                                                       \
    }

static const struct aws_request list_tasks = {
    .service = AWS_ECS, .action = "ListTasks", .body = "{}", .body_len = 2};

static void call(const struct aws_request *r)
{
    memset(&got, 0, sizeof got);
    aws_start(aws, r, take, &got);
    assert_int_equal(got.calls, 0); /* never from within */
    assert_true(spin(loop, &got.calls, 1, 5000));
}

static void check_answer(enum aws_class class, enum error_code code, unsigned tries, bool sent)
{
    assert_int_equal(got.answer.class, class);
    assert_int_equal(got.answer.error.code, code);
    assert_int_equal(got.answer.tries, tries);
    assert_int_equal(got.answer.sent, sent);
}

static json_int_t counted(const char *action, const char *what)
{
    json_t *status = aws_status(aws);
    json_int_t n = json_integer_value(
        json_object_get(json_object_get(json_object_get(status, "calls"), action), what));
    json_decref(status);
    return n;
}

/* ---- one call */

static void test_fine(void **state)
{
    (void)state;
    SCRIPT(FINE);
    call(&list_tasks);
    check_answer(AWS_FINE, ERR_NONE, 1, true);
    assert_string_equal(got.body, "{\"ok\":1}");
    assert_string_equal(last_key, "GIVEN");
    assert_string_equal(last_url, "https://ecs.eu-west-1.amazonaws.com/");
    assert_int_equal(counted("ListTasks", "calls"), 1);
    assert_int_equal(counted("ListTasks", "errors"), 0);
}

static void test_throttled_then_fine(void **state)
{
    (void)state;
    SCRIPT(THROTTLE, THROTTLE, FINE);
    call(&list_tasks);
    check_answer(AWS_FINE, ERR_NONE, 3, true);
    assert_int_equal(counted("ListTasks", "throttled"), 2);
    assert_int_equal(counted("ListTasks", "calls"), 3);
}

static void test_throttled_to_the_end(void **state)
{
    (void)state;
    SCRIPT(THROTTLE);
    call(&list_tasks);
    check_answer(AWS_THROTTLED, ERR_CAPACITY, 5, false);
    assert_string_equal(got.answer.code, "ThrottlingException");
    assert_string_equal(got.answer.error.message,
                        "ListTasks: ThrottlingException: Rate exceeded");
    assert_int_equal(counted("ListTasks", "errors"), 1);
}

static void test_broken_connections(void **state)
{
    (void)state;
    SCRIPT({0, NULL, ERR_CONNECT, false, 0}, {0, NULL, ERR_RESET, true, 0}, FINE);
    call(&list_tasks);
    check_answer(AWS_FINE, ERR_NONE, 3, true);
    started = 0;
    SCRIPT({0, NULL, ERR_CONNECT, false, 0});
    call(&list_tasks);
    check_answer(AWS_TRANSIENT, ERR_CONNECT, 5, false);
    started = 0;
    SCRIPT({0, NULL, ERR_TIMEOUT, true, 0}, {0, NULL, ERR_CONNECT, false, 0});
    call(&list_tasks);
    check_answer(AWS_TRANSIENT, ERR_CONNECT, 5,
                 true); /* the first try may have had its effect */
}

static void test_permanent_at_once(void **state)
{
    (void)state;
    SCRIPT({400, "{\"__type\":\"ClusterNotFoundException\",\"message\":\"Cluster not found.\"}",
            0, 0, 0});
    call(&list_tasks);
    check_answer(AWS_PERMANENT, ERR_PERMANENT, 1, false);
    assert_string_equal(got.answer.code, "ClusterNotFoundException");
    assert_int_equal(got.answer.status, 400);
}

/* Nothing says that it is for good. */
static void test_refusal_that_broke_off(void **state)
{
    (void)state;
    SCRIPT({400, "{\"__type\":\"Cluster", 0, 0, 0}, FINE);
    call(&list_tasks);
    check_answer(AWS_FINE, ERR_NONE, 2, true);
}

static void test_capacity_is_the_callers_to_repeat(void **state)
{
    (void)state;
    SCRIPT({400,
            "{\"__type\":\"ClientException\",\"message\":\"Capacity is unavailable at this "
            "time.\"}",
            0, 0, 0});
    call(&list_tasks);
    check_answer(AWS_CAPACITY, ERR_CAPACITY, 1, false);
}

static void test_one_try_only(void **state)
{
    (void)state;
    struct aws_request once = list_tasks;
    once.tries = 1;
    SCRIPT(DOWN, FINE);
    call(&once);
    check_answer(AWS_TRANSIENT, ERR_RESET, 1, true);
}

static char streamed[32];

static void keep_data(void *arg, const char *data, size_t len)
{
    assert_ptr_equal(arg, &got);
    assert_int_equal(len, strlen(data));
    mem_copy_string(streamed, sizeof streamed, data);
}

static void test_streamed(void **state)
{
    (void)state;
    struct aws_request get = {.service = AWS_S3,
                              .action = "GetObject",
                              .method = "GET",
                              .bucket = "bucket",
                              .key = "k",
                              .on_data = keep_data};
    SCRIPT({200, "bytes", 0, 0, 0});
    call(&get);
    check_answer(AWS_FINE, ERR_NONE, 1, true);
    assert_string_equal(streamed, "bytes");
    started = 0;
    SCRIPT(DOWN, FINE);
    call(&get);
    check_answer(AWS_TRANSIENT, ERR_RESET, 1, true);
}

static void test_a_clock_that_is_off(void **state)
{
    (void)state;
    SCRIPT({403, "{\"__type\":\"InvalidSignatureException\",\"message\":\"does not match\"}", 0,
            0, "Tue, 14 Nov 2023 22:13:20 GMT"});
    call(&list_tasks);
    check_answer(AWS_CLOCK_SKEW, ERR_PERMANENT, 1, false);
    assert_non_null(strstr(got.answer.error.message, "our clock is"));
}

static void test_what_cannot_be_sent(void **state)
{
    (void)state;
    SCRIPT(FINE);
    struct aws_request bad = {.service = AWS_S3, .action = "PutObject", .bucket = "No"};
    call(&bad);
    check_answer(AWS_PERMANENT, ERR_PERMANENT, 0, false);
    assert_int_equal(started, 0);
    aws_free(aws);
    aws = aws_new(loop, NULL, NULL, NULL);
    call(&list_tasks);
    check_answer(AWS_PERMANENT, ERR_PERMANENT, 0, false);
    assert_string_equal(got.answer.error.message, "ListTasks: no region: set AWS_REGION");
    aws_free(aws);
    aws = aws_new(loop, NULL, "EU West", NULL);
    call(&list_tasks);
    assert_string_equal(got.answer.error.message, "ListTasks: \"EU West\" is no region");
}

/* ---- keys */

static void test_no_keys(void **state)
{
    (void)state;
    SCRIPT(FINE);
    unsetenv("AWS_ACCESS_KEY_ID");
    call(&list_tasks);
    check_answer(AWS_AUTH, ERR_PERMANENT, 0, false);
    assert_non_null(strstr(got.answer.error.message, "only one of AWS_ACCESS_KEY_ID"));
    unsetenv("AWS_SECRET_ACCESS_KEY");
    call(&list_tasks);
    static const char *const sources[] = {
        "environment:", "web_identity:", "profile:", "container:", "instance:"};
    for (size_t i = 0; i < 5; i++)
        assert_non_null(strstr(got.answer.error.message, sources[i]));
    assert_int_equal(started, 0);
}

static void test_expired_keys_are_renewed_once(void **state)
{
    (void)state;
    struct aws_request once = list_tasks;
    once.tries = 1;
    SCRIPT(FINE, EXPIRED, FINE, EXPIRED);
    call(&once);
    assert_string_equal(last_key, "FIRST");
    assert_string_equal(last_token, "T1");
    setenv("AWS_ACCESS_KEY_ID", "SECOND", 1);
    setenv("AWS_SESSION_TOKEN", "T2", 1);
    call(&once);
    check_answer(AWS_FINE, ERR_NONE, 2, true);
    assert_string_equal(last_key, "SECOND");
    assert_string_equal(last_token, "T2");
    call(&list_tasks);
    check_answer(AWS_AUTH, ERR_PERMANENT, 2, false);
    assert_string_equal(got.answer.code, "ExpiredTokenException");
}

static void test_given_keys_are_not_renewed(void **state)
{
    (void)state;
    SCRIPT(EXPIRED, FINE);
    call(&list_tasks);
    check_answer(AWS_AUTH, ERR_PERMANENT, 1, false);
}

/* The owner hands over others while a try with the old ones is under way. */
static void test_keys_that_were_set_meanwhile_are_tried(void **state)
{
    (void)state;
    SCRIPT(EXPIRED, FINE);
    hold = true;
    aws_start(aws, &list_tasks, take, &got);
    spin_for(loop, 5);
    assert_int_equal(started, 1);
    aws_set_keys(aws, &(struct aws_keys){(char *)"SECOND", (char *)"S", (char *)"T", 0});
    task_wake(&held->task);
    hold = false;
    assert_true(spin(loop, &got.calls, 1, 5000));
    check_answer(AWS_FINE, ERR_NONE, 2, true);
    assert_string_equal(last_key, "SECOND");
}

/* ---- pace and budget */

static void test_pace(void **state)
{
    (void)state;
    struct got many[30] = {0};
    struct aws_request run = {.service = AWS_ECS, .action = "RunTask"};
    SCRIPT(FINE);
    for (int i = 0; i < 30; i++)
        aws_start(aws, &run, take, &many[i]);
    spin_for(loop, 20);
    assert_in_range(started, 20, 22);
    assert_true(spin(loop, &many[29].calls, 1, 5000));
    assert_int_equal(started, 30);
    for (int i = 0; i < 30; i++)
        assert_int_equal(many[i].calls, 1);
}

static void test_other_families_do_not_wait(void **state)
{
    (void)state;
    struct got many[30] = {0};
    struct aws_request run = {.service = AWS_ECS, .action = "RunTask"};
    SCRIPT(FINE);
    for (int i = 0; i < 30; i++)
        aws_start(aws, &run, take, &many[i]);
    call(&list_tasks);
    assert_int_equal(many[29].calls, 0);
}

static void test_the_queue_has_an_end(void **state)
{
    (void)state;
    struct aws_request change = {.service = AWS_ELB, .action = "RegisterTargets"};
    SCRIPT(FINE);
    struct got fits = {0};
    for (int i = 0; i < 10050; i++)
        aws_start(aws, &change, take, &fits);
    call(&change);
    check_answer(AWS_THROTTLED, ERR_CAPACITY, 0, false);
    assert_non_null(strstr(got.answer.error.message, "too many calls wait"));
}

static void test_budget(void **state)
{
    (void)state;
    struct aws_request put = {.service = AWS_S3,
                              .action = "PutObject",
                              .method = "PUT",
                              .bucket = "bucket",
                              .key = "k"};
    SCRIPT(DOWN);
    for (int i = 0; i < 25; i++) { /* 25 × 4 retries × 5 of 500 */
        call(&put);
        assert_int_equal(got.answer.tries, 5);
    }
    call(&put);
    assert_int_equal(got.answer.tries, 1);
    started = 0;
    SCRIPT(FINE);
    for (int i = 0; i < 5; i++)
        call(&put);
    started = 0;
    SCRIPT(DOWN);
    call(&put); /* five that went well pay for one retry */
    assert_int_equal(got.answer.tries, 2);
}

static void test_a_time_out_costs_more(void **state)
{
    (void)state;
    struct aws_request put = {.service = AWS_S3,
                              .action = "PutObject",
                              .method = "PUT",
                              .bucket = "bucket",
                              .key = "k"};
    SCRIPT({0, NULL, ERR_TIMEOUT, true, 0});
    for (int i = 0; i < 12; i++) { /* 12 × 4 × 10 = 480 of 500 */
        call(&put);
        assert_int_equal(got.answer.tries, 5);
    }
    call(&put);
    assert_int_equal(got.answer.tries, 3);
}

static void test_jitter_grows(void **state)
{
    (void)state;
    struct aws_request twice = list_tasks;
    twice.tries = 3;
    patient = true;
    SCRIPT(DOWN);
    int64_t before = loop_now_ms(loop);
    call(&twice);
    int64_t took = loop_now_ms(loop) - before;
    assert_in_range(took, 1490, 4000); /* 0.5 s and 1 s */
}

/* ---- letting go */

static void test_cancel(void **state)
{
    (void)state;
    struct aws_request change = {.service = AWS_ELB, .action = "RegisterTargets"};
    struct got none = {0};
    patient = true;
    SCRIPT({HANG, NULL, 0, false, 0});
    aws_cancel(aws_start(aws, &list_tasks, take, &none)); /* before it began */
    struct aws_call *flying = aws_start(aws, &list_tasks, take, &none);
    spin_for(loop, 5);
    assert_int_equal(under_way, 1);
    aws_cancel(flying);
    assert_int_equal(under_way, 0);
    for (int i = 0; i < 4; i++)
        aws_start(aws, &change, take, &none);
    struct aws_call *waiting = aws_start(aws, &change, take, &none);
    spin_for(loop, 5);
    aws_cancel(waiting); /* for its pace */
    SCRIPT(DOWN);
    struct aws_call *resting = aws_start(aws, &list_tasks, take, &none);
    spin_for(loop, 5);
    aws_cancel(resting); /* between two tries */
    spin_for(loop, 600);
    assert_int_equal(none.calls, 0);
}

static void test_cancel_while_keys_are_fetched(void **state)
{
    (void)state;
    struct got none = {0}, other = {0};
    SCRIPT({HANG, NULL, 0, false, 0});
    clear_environment();
    setenv("AWS_REGION", "us-east-2", 1);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/keys", 1);
    struct aws_call *a = aws_start(aws, &list_tasks, take, &none);
    aws_start(aws, &list_tasks, take, &other);
    spin_for(loop, 5);
    assert_int_equal(started, 1); /* one fetch for both */
    aws_cancel(a);
    spin_for(loop, 5);
    assert_int_equal(none.calls + other.calls, 0);
}

static void free_all(void *arg, const struct aws_answer *a)
{
    take(arg, a);
    aws_free(aws);
    aws = NULL;
}

static void test_freeing_from_the_answer(void **state)
{
    (void)state;
    struct got other = {0};
    SCRIPT(FINE, {HANG, NULL, 0, false, 0});
    aws_start(aws, &list_tasks, free_all, &got);
    aws_start(aws, &list_tasks, take, &other);
    assert_true(spin(loop, &got.calls, 1, 5000));
    spin_for(loop, 5);
    assert_int_equal(other.calls, 0);
}

static void test_freeing_when_keys_fail(void **state)
{
    (void)state;
    struct got other = {0};
    SCRIPT(FINE);
    unsetenv("AWS_ACCESS_KEY_ID");
    aws_start(aws, &list_tasks, free_all, &got);
    aws_start(aws, &list_tasks, take, &other);
    assert_true(spin(loop, &got.calls, 1, 5000));
    spin_for(loop, 5);
    assert_int_equal(other.calls, 0);
}

#define GIVEN(f) cmocka_unit_test_setup_teardown(f, open_bench, close_bench)
#define CHAIN(f) cmocka_unit_test_setup_teardown(f, open_chain_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GIVEN(test_fine),
        GIVEN(test_throttled_then_fine),
        GIVEN(test_throttled_to_the_end),
        GIVEN(test_broken_connections),
        GIVEN(test_permanent_at_once),
        GIVEN(test_refusal_that_broke_off),
        GIVEN(test_capacity_is_the_callers_to_repeat),
        GIVEN(test_one_try_only),
        GIVEN(test_streamed),
        GIVEN(test_a_clock_that_is_off),
        GIVEN(test_what_cannot_be_sent),
        CHAIN(test_no_keys),
        CHAIN(test_expired_keys_are_renewed_once),
        GIVEN(test_given_keys_are_not_renewed),
        GIVEN(test_keys_that_were_set_meanwhile_are_tried),
        GIVEN(test_pace),
        GIVEN(test_other_families_do_not_wait),
        GIVEN(test_the_queue_has_an_end),
        GIVEN(test_budget),
        GIVEN(test_a_time_out_costs_more),
        GIVEN(test_jitter_grows),
        GIVEN(test_cancel),
        CHAIN(test_cancel_while_keys_are_fetched),
        GIVEN(test_freeing_from_the_answer),
        CHAIN(test_freeing_when_keys_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
