/* The balancer `alb` against a small Elastic Load Balancing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "alb_help.h"
#include "base/log.h"
#include "base/mem.h"

#define IP1 "127.76.1.1"
#define IP2 "127.76.1.2"
#define IP3 "127.76.1.3"
#define IP4 "127.76.1.4"
#define MANY 60

/* One target group only; the class must be set before it is opened. */
static void one_group(struct bench *t)
{
    class_set(t->class, "alb_target_groups",
              "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/g0/0");
    class_set(t->class, "alb_urls", "http://a");
}

static void expect(struct error e, enum error_code code, const char *words)
{
    if (e.code != code || (words != NULL && strstr(e.message, words) == NULL))
        fail_msg("%s: \"%s\"", error_name(e.code), e.message);
}

/* What the status says of the first target group; free(). */
static char *status_text(struct bench *t, const char *key)
{
    json_t *status = balancer_alb.status(t->b);
    json_t *group = json_array_get(json_object_get(status, "target_groups"), 0);
    char *text = json_dumps(json_object_get(group, key), JSON_ENCODE_ANY);
    json_decref(status);
    return text;
}

static void expect_status(struct bench *t, const char *key, const char *words)
{
    char *text = status_text(t, key);
    if (text == NULL || strstr(text, words) == NULL)
        fail_msg("%s: %s", key, text != NULL ? text : "missing");
    free(text);
}

static const char *states(struct bench *t, const char *id)
{
    return seen_of(t, id)->states;
}

/* ---- one target ---- */

static void comes_and_goes(void **state)
{
    struct bench *t = *state;
    strcpy(t->elb->register_as, "initial");
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    assert_string_equal(elb_state(t, 0, IP1), "initial");
    run_for(t->loop, 700);
    elb_put(t, 0, IP1, "unhealthy");
    expect(list_now(t), ERR_NONE, NULL); /* looks now */
    assert_string_equal(states(t, "me.s.1"), "C");
    assert_string_equal(seen_of(t, "me.s.1")->reason, "unhealthy");
    elb_put(t, 0, IP1, "healthy");
    reach(t, "me.s.1", 'H');
    assert_string_equal(states(t, "me.s.1"), "CH");
    assert_int_equal(balancer_alb.healthy(t->b, 0), 1);
    assert_int_equal(balancer_alb.healthy(t->b, 1), 0);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL); /* again */
    expect(add(t, "me.s.1", IP2), ERR_CONFLICT, "another address");
    assert_int_equal(elb_calls(t, "RegisterTargets"), 1);
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    reach(t, "me.s.1", 'G');
    assert_string_equal(elb_state(t, 0, IP1), "");
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 1);
    assert_int_equal(elb_calls(t, "AddTags"), 0);
    int looks = elb_calls(t, "DescribeTargetHealth");
    run_for(t->loop, 1700);
    assert_int_equal(elb_calls(t, "DescribeTargetHealth"), looks); /* nothing is held */
}

static void nonsense_is_refused(void **state)
{
    struct bench *t = *state;
    char id[80];
    memset(id, 'x', sizeof(id) - 1);
    id[sizeof(id) - 1] = '\0';
    open_balancer(t);
    expect(add(t, id, IP1), ERR_INVALID, "longer than");
    expect(add(t, "me.s.1", "nowhere"), ERR_INVALID, "no address");
    expect(add(t, "me.s.1", ""), ERR_INVALID, "no address");
    assert_int_equal(elb_calls(t, "RegisterTargets"), 0);
}

static void unhealthy_and_back(void **state)
{
    struct bench *t = *state;
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    reach(t, "me.s.1", 'H');
    elb_put(t, 0, IP1, "unhealthy");
    expect(list_now(t), ERR_NONE, NULL); /* looks now */
    assert_string_equal(states(t, "me.s.1"), "CHU");
    assert_int_equal(balancer_alb.healthy(t->b, 0), 0); /* though all get requests */
    expect_status(t, "fail_open", "true");
    elb_put(t, 0, IP1, "healthy");
    reach(t, "me.s.1", 'H');
    expect_status(t, "fail_open", "false");
}

static void deregistered_by_somebody_else(void **state)
{
    struct bench *t = *state;
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    reach(t, "me.s.1", 'H');
    elb_put(t, 0, IP1, "");
    expect(list_now(t), ERR_NONE, NULL);
    assert_string_equal(states(t, "me.s.1"), "CH"); /* one listing may be a late one */
    expect(list_now(t), ERR_NONE, NULL);
    assert_string_equal(states(t, "me.s.1"), "CHU");
    reach(t, "me.s.1", 'H');
    assert_int_equal(elb_calls(t, "RegisterTargets"), 2);
    assert_string_equal(elb_state(t, 0, IP1), "healthy");
}

/* ---- calls ---- */

static bool all_answered(void *arg)
{
    const struct answer *a = arg;
    for (int i = 0; i < MANY; i++)
        if (a[i].calls == 0)
            return false;
    return true;
}

static void many_share_calls(void **state)
{
    struct bench *t = *state;
    struct answer a[MANY] = {0};
    char id[MANY][16], ip[32];
    open_balancer(t);
    for (int i = 0; i < MANY; i++) {
        snprintf(id[i], sizeof(id[i]), "me.%d.1", i);
        snprintf(ip, sizeof(ip), "127.76.2.%d", i);
        start_add(t, id[i], ip, &a[i]);
    }
    assert_true(run_until(t->loop, all_answered, a, 10000));
    for (int i = 0; i < MANY; i++) {
        expect(a[i].error, ERR_NONE, NULL);
        assert_int_equal(group_of(t, id[i]), (size_t)i % ELB_GROUPS);
    }
    assert_int_equal(elb_calls(t, "RegisterTargets"), ELB_GROUPS);
    assert_int_equal(elb_targets_of(t, "RegisterTargets"), MANY);
    for (int i = 0; i < MANY; i++)
        reach(t, id[i], 'H');
    memset(a, 0, sizeof(a));
    for (int i = 0; i < MANY; i++)
        start_remove(t, id[i], &a[i]);
    assert_true(run_until(t->loop, all_answered, a, 10000));
    for (int i = 0; i < MANY; i++)
        reach(t, id[i], 'G');
    assert_int_equal(elb_calls(t, "DeregisterTargets"), ELB_GROUPS);
    assert_int_equal(elb_targets_of(t, "DeregisterTargets"), MANY);
}

static void one_bad_target_fails_alone(void **state)
{
    struct bench *t = *state;
    struct answer a[MANY] = {0};
    char id[16], ip[32];
    one_group(t);
    strcpy(t->elb->refused, "127.76.2.5");
    open_balancer(t);
    for (int i = 0; i < MANY; i++) {
        snprintf(id, sizeof(id), "me.%d.1", i);
        snprintf(ip, sizeof(ip), "127.76.2.%d", i);
        start_add(t, id, ip, &a[i]);
    }
    assert_true(run_until(t->loop, all_answered, a, 15000));
    for (int i = 0; i < MANY; i++)
        expect(a[i].error, i == 5 ? ERR_PERMANENT : ERR_NONE, i == 5 ? "InvalidTarget" : NULL);
    assert_in_range(elb_calls(t, "RegisterTargets"), 2, 14); /* halves, not one by one */
    expect(take_out(t, "me.5.1"), ERR_NONE, NULL);           /* it is no target at all */
    reach(t, "me.5.1", 'G');
}

static void remove_follows_add_in_flight(void **state)
{
    struct bench *t = *state;
    struct answer a = {0}, r = {0};
    t->elb->hold_ms = 600;
    open_balancer(t);
    start_add(t, "me.s.1", IP1, &a);
    run_for(t->loop, 500);
    assert_int_equal(elb_calls(t, "RegisterTargets"), 1);
    start_remove(t, "me.s.1", &r);
    assert_int_equal(answer_of(t->loop, &r), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &a), ERR_CANCELLED);
    reach(t, "me.s.1", 'G');
    assert_string_equal(elb_state(t, 0, IP1), "");
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 1);
}

static void removed_before_it_was_sent(void **state)
{
    struct bench *t = *state;
    struct answer a = {0}, r = {0};
    open_balancer(t);
    expect(list_now(t), ERR_NONE, NULL);
    start_add(t, "me.s.1", IP1, &a);
    start_remove(t, "me.s.1", &r);
    assert_int_equal(answer_of(t->loop, &a), ERR_CANCELLED);
    assert_int_equal(answer_of(t->loop, &r), ERR_NONE);
    run_for(t->loop, 400);
    assert_string_equal(states(t, "me.s.1"), "G");
    assert_int_equal(elb_calls(t, "RegisterTargets"), 0);
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 0);
}

/* ---- failures ---- */

static void throttled_and_broken(void **state)
{
    struct bench *t = *state;
    elb_fail(t, "RegisterTargets", 1, 400, "Throttling");
    elb_fail(t, "DescribeTags", 1, 503, "ServiceUnavailable");
    elb_break(t, "DescribeTargetHealth", 1, FAULT_RESET);
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    assert_int_equal(elb_calls(t, "RegisterTargets"), 2);
    reach(t, "me.s.1", 'H');
    elb_break(t, "DeregisterTargets", 1, FAULT_RESET); /* it had its effect */
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    reach(t, "me.s.1", 'G');
}

static void answers_that_make_no_sense(void **state)
{
    struct bench *t = *state;
    open_balancer(t);
    expect(list_now(t), ERR_NONE, NULL);
    elb_break(t, "DescribeTargetHealth", 2, FAULT_GARBAGE);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    reach(t, "me.s.1", 'H');
    elb_break(t, "DescribeTargetHealth", 99, FAULT_GARBAGE);
    assert_int_not_equal(list_now(t).code, ERR_NONE);
    t->elb->faults[0].times = 0;
    expect(list_now(t), ERR_NONE, NULL);
    assert_string_equal(states(t, "me.s.1"), "CH"); /* no news is no bad news */
}

static void fails_and_is_tried_again(void **state)
{
    struct bench *t = *state;
    elb_fail(t, "RegisterTargets", 1, 403, "AccessDenied");
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_PERMANENT, "AccessDenied");
    expect_status(t, "last_error", "AccessDenied");
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    reach(t, "me.s.1", 'H');
    elb_fail(t, "DeregisterTargets", 1, 403, "AccessDenied");
    expect(take_out(t, "me.s.1"), ERR_PERMANENT, "AccessDenied");
    assert_string_equal(elb_state(t, 0, IP1), "healthy");
    expect(add(t, "me.s.1", IP1), ERR_CONFLICT, "being removed");
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    reach(t, "me.s.1", 'G');
}

static void a_target_group_that_is_not_there(void **state)
{
    struct bench *t = *state;
    t->elb->groups[0].missing = true;
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    assert_int_equal(group_of(t, "me.s.1"), 1);
    expect(list_now(t), ERR_PERMANENT, "TargetGroupNotFound");
    t->elb->groups[1].missing = true; /* deleted: nothing can be there any more */
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
}

static void closed_in_flight(void **state)
{
    struct bench *t = *state;
    struct answer a = {0}, l = {0}, r = {0};
    open_balancer(t);
    start_add(t, "me.s.1", IP1, &a); /* its place is not decided yet */
    balancer_alb.list(t->b, NULL, take_answer, &l);
    close_balancer(t);
    open_balancer(t);
    expect(add(t, "me.s.2", IP2), ERR_NONE, NULL);
    t->elb->hold_ms = 300;
    start_remove(t, "me.s.2", &r);
    start_add(t, "me.s.3", IP3, &a);
    run_for(t->loop, 150);
    close_balancer(t);
    run_for(t->loop, 500);
    assert_int_equal(a.calls + l.calls + r.calls, 0);
}

/* ---- owners ---- */

static void claims_what_nobody_owns(void **state)
{
    struct bench *t = *state;
    t->elb->groups[0].owner[0] = t->elb->groups[1].owner[0] = '\0';
    open_balancer(t);
    expect(list_now(t), ERR_NONE, NULL);
    assert_int_equal(elb_calls(t, "AddTags"), 0); /* not before somebody is put there */
    assert_false(reserves(t, "me.s.1"));
    until_reserved(t, "me.s.1");
    assert_int_equal(elb_calls(t, "AddTags"), 1);
    assert_string_equal(t->elb->groups[0].owner, "me");
    assert_string_equal(t->elb->groups[1].owner, "me");
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
}

static void loses_the_race(void **state)
{
    struct bench *t = *state;
    one_group(t);
    t->elb->groups[0].owner[0] = '\0';
    strcpy(t->elb->thief, "you");
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_PERMANENT, "belongs to owner you");
    assert_int_equal(elb_calls(t, "AddTags"), 1);
    assert_int_equal(elb_calls(t, "RegisterTargets"), 0);
    expect_status(t, "owner", "you");
}

/* Between its reading and its writing somebody else may have claimed it, and seen that. */
static void reads_again_before_it_claims(void **state)
{
    struct bench *t = *state;
    one_group(t);
    t->elb->groups[0].owner[0] = '\0';
    open_balancer(t);
    expect(list_now(t), ERR_NONE, NULL);
    strcpy(t->elb->groups[0].owner, "you");
    run_for(t->loop, 1000);
    expect(add(t, "me.s.1", IP1), ERR_PERMANENT, "belongs to owner you");
    assert_int_equal(elb_calls(t, "AddTags"), 0);
    assert_string_equal(t->elb->groups[0].owner, "you");
}

static void reads_again_after_a_claim_that_failed(void **state)
{
    struct bench *t = *state;
    one_group(t);
    t->elb->groups[0].owner[0] = '\0';
    elb_fail(t, "AddTags", 1, 503, "ServiceUnavailable");
    open_balancer(t);
    for (int i = 0; i < 100 && elb_calls(t, "AddTags") == 0; i++) {
        assert_false(reserves(t, "me.s.1"));
        run_for(t->loop, 20);
    }
    strcpy(t->elb->groups[0].owner, "you");
    run_for(t->loop, 2000);
    expect(add(t, "me.s.1", IP1), ERR_PERMANENT, "belongs to owner you");
    assert_int_equal(elb_calls(t, "AddTags"), 1);
    assert_string_equal(t->elb->groups[0].owner, "you");
}

static void leaves_what_others_own(void **state)
{
    struct bench *t = *state;
    strcpy(t->elb->groups[0].owner, "you");
    strcpy(t->elb->groups[2].owner, "you");
    elb_put(t, 0, IP4, "healthy");
    open_balancer(t);
    expect(list_now(t), ERR_NONE, NULL);
    assert_string_equal(t->listed, "");
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    expect(add(t, "me.s.2", IP2), ERR_NONE, NULL);
    assert_int_equal(group_of(t, "me.s.1"), 1);
    assert_int_equal(group_of(t, "me.s.2"), 1);
    expect(take_out(t, "me.target." IP4 ":8080"), ERR_NONE, NULL);
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 0);
    assert_int_equal(elb_calls(t, "AddTags"), 0);
}

static void may_not_tag(void **state)
{
    struct bench *t = *state;
    one_group(t);
    t->elb->groups[0].owner[0] = '\0';
    elb_fail(t, "AddTags", 99, 403, "AccessDenied");
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_PERMANENT, "AccessDenied");
    assert_false(reserves(t, "me.s.2"));
    assert_in_range(elb_calls(t, "AddTags"), 1, 2);
}

/* ---- holders ---- */

static void takes_a_draining_address_over(void **state)
{
    struct bench *t = *state;
    t->elb->drains = true;
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    reach(t, "me.s.1", 'H');
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    reach(t, "me.s.1", 'G'); /* draining is enough */
    assert_string_equal(elb_state(t, 0, IP1), "draining");
    expect(add(t, "me.s.2", IP1), ERR_NONE, NULL);
    reach(t, "me.s.2", 'H');
    int calls = elb_calls(t, "DeregisterTargets");
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL); /* late, and of nobody */
    run_for(t->loop, 400);
    assert_int_equal(elb_calls(t, "DeregisterTargets"), calls);
    assert_string_equal(elb_state(t, 0, IP1), "healthy");
}

static void ignore_listed(void *arg, const struct target *target, enum target_state state)
{
    (void)arg;
    (void)target;
    (void)state;
}

/* What was asked before a change says nothing about what it made. */
static void a_listing_older_than_the_change(void **state)
{
    struct bench *t = *state;
    struct answer l = {0};
    t->elb->drains = true;
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    reach(t, "me.s.1", 'G');
    t->elb->late_ms = 700;
    int looks = elb_calls(t, "DescribeTargetHealth");
    balancer_alb.list(t->b, ignore_listed, take_answer, &l); /* it drains, as that will say */
    while (elb_calls(t, "DescribeTargetHealth") == looks)
        run_for(t->loop, 5);
    expect(add(t, "me.s.2", IP1), ERR_NONE, NULL);
    t->elb->late_ms = 0;
    assert_int_equal(l.calls, 0);
    reach(t, "me.s.2", 'H');
    assert_string_equal(states(t, "me.s.2"), "CH");
    assert_int_equal(elb_calls(t, "RegisterTargets"), 2);
}

static void takes_over_before_it_was_accepted(void **state)
{
    struct bench *t = *state;
    struct answer r = {0}, a = {0};
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    reach(t, "me.s.1", 'H');
    start_remove(t, "me.s.1", &r);
    start_add(t, "me.s.2", IP1, &a);
    assert_int_equal(answer_of(t->loop, &r), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &a), ERR_NONE);
    assert_string_equal(states(t, "me.s.1"), "CHG");
    reach(t, "me.s.2", 'H');
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 0);
}

static void an_address_has_one_holder(void **state)
{
    struct bench *t = *state;
    open_balancer(t);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    expect(add(t, "me.s.2", IP1), ERR_REGISTER, "still held by another target");
    assert_true(error_retryable(ERR_REGISTER));
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    expect(add(t, "me.s.2", IP1), ERR_NONE, NULL);
}

static void slots(void **state)
{
    struct bench *t = *state;
    const struct balancer_node *node;
    class_set(t->class, "alb_mode", "slot");
    class_set(t->class, "alb_header", "X-Slot");
    t->elb->drains = true;
    elb_put(t, 1, IP4, "draining"); /* of an earlier life */
    open_balancer(t);
    assert_false(balancer_alb.sweeps(t->b));
    assert_false(reserves(t, "me.s.1")); /* nothing is known yet */
    until_reserved(t, "me.s.1");
    assert_true(reserves(t, "me.s.1"));
    assert_true(reserves(t, "me.s.2"));
    assert_false(reserves(t, "me.s.3"));
    assert_int_equal(group_of(t, "me.s.1"), 0);
    assert_int_equal(group_of(t, "me.s.2"), 2);
    assert_int_equal(balancer_alb.nodes(t->b, 2, &node), 1);
    assert_string_equal(node->url, "http://c");
    assert_string_equal(node->header.name, "X-Slot");
    assert_string_equal(node->header.value, "3");
    balancer_alb.unreserve(t->b, "me.s.2"); /* its launch failed */
    assert_true(reserves(t, "me.s.3"));
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    expect(take_out(t, "me.s.1"), ERR_NONE, NULL);
    reach(t, "me.s.1", 'G');
    assert_false(reserves(t, "me.s.4")); /* it drains */
    elb_put(t, 0, IP1, "");
    until_reserved(t, "me.s.4");
    assert_int_equal(group_of(t, "me.s.4"), 0);
    assert_false(reserves(t, "me.s.5"));
    elb_put(t, 1, IP4, "");
    expect(list_now(t), ERR_NONE, NULL);
    until_reserved(t, "me.s.5");
    assert_int_equal(group_of(t, "me.s.5"), 1);
}

static void the_smallest_group_gets_it(void **state)
{
    struct bench *t = *state;
    elb_put(t, 0, IP3, "healthy");
    elb_put(t, 0, IP4, "draining");
    open_balancer(t);
    until_reserved(t, "me.s.1");
    assert_true(reserves(t, "me.s.2"));
    assert_true(reserves(t, "me.s.3"));
    assert_int_equal(group_of(t, "me.s.1"), 1);
    assert_int_equal(group_of(t, "me.s.2"), 2);
    assert_int_equal(group_of(t, "me.s.3"), 0);
    expect(add(t, "me.s.2", IP2), ERR_NONE, NULL);
    assert_string_equal(elb_state(t, 2, IP2), "healthy");
    balancer_alb.unreserve(t->b, "me.s.2"); /* it is there: not taken away */
    assert_int_equal(group_of(t, "me.s.2"), 2);
}

/* ---- restart ---- */

static void adopts(void **state)
{
    struct bench *t = *state;
    elb_put(t, 2, IP1, "healthy");
    elb_put(t, 1, IP3, "draining");
    open_balancer(t);
    adopt(t, "me.s.1", IP1);
    adopt(t, "me.s.2", IP2);
    adopt(t, "me.s.3", IP3);
    reach(t, "me.s.1", 'H');
    assert_string_equal(states(t, "me.s.1"), "H");
    assert_int_equal(group_of(t, "me.s.1"), 2);
    reach(t, "me.s.2", 'H'); /* put back */
    reach(t, "me.s.3", 'H'); /* where it was */
    assert_string_equal(elb_state(t, 1, IP3), "healthy");
    assert_int_equal(elb_targets_of(t, "RegisterTargets"), 2);
    expect(list_now(t), ERR_NONE, NULL);
    assert_null(strstr(t->listed, ".target."));
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    assert_int_equal(elb_targets_of(t, "RegisterTargets"), 2);
}

static const char *group_name(const struct bench *t, size_t group)
{
    return balancer_alb.group_name(t->b, group);
}

/* What an earlier life asked for may arrive after the listing: nothing is chosen anew. */
static void a_chosen_place_is_kept(void **state)
{
    struct bench *t = *state;
    struct answer a = {0};
    elb_put(t, 2, IP3, "healthy");
    open_balancer(t);
    struct target first = {
        .id = "me.s.1", .ip = IP1, .port = 8080, .target_group = group_name(t, 2)};
    struct target second = {
        .id = "me.s.2", .ip = IP2, .port = 8080, .target_group = group_name(t, 2)};
    struct target third = {
        .id = "me.s.3", .ip = IP4, .port = 8080, .target_group = "arn:of-another-day"};
    assert_true(balancer_alb.reserve(t->b, &first)); /* whatever is known */
    assert_int_equal(group_of(t, "me.s.1"), 2);
    balancer_alb.add(t->b, &first, take_answer, &a);
    balancer_alb.adopt(t->b, &second);
    balancer_alb.adopt(t->b, &third);
    assert_int_equal(answer_of(t->loop, &a), ERR_NONE);
    reach(t, "me.s.1", 'H');
    reach(t, "me.s.2", 'H');
    reach(t, "me.s.3", 'H');
    assert_string_equal(elb_state(t, 2, IP1), "healthy");
    assert_string_equal(elb_state(t, 2, IP2), "healthy");
    assert_int_equal(group_of(t, "me.s.3"), 0); /* that target group is none of ours any more */
}

static void a_place_follows_its_address(void **state)
{
    struct bench *t = *state;
    elb_put(t, 2, IP1, "draining");
    open_balancer(t);
    until_reserved(t, "me.s.1");
    assert_int_equal(group_of(t, "me.s.1"), 0);
    struct target known = {.id = "me.s.1", .ip = IP1, .port = 8080};
    assert_true(balancer_alb.reserve(t->b, &known));
    assert_int_equal(group_of(t, "me.s.1"), 2);
    expect(add(t, "me.s.1", IP1), ERR_NONE, NULL);
    assert_string_equal(elb_state(t, 2, IP1), "healthy");
    assert_string_equal(elb_state(t, 0, IP1), "");
}

static void orphans(void **state)
{
    struct bench *t = *state;
    struct answer known = {0};
    elb_put(t, 1, IP1, "healthy");
    elb_put(t, 1, IP2, "healthy");
    elb_put(t, 1, IP3, "draining");
    open_balancer(t);
    adopt(t, "me.s.2", IP2);
    expect(list_now(t), ERR_NONE, NULL);
    assert_non_null(strstr(t->listed, "me.target." IP1 ":8080=" IP1 ":8080"));
    assert_non_null(strstr(t->listed, "me.s.2=" IP2 ":8080"));
    assert_null(strstr(t->listed, IP3));
    struct answer orphan = {0};
    start_remove(t, "me.target." IP1 ":8080", &orphan);
    start_remove(t, "me.ended.1", &known); /* may have been its holder: waits for it */
    run_for(t->loop, 20);
    assert_int_equal(known.calls, 0);
    assert_int_equal(answer_of(t->loop, &known), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &orphan), ERR_NONE);
    assert_string_equal(elb_state(t, 1, IP1), "");
    assert_string_equal(elb_state(t, 1, IP2), "healthy");
}

static void an_orphan_finds_a_holder(void **state)
{
    struct bench *t = *state;
    struct answer orphan = {0}, a = {0};
    elb_put(t, 1, IP1, "healthy");
    open_balancer(t);
    expect(list_now(t), ERR_NONE, NULL);
    start_remove(t, "me.target." IP1 ":8080", &orphan);
    start_add(t, "me.s.1", IP1, &a);
    assert_int_equal(answer_of(t->loop, &orphan), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &a), ERR_NONE);
    assert_int_equal(group_of(t, "me.s.1"), 1);
    expect(take_out(t, "me.target." IP1 ":8080"), ERR_NONE, NULL);
    run_for(t->loop, 300);
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 0);
    /* The other way round: the removal is under way. */
    elb_put(t, 0, IP2, "healthy");
    expect(list_now(t), ERR_NONE, NULL);
    t->elb->hold_ms = 400;
    start_remove(t, "me.target." IP2 ":8080", &orphan);
    run_for(t->loop, 300);
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 1);
    start_add(t, "me.s.2", IP2, &a);
    assert_int_equal(answer_of(t->loop, &orphan), ERR_NONE);
    assert_int_equal(answer_of(t->loop, &a), ERR_NONE);
    assert_string_equal(elb_state(t, 0, IP2), "healthy");
    reach(t, "me.s.2", 'H');
}

static void removal_of_an_unknown_target(void **state)
{
    struct bench *t = *state;
    open_balancer(t);
    expect(take_out(t, "me.s.9"), ERR_NONE, NULL);
    assert_string_equal(states(t, "me.s.9"), "G");
    expect(take_out(t, "me.target.127.76.9.9:8080"), ERR_NONE, NULL);
    expect(take_out(t, "me.target.nonsense"), ERR_NONE, NULL);
    expect(take_out(t, "me.target.:"), ERR_NONE, NULL);
    assert_int_equal(elb_calls(t, "DeregisterTargets"), 0);
}

static void bad_classes(void **state)
{
    struct bench *t = *state;
    struct balancer_env env = {
        .loop = t->loop, .class = t->class, .owner = "me", .aws = t->aws};
    struct error e;
    class_set(t->class, "alb_urls", "http://a,http://b");
    assert_null(balancer_alb.open(&env, &e));
    expect(e, ERR_CONFIG, "alb_urls");
    class_set(t->class, "alb_target_groups", "arn:x");
    assert_null(balancer_alb.open(&env, &e));
    expect(e, ERR_CONFIG, "arn:x");
    class_set(t->class, "alb_target_groups", "");
    assert_null(balancer_alb.open(&env, &e));
    expect(e, ERR_CONFIG, "needs alb_target_groups");
}

/* Checks two classes; the second is like the first but for one option. */
static void check_pair(const char *key, const char *value, enum error_code code,
                       const char *words)
{
    struct class pair[2] = {0};
    struct error e = {.code = ERR_NONE};
    char a[] = "a", b[] = "b";
#define G "arn:aws:elasticloadbalancing:r:1:targetgroup/"
    for (int i = 0; i < 2; i++) {
        option_defaults(class_options, &pair[i]);
        class_set(&pair[i], "balancer", "alb");
        class_set(&pair[i], "alb_urls", "https://alb.internal");
        class_set(&pair[i], "alb_header", "X-Slot");
    }
    class_set(&pair[0], "alb_target_groups", G "x/1," G "y/1");
    class_set(&pair[1], "alb_target_groups", G "z/1");
    pair[0].name = a;
    pair[1].name = b;
    class_set(&pair[1], key, value);
    assert_int_equal(class_check(pair, 2, &e), code == ERR_NONE);
    expect(e, code, words);
    pair[0].name = pair[1].name = NULL;
    option_release(class_options, &pair[0]);
    option_release(class_options, &pair[1]);
}

static void classes(void **state)
{
    (void)state;
    check_pair("alb_header", "", ERR_NONE, NULL);
    check_pair("alb_target_groups", G "y/1", ERR_CONFIG,
               "classes a and b name the same target group, " G "y/1");
    check_pair("alb_target_groups", G "z/1," G "z/1", ERR_CONFIG, "class b: ");
    check_pair("alb_target_groups", "", ERR_CONFIG, "class b: ");
    check_pair("alb_target_groups", "arn:aws:ecs:r:1:cluster/c", ERR_CONFIG, "ARNs");
    check_pair("alb_urls", "https://x,https://y", ERR_CONFIG, "alb_urls");
    check_pair("alb_urls", "https://x/path", ERR_CONFIG, "without a path");
    check_pair("alb_header", "no header", ERR_CONFIG, "alb_header");
    check_pair("cookies", "", ERR_CONFIG, "cookies");
    check_pair("balancer", "direct", ERR_NONE, NULL);
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(comes_and_goes),
        TEST(nonsense_is_refused),
        TEST(unhealthy_and_back),
        TEST(deregistered_by_somebody_else),
        TEST(many_share_calls),
        TEST(one_bad_target_fails_alone),
        TEST(remove_follows_add_in_flight),
        TEST(removed_before_it_was_sent),
        TEST(throttled_and_broken),
        TEST(answers_that_make_no_sense),
        TEST(fails_and_is_tried_again),
        TEST(a_target_group_that_is_not_there),
        TEST(closed_in_flight),
        TEST(claims_what_nobody_owns),
        TEST(loses_the_race),
        TEST(reads_again_before_it_claims),
        TEST(reads_again_after_a_claim_that_failed),
        TEST(leaves_what_others_own),
        TEST(may_not_tag),
        TEST(takes_a_draining_address_over),
        TEST(a_listing_older_than_the_change),
        TEST(takes_over_before_it_was_accepted),
        TEST(an_address_has_one_holder),
        TEST(slots),
        TEST(the_smallest_group_gets_it),
        TEST(adopts),
        TEST(a_chosen_place_is_kept),
        TEST(a_place_follows_its_address),
        TEST(orphans),
        TEST(an_orphan_finds_a_holder),
        TEST(removal_of_an_unknown_target),
        TEST(bad_classes),
        cmocka_unit_test(classes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
