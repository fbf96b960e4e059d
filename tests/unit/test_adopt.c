/* Adoption by labels: which containers bring a session back, and which do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>
#include "base/mem.h"
#include "cleat.h"
#include "core_help.h"
#include "http/json.h"
#include "session/adopt.h"
#include "session/attempt.h"
#include "session/label.h"
#include "session/record.h"
#include "session/session.h"

#define ID "01890a5d-ac96-774b-bcce-b302099a8057"
#define KEY "cleat." ID ".2"

struct world {
    struct event_base *base;
    struct cleat *core;
    struct group *group, *other;
    char dir[64];
};

static struct runtime_ops runtime;
static unsigned adopted;

static void fake_adopt(struct runtime *r, const struct container *c)
{
    (void)r;
    (void)c;
    adopted++;
}

static int setup(void **state)
{
    static const char *const options[][3] = {{"other", "sandbox", "none"}, {0}};
    struct world *w = mem_alloc(sizeof(*w));
    w->base = event_base_new();
    w->core = core_help_open(w->base, w->dir, options);
    w->group = core_find_group(w->core, "default");
    w->other = core_find_group(w->core, "other");
    runtime = *w->group->runtime_ops;
    runtime.adopt = fake_adopt;
    w->group->runtime_ops = &runtime;
    adopted = 0;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    w->group->runtime_ops = w->other->runtime_ops;
    int rc = core_help_close(w->core, w->base, w->dir);
    free(w);
    return rc;
}

/* What an earlier life put on a container of this class with these parameters. */
static char *label_of(struct world *w, const char *class, const char *parameters, bool env)
{
    struct session s = {.core = w->core,
                        .id = ID,
                        .request_id = "r-1",
                        .class_name = (char *)class,
                        .context = {.tenant = "acme"},
                        .parameters = (char *)parameters,
                        .created = core_now(w->core) - 5000,
                        .env_lost = env};
    return label_make(&s);
}

static struct session *adopt(struct group *g, const char *key, const char *ip,
                             const char *label, struct error *e)
{
    struct container c = {.port = 8080};
    mem_copy_string(c.id, sizeof(c.id), key);
    mem_copy_string(c.ip, sizeof(c.ip), ip);
    return label_adopt(g, key, &c, label, e);
}

static void refused(struct group *g, const char *key, const char *label, enum error_code code)
{
    struct error e;
    assert_null(adopt(g, key, "127.64.0.9", label, &e));
    assert_int_equal(e.code, code);
    assert_true(e.message[0] != '\0');
    assert_int_equal(adopted, 0);
}

#define PARAMETERS                                                                             \
    "{\"class\":\"default\",\"idle_timeout_s\":77,\"tenant\":\"acme\",\"user\":\"u\"}"

static void a_session_is_made_again(void **state)
{
    struct world *w = *state;
    struct error e;
    char *label = label_of(w, "default", PARAMETERS, true);
    struct session *s = adopt(w->group, KEY, "127.64.0.9", label, &e);
    free(label);
    assert_non_null(s);
    assert_string_equal(s->id, ID);
    assert_string_equal(s->request_id, "r-1");
    assert_string_equal(s->context.user, "u");
    assert_string_equal(s->parameters, PARAMETERS);
    assert_int_equal(s->idle_timeout_s, 77);
    assert_int_equal(s->state, SESSION_OPENING);
    assert_true(s->adopted && s->env_lost && s->has_container_place && s->has_owner_place &&
                !*s->unfit);
    assert_true(s->created <= core_now(w->core) - 5000);
    const struct attempt *a = s->attempt;
    assert_int_equal(a->number, 2);
    assert_int_equal(a->state, ATTEMPT_STARTING);
    assert_true(a->launched && a->touched && a->registered);
    assert_false(attempt_durable(a)); /* nothing is done with it before it is */
    assert_int_equal(adopted, 1);
    assert_ptr_equal(core_find_request(w->core, "acme", "r-1"), s);
    char *row = session_row(s), *attempt = attempt_row(a);
    session_free(s);
    s = session_from_row(w->core, row, &e);
    free(row);
    assert_non_null(s);
    assert_true(s->adopted && s->env_lost);
    struct attempt *again = attempt_from_row(w->core, attempt, &e);
    free(attempt);
    assert_non_null(again);
    assert_true(again->adopted && again->touched && again->launched);
}

static void its_lifetime_counts_from_its_creation(void **state)
{
    struct world *w = *state;
    struct error e;
    char *label = label_of(w, "default", PARAMETERS, false);
    struct session *s = adopt(w->group, KEY, "127.64.0.9", label, &e);
    free(label);
    s->ready = core_now(w->core);
    assert_int_equal(session_lifetime_end(s), s->created + s->max_lifetime_s * 1000);
    s->adopted = false;
    assert_int_equal(session_lifetime_end(s), s->ready + s->max_lifetime_s * 1000);
}

static void who_does_not_come_back(void **state)
{
    struct world *w = *state;
    struct error e;
    char *label = label_of(w, "default", PARAMETERS, false);
    char *others = label_of(w, "other", PARAMETERS, false);
    static const char *const keys[] = {"",
                                       "cleat",
                                       "cleat." ID,
                                       "cleat." ID ".",
                                       "cleat." ID ".0",
                                       "cleat." ID ".x",
                                       "cleat." ID ".70000",
                                       "other." ID ".1",
                                       "cleat.01890a5d-ac96-474b-bcce-b302099a8057.1"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        refused(w->group, keys[i], label, ERR_INVALID);
    refused(w->group, KEY, NULL, ERR_INVALID);
    refused(w->group, KEY, "1nonsense", ERR_INVALID);
    refused(w->group, KEY, others, ERR_NOT_FOUND);
    label[40] = label[40] == 'A' ? 'B' : 'A';
    refused(w->group, KEY, label, ERR_FORBIDDEN);
    free(label);
    label = label_of(w, "default", PARAMETERS, false);
    assert_null(adopt(w->group, KEY, "", label, &e)); /* not yet */
    struct session *s =
        session_new(w->core, w->group, "01890a5d-ac96-774b-bcce-b302099a8059", "acme", "r-1");
    refused(w->group, KEY, label, ERR_CONFLICT);
    session_free(s);
    free(others);
    free(label);
}

static void what_can_only_close(void **state)
{
    struct world *w = *state;
    struct error e;
    char input[2000];
    memset(input, 'x', sizeof(input) - 1);
    input[sizeof(input) - 1] = '\0';
    char *longest = mem_printf("{\"class\":\"default\",\"input\":\"file:///%s\","
                               "\"tenant\":\"acme\"}",
                               input);
    char *labels[] = {
        label_of(w, "default", longest, false), label_of(w, "gone", PARAMETERS, false),
        label_of(w, "default", "{\"class\":\"default\",\"idle_timeout_s\":0}", false)};
    for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
        struct session *s = adopt(w->group, KEY, "127.64.0.9", labels[i], &e);
        assert_non_null(s);
        assert_true(s->unfit[0] != '\0');
        assert_string_equal(s->context.tenant, "acme");
        assert_string_equal(s->request_id, "r-1");
        assert_true(adopted_in_vain(s->attempt));
        assert_int_equal(s->state, SESSION_CLOSING);
        assert_int_equal(s->error.code, ERR_LOST);
        session_free(s);
        free(labels[i]);
    }
    free(longest);
}

static void an_environment_that_was_not_handed_over(void **state)
{
    struct world *w = *state;
    struct error e;
    char *label = label_of(w, "default", PARAMETERS, true);
    struct session *s = adopt(w->group, KEY, "127.64.0.9", label, &e);
    free(label);
    json_t *info =
        json_pack("{s:b, s:b, s:i}", "claimed", 1, "synced", 0, "executions_completed", 0);
    s->attempt->touched = false;
    attempt_learn(s->attempt, info);
    json_decref(info);
    assert_true(s->attempt->claimed && s->attempt->touched && !s->attempt->synced);
    assert_false(adopted_in_vain(s->attempt));
    s->attempt->claimed = false;
    assert_true(adopted_in_vain(s->attempt));
    assert_int_equal(s->error.code, ERR_LOST);
}

/* The journal holds an older state of the session. */
static void a_later_attempt_takes_over(void **state)
{
    struct world *w = *state;
    struct error e;
    char *label = label_of(w, "default", PARAMETERS, false);
    struct session *s = session_new(w->core, w->group, ID, "acme", "r-1");
    s->class_name = mem_strdup("default");
    s->parameters = mem_strdup(PARAMETERS);
    s->state = SESSION_OPENING;
    s->attempt = attempt_new(s, s->attempts_used = 1);
    struct attempt *first = s->attempt;
    assert_ptr_equal(adopt(w->group, KEY, "127.64.0.9", label, &e), s);
    assert_int_equal(first->state, ATTEMPT_ENDING);
    assert_int_equal(s->attempt->number, 2);
    assert_int_equal(s->attempts_used, 2);
    adopted = 0;
    refused(w->group, "cleat." ID ".1", label, ERR_CONFLICT);
    session_close(s, "deleted", NULL);
    refused(w->group, "cleat." ID ".3", label, ERR_CONFLICT);
    free(label);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_session_is_made_again),
        TEST(its_lifetime_counts_from_its_creation),
        TEST(who_does_not_come_back),
        TEST(what_can_only_close),
        TEST(an_environment_that_was_not_handed_over),
        TEST(a_later_attempt_takes_over),
    };
    return cmocka_run_group_tests_name("adopt", tests, NULL, NULL);
}
