/* The pure parts of the session core: requests and rows of the journal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>
#include "base/log.h"
#include "base/mem.h"
#include "cleat.h"
#include "core_help.h"
#include "http/json.h"
#include "session/attempt.h"
#include "session/record.h"
#include "session/request.h"
#include "session/session.h"

struct world {
    struct event_base *base;
    struct cleat *core;
    char dir[64];
};

static int setup(void **state)
{
#define SHARED(class, backend)                                                                 \
    {class, "balancer", "haproxy"}, {class, "haproxy_sockets", "/nonexistent/haproxy"},        \
        {class, "haproxy_urls", "http://127.0.0.1:1"},                                         \
    {                                                                                          \
        class, "haproxy_backend", backend                                                      \
    }
    static const char *const options[][3] = {
        {NULL, "executor", "/bin/false"},  {"plain", "proof", "none"},
        {"none", "proof", "required"},     SHARED("shared", "b"),
        SHARED("shared-plain", "b"),       SHARED("apart", "c"),
        {"shared-plain", "proof", "none"}, {0}};
    struct world *w = mem_alloc(sizeof(*w));
    w->base = event_base_new();
    w->core = core_help_open(w->base, w->dir, options);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    int rc = core_help_close(w->core, w->base, w->dir);
    free(w);
    return rc;
}

static enum error_code parse(const struct world *w, const char *text, struct error *e)
{
    struct create_request r;
    if (create_request_parse(w->core->config, NULL, text, strlen(text), &r, e))
        create_request_release(&r);
    return e->code;
}

static void create_requests_are_checked(void **state)
{
    static const char *const bad[] = {"",
                                      "[]",
                                      "nonsense",
                                      "{\"user\":1}",
                                      "{\"user\":\"\"}",
                                      "{\"user\":null}",
                                      "{\"user\":\"undefined\"}",
                                      "{\"user\":\"NULL\"}",
                                      "{\"tenant\":\"placeholder\"}",
                                      "{\"user\":\"a/b\"}",
                                      "{\"user\":\"a..b\"}",
                                      "{\"user\":\"a\\r\\nX: y\"}",
                                      "{\"user\":\"a b\"}",
                                      "{\"surprise\":1}",
                                      "{\"idle_timeout_s\":0}",
                                      "{\"idle_timeout_s\":-1}",
                                      "{\"idle_timeout_s\":1.5}",
                                      "{\"idle_timeout_s\":99999999999999999999}",
                                      "{\"idle_timeout_s\":\"60\"}",
                                      "{\"class\":\"absent\"}",
                                      "{\"env\":[]}",
                                      "{\"env\":{\"A\":1}}",
                                      "{\"env\":{\"A=B\":\"1\"}}",
                                      "{\"env\":{\"1A\":\"1\"}}",
                                      "{\"env\":{\"\":\"1\"}}",
                                      "{\"env\":{\"CLEAT_SECRET\":\"1\"}}",
                                      "{\"env\":{\"SESSION_ID\":\"1\"}}",
                                      "{\"class\":\"plain\",\"env\":{\"A\":\"1\"}}",
                                      "{\"user\":\"a\",\"user\":\"b\"}",
                                      "{\"user\":\"\xff\"}",
                                      "{} {}"};
    struct error e;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (parse(*state, bad[i], &e) != ERR_INVALID)
            fail_msg("accepted: %s (%s)", bad[i], error_name(e.code));
        assert_true(strlen(e.message) > 0);
    }
    assert_int_equal(parse(*state, "{}", &e), ERR_NONE);
    assert_int_equal(parse(*state, "{\"class\":\"none\"}", &e),
                     ERR_NONE); /* it is configured */
    assert_int_equal(
        parse(*state, "{\"user\":\"ann@example.org\",\"env\":{\"A_1\":\"x\\ny\"}}", &e),
        ERR_NONE);
}

static void names_and_environment_have_limits(void **state)
{
    struct error e;
    struct buf {
        char text[200000];
    } *b = mem_alloc(sizeof(*b));
    strcpy(b->text, "{\"user\":\"");
    memset(b->text + strlen(b->text), 'a', 129);
    strcat(b->text, "\"}");
    assert_int_equal(parse(*state, b->text, &e), ERR_INVALID);
    memset(b, 0, sizeof(*b));
    strcpy(b->text, "{\"env\":{\"A\":\"");
    memset(b->text + strlen(b->text), 'a', 70000);
    strcat(b->text, "\"}}");
    assert_int_equal(parse(*state, b->text, &e), ERR_TOO_LARGE);
    free(b);
}

static void order_of_keys_does_not_make_another_request(void **state)
{
    struct world *w = *state;
    struct create_request a, b;
    struct error e;
    const char *one = "{\"user\":\"u\",\"request_id\":\"r1\",\"run\":\"x\"}";
    const char *two =
        "{\"run\":\"x\",\"tenant\":\"default\",\"user\":\"u\",\"request_id\":\"r2\"}";
    assert_true(create_request_parse(w->core->config, NULL, one, strlen(one), &a, &e));
    assert_true(create_request_parse(w->core->config, NULL, two, strlen(two), &b, &e));
    assert_string_equal(a.parameters, b.parameters);
    create_request_release(&a);
    create_request_release(&b);
}

static struct session *make(struct world *w, const char *id, const char *text)
{
    struct create_request r;
    struct error e;
    assert_true(create_request_parse(w->core->config, NULL, text, strlen(text), &r, &e));
    struct session *s = session_new(w->core, &w->core->groups[0], id, r.tenant, "request");
    session_fill(s, &r);
    create_request_release(&r);
    return s;
}

#define AN_ID "01890a5d-ac96-774b-bcce-b302099a8057"

static void execute_requests_are_checked(void **state)
{
    static const char *const bad[] = {"{}",
                                      "{\"code\":\"1\",\"argv\":[\"a\"]}",
                                      "{\"argv\":[]}",
                                      "{\"argv\":[1]}",
                                      "{\"argv\":\"ls\"}",
                                      "{\"code\":1}",
                                      "{\"code\":\"1\",\"timeout_s\":0}",
                                      "{\"code\":\"1\",\"session_id\":\"x\"}",
                                      "{\"code\":\"1\",\"execution_id\":\"../x\"}",
                                      "{\"code\":\"1\",\"execution_id\":\"\"}",
                                      "{\"code\":\"1\",\"output_limit\":1e3}"};
    struct world *w = *state;
    struct session *s = make(w, AN_ID, "{}");
    int64_t timeout_s, limit;
    struct error e;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_null(execute_request_parse(s, bad[i], strlen(bad[i]), &timeout_s, &limit, &e));
        assert_int_equal(e.code, ERR_INVALID);
    }
    const char *good = "{\"argv\":[\"ls\",\"-l\"],\"timeout_s\":7}";
    json_t *o = execute_request_parse(s, good, strlen(good), &timeout_s, &limit, &e);
    assert_non_null(o);
    assert_int_equal(timeout_s, 7);
    json_decref(o);
}

static void rows_bring_a_session_back(void **state)
{
    struct world *w = *state;
    struct session *s =
        make(w, AN_ID, "{\"user\":\"u\",\"env\":{\"A\":\"b\"},\"idle_timeout_s\":77}");
    struct attempt *a = attempt_new(s, 2);
    struct error e = {0};
    s->state = SESSION_READY;
    s->created = 1000;
    s->executed = 3;
    error_set(&s->error, ERR_DIED, "the container died: exit 1");
    strcpy(s->stop_reason, "container_died");
    session_span_open(s, "upload", 2, true);
    session_span_close(s, "upload", 2, "ok");
    a->launched = a->registered = a->touched = true;
    strcpy(a->container.id, "c1");
    strcpy(a->container.ip, "127.64.0.9");
    a->container.port = 8080;
    a->route.cookies.header = mem_strdup("AWSALB=x");
    a->cleanup.upload = STEP_OK;
    a->prepared = mem_strdup("{\"clientToken\":\"k\"}");
    a->grants.expires = 5000;
    a->grants.renew_at = 4000;

    char *session_text = session_row(s), *attempt_text = attempt_row(a);
    session_free(s);
    s = session_from_row(w->core, session_text, &e);
    assert_non_null(s);
    a = attempt_from_row(w->core, attempt_text, &e);
    assert_non_null(a);
    char *again = session_row(s), *attempt_again = attempt_row(a);
    assert_string_equal(session_text, again);
    assert_string_equal(attempt_text, attempt_again);
    assert_int_equal(s->idle_timeout_s, 77);
    assert_int_equal(s->error.code, ERR_DIED);
    assert_string_equal(a->container.ip, "127.64.0.9");
    assert_string_equal(a->prepared, "{\"clientToken\":\"k\"}");
    assert_int_equal(a->grants.expires, 5000);
    assert_int_equal(a->grants.renew_at, 4000);
    free(session_text);
    free(attempt_text);
    free(again);
    free(attempt_again);
}

#define NUMBERS                                                                                \
    ",\"created\":1,\"opened\":1,\"ready\":1,\"closing\":1,\"closed\":1,\"used\":1,\"launch_"  \
    "at\":0,"                                                                                  \
    "\"attempts\":1,\"failures\":0,\"executed\":0,\"executions_failed\":0,\"probes\":0,"       \
    "\"misroutes\":0"
#define ROW(state, class, more)                                                                \
    "{\"id\":\"" AN_ID                                                                         \
    "\",\"request_id\":\"r\",\"parameters\":\"{\\\"class\\\":\\\"" class "\\\","               \
                                                                         "\\\"tenant\\\":"     \
                                                                         "\\\"t\\\"}\","       \
                                                                         "\"state\":\"" state  \
                                                                         "\"" more "}"

static void only_live_sessions_need_their_class(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    assert_null(session_from_row(w->core, ROW("READY", "gone", NUMBERS), &e));
    assert_non_null(strstr(e.message, "gone"));
    e = (struct error){0};
    assert_null(
        session_from_row(w->core, ROW("CLOSED", "gone", ""), &e)); /* its times are gone */
    assert_int_equal(e.code, ERR_STORE);
    e = (struct error){0};
    struct session *s = session_from_row(w->core, ROW("CLOSED", "gone", NUMBERS), &e);
    assert_non_null(s);
    assert_string_equal(s->class_name, "gone");
    assert_string_equal(s->context.tenant, "t");
    assert_ptr_equal(core_find_request(w->core, "t", "r"), s);
}

static void a_closed_session_forgets_its_environment(void **state)
{
    struct world *w = *state;
    struct session *s = make(w, AN_ID, "{\"user\":\"u\",\"env\":{\"TOKEN\":\"hush\"}}");
    session_go(s, SESSION_CLOSED);
    assert_null(s->env);
    assert_null(strstr(s->parameters, "hush"));
    assert_non_null(strstr(s->parameters, "\"user\":\"u\""));
}

struct outcome {
    int calls;
    char code[32];
};

static void take_outcome(void *arg, const struct cleat_error *error, const char *document)
{
    struct outcome *o = arg;
    o->calls++;
    mem_copy_string(o->code, sizeof(o->code),
                    error      ? error->code
                    : document ? "ok"
                               : "nothing");
}

static void wait_for(struct world *w, const struct outcome *o)
{
    for (int i = 0; i < 1000 && o->calls == 0; i++)
        event_base_loop(w->base, EVLOOP_ONCE);
    assert_int_equal(o->calls, 1);
}

static const char *create(struct world *w, const char *tenant, const char *request,
                          struct outcome *o)
{
    *o = (struct outcome){0};
    cleat_create(w->core, tenant, request, strlen(request), take_outcome, o);
    assert_int_equal(o->calls, 0); /* never before it returns */
    wait_for(w, o);
    return o->code;
}

static void tenants_are_walled_off(void **state)
{
    struct world *w = *state;
    struct outcome o;
    const char *plain = "{\"class\":\"plain\",\"tenant\":\"a\"}";
    assert_string_equal(create(w, "a", "{\"tenant\":\"b\"}", &o), "forbidden");
    assert_string_equal(create(w, NULL, plain, &o), "ok");
    assert_string_equal(create(w, "a", plain, &o), "ok");
    assert_string_equal(create(w, "b", "{\"class\":\"plain\"}", &o), "forbidden");
    assert_string_equal(create(w, "b", "{\"request_id\":\"r\"}", &o), "ok");
    assert_string_equal(create(w, "b", "{\"request_id\":\"r\",\"class\":\"default\"}", &o),
                        "ok");
    assert_string_equal(create(w, "b", "{\"request_id\":\"r\",\"user\":\"x\"}", &o),
                        "conflict");
    struct session *s = core_find_request(w->core, "b", "r");
    assert_non_null(s);
    assert_null(core_find_request(w->core, "a", "r"));
    char *own = cleat_session(w->core, "b", s->id),
         *others = cleat_session(w->core, "a", s->id);
    assert_non_null(own);
    assert_null(others);
    free(own);
    o = (struct outcome){0};
    cleat_close(w->core, "a", s->id, take_outcome, &o);
    wait_for(w, &o);
    assert_string_equal(o.code, "not_found");
    o = (struct outcome){0};
    cleat_close(w->core, "b", s->id, take_outcome, &o);
    wait_for(w, &o);
    assert_string_equal(o.code, "ok");
    assert_string_equal(create(w, "b", "{\"request_id\":\"r\"}", &o), "request_id_closed");
}

/* What cannot prove itself is alone with its tenant, whichever class names the target group. */
/* ---- lists ---- */

#define LISTED 1000 /* of those that are over */

static void add_to_list(struct world *w, unsigned n, const char *tenant,
                        enum session_state state)
{
    char id[ID_SIZE];
    uint8_t random[10] = {(uint8_t)(n >> 8), (uint8_t)n};
    id_make(id, core_now(w->core), random);
    struct session *s = session_new(w->core, &w->core->groups[0], id, tenant, id);
    s->class_name = mem_strdup("default");
    s->created = n;
    session_set_state(s, state);
}

static json_t *list_of(const struct world *w, const char *tenant, bool truncated)
{
    char *text = cleat_sessions(w->core, tenant);
    json_t *o = js_parse_object(text, strlen(text), NULL);
    json_t *list = json_incref(json_object_get(o, "sessions"));
    assert_int_equal(json_is_true(json_object_get(o, "truncated")), truncated);
    json_decref(o);
    free(text);
    return list;
}

static void assert_first(const json_t *list, const char *created)
{
    const json_t *first = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(first, "created_at")), created);
}

static void lists_hold_what_is_open_and_the_newest_of_the_rest(void **state)
{
    struct world *w = *state;
    add_to_list(w, 1, "many", SESSION_READY);
    for (unsigned i = 0; i < LISTED; i++)
        add_to_list(w, i + 2, "many", SESSION_CLOSED);
    add_to_list(w, LISTED + 2, "few", SESSION_FAILED);
    json_t *many = list_of(w, "many", false), *few = list_of(w, "few", false);
    json_t *none = list_of(w, "none", false), *all = list_of(w, NULL, true);
    assert_int_equal(json_array_size(many), LISTED + 1);
    assert_int_equal(json_array_size(few), 1);
    assert_int_equal(json_array_size(none), 0);
    assert_int_equal(json_array_size(all), LISTED + 1); /* one of "many" is left out */
    assert_first(all, "1970-01-01T00:00:00.001Z");
    json_array_remove(all, 0);
    assert_first(all, "1970-01-01T00:00:00.003Z");
    assert_first(few, "1970-01-01T00:00:01.002Z");
    json_decref(many);
    json_decref(few);
    json_decref(none);
    json_decref(all);
}

static void one_target_group_is_one_wall(void **state)
{
    struct world *w = *state;
    struct outcome o;
    assert_string_equal(create(w, "a", "{\"class\":\"shared\"}", &o), "ok");
    assert_string_equal(create(w, "b", "{\"class\":\"shared\"}", &o), "ok"); /* both prove it */
    assert_string_equal(create(w, "a", "{\"class\":\"shared-plain\"}", &o), "forbidden");
    assert_string_equal(create(w, "b", "{\"class\":\"apart\"}", &o), "ok");
}

static void proven_ones_keep_away_from_plain_ones(void **state)
{
    struct world *w = *state;
    struct outcome o;
    assert_string_equal(create(w, "a", "{\"class\":\"shared-plain\"}", &o), "ok");
    assert_string_equal(create(w, "a", "{\"class\":\"shared\"}", &o), "ok");
    assert_string_equal(create(w, "b", "{\"class\":\"shared\"}", &o), "forbidden");
    assert_string_equal(create(w, "b", "{\"class\":\"apart\"}", &o), "ok");
    assert_string_equal(create(w, "b", "{\"class\":\"plain\"}", &o), "ok");
}

static void a_lost_master_key_is_not_replaced(void **state)
{
    struct world *w = *state;
    struct outcome o;
    char why[256] = "";
    assert_string_equal(create(w, NULL, "{\"class\":\"plain\"}", &o), "ok");
    cleat_free(w->core);
    char *key = mem_printf("%s/master.key", w->dir);
    assert_int_equal(unlink(key), 0);
    struct cleat_config *config = cleat_config_new();
    assert_true(cleat_config_set(config, NULL, "state_dir", w->dir, why, sizeof(why)));
    w->core = cleat_new(w->base, config, why, sizeof(why));
    assert_null(w->core);
    assert_non_null(strstr(why, "master.key"));
    assert_int_equal(access(key, F_OK), -1);
    free(key);
}

static void an_unreadable_master_key_is_not_replaced(void **state)
{
    struct world *w = *state;
    char why[256] = "";
    cleat_free(w->core); /* its journal is empty */
    char *key = mem_printf("%s/master.key", w->dir);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(symlink("nowhere", key), 0);
    struct cleat_config *config = cleat_config_new();
    assert_true(cleat_config_set(config, NULL, "state_dir", w->dir, why, sizeof(why)));
    w->core = cleat_new(w->base, config, why, sizeof(why));
    assert_null(w->core);
    assert_non_null(strstr(why, "master.key: cannot be read"));
    assert_int_equal(unlink(key), 0);
    free(key);
}

/* What is still being closed of it needs the class's engine, not another's. */
static void a_class_that_is_needed_is_missed(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    assert_non_null(session_from_row(
        w->core,
        "{\"id\":\"" AN_ID "\",\"request_id\":\"r\",\"state\":\"CLOSED\",\"parameters\":"
        "\"{\\\"class\\\":\\\"gone\\\",\\\"tenant\\\":\\\"t\\\"}\",\"created\":1,"
        "\"opened\":1,\"ready\":1,\"closing\":1,\"closed\":1,\"used\":1,\"launch_at\":1,"
        "\"attempts\":2,\"failures\":0,\"executed\":0,\"executions_failed\":0,\"probes\":0,"
        "\"misroutes\":0,\"spans\":[]}",
        &e));
    assert_non_null(attempt_from_row(
        w->core, "{\"session\":\"" AN_ID "\",\"number\":1,\"state\":\"ENDED\"}", &e));
    assert_null(attempt_from_row(
        w->core, "{\"session\":\"" AN_ID "\",\"number\":2,\"state\":\"ENDING\"}", &e));
    assert_int_equal(e.code, ERR_CONFIG);
    assert_non_null(strstr(e.message, "class gone is not configured"));
}

static bool is_refused(struct world *w, const char *row, const char *was, const char *is)
{
    struct error e = {0};
    struct attempt *a = attempt_from_row(w->core, row, &e);
    if (a) {
        attempt_free(a);
        return false;
    }
    assert_int_equal(e.code, ERR_CONFIG);
    const char *const words[] = {AN_ID, was, is, "put it back", "(cleat drain)"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (!strstr(e.message, words[i]))
            fail_msg("\"%s\" is not said: %s", words[i], e.message);
    return true;
}

/* Another engine, or one that is asked under another label, knows nothing of it and would call
 * it dead. */
static void a_container_needs_its_engine_and_owner(void **state)
{
    struct world *w = *state;
    struct session *s = make(w, AN_ID, "{}");
    struct attempt *a = attempt_new(s, 1);
    char *live = attempt_row(a), *engine = s->group->engine, *owner = w->core->settings->owner;
    attempt_set_state(a, ATTEMPT_ENDED);
    char *ended = attempt_row(a);
    attempt_free(a);
    assert_false(is_refused(w, live, "", ""));
    s->group->engine = (char *)"docker at /run/docker.sock";
    assert_true(is_refused(w, live, "\"process\"", "\"docker at /run/docker.sock\""));
    assert_false(is_refused(w, ended, "", ""));
    s->group->engine = engine;
    w->core->settings->owner = (char *)"other";
    assert_true(is_refused(w, live, "owner cleat", "owner is other"));
    assert_false(is_refused(w, ended, "", ""));
    assert_false(
        is_refused(w, "{\"session\":\"" AN_ID "\",\"number\":1,\"state\":\"LIVE\"}", "", ""));
    w->core->settings->owner = owner;
    free(live);
    free(ended);
}

#define WARM_ROW(state)                                                                        \
    "{\"id\":\"" AN_ID "\",\"request_id\":\"" AN_ID "\",\"state\":\"" state                    \
    "\",\"parameters\":"                                                                       \
    "\"{\\\"class\\\":\\\"gone\\\",\\\"tenant\\\":\\\"\\\"}\",\"warm\":{\"class\":\"gone\"},"  \
    "\"created\":1,\"opened\":1,\"ready\":1,\"closing\":1,\"closed\":1,\"used\":1,"            \
    "\"launch_at\":1,\"attempts\":1,\"failures\":0,\"executed\":0,\"executions_failed\":0,"    \
    "\"probes\":0,\"misroutes\":0,\"spans\":[]}"

/* A pool can be removed with its class once it is closed; until then the start says how. */
static void a_class_with_warm_containers_is_missed(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    assert_null(session_from_row(w->core, WARM_ROW("READY"), &e));
    assert_int_equal(e.code, ERR_CONFIG);
    assert_non_null(strstr(e.message, "class gone is not configured"));
    assert_non_null(strstr(e.message, "warm_max = 0"));
    e = (struct error){0};
    assert_null(session_from_row(w->core, WARM_ROW("CLOSING"), &e));
    assert_int_equal(e.code, ERR_CONFIG);
    e = (struct error){0};
    struct session *s = session_from_row(w->core, WARM_ROW("CLOSED"), &e);
    assert_non_null(s);
    assert_string_equal(s->class_name, "gone");
    assert_non_null(attempt_from_row(
        w->core, "{\"session\":\"" AN_ID "\",\"number\":1,\"state\":\"ENDED\"}", &e));
    session_free(s);
}

static void damaged_rows_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{\"id\":\"x\"}",
        "[1]",
        "{\"id\":\"" AN_ID "\",\"request_id\":\"r\",\"parameters\":\"{}\","
        "\"state\":\"WRONG\"}",
        "{\"id\":\"" AN_ID "\",\"request_id\":\"r\",\"parameters\":\"[]\","
        "\"state\":\"READY\"}"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e = {0};
        assert_null(session_from_row(w->core, bad[i], &e));
        assert_int_not_equal(e.code, ERR_NONE);
        e = (struct error){0};
        assert_null(attempt_from_row(w->core, bad[i], &e));
        assert_int_not_equal(e.code, ERR_NONE);
    }
}

static void launch_keys_lead_to_their_attempt(void **state)
{
    struct world *w = *state;
    struct session *s = make(w, AN_ID, "{}");
    struct attempt *a = attempt_new(s, 3);
    assert_ptr_equal(core_find_attempt(w->core, a->key), a);
    assert_null(core_find_attempt(w->core, "cleat." AN_ID ".4"));
    assert_null(core_find_attempt(w->core, "other." AN_ID ".3"));
    assert_null(core_find_attempt(w->core, "cleat"));
    assert_null(core_find_attempt(w->core, "cleat." AN_ID));
    assert_null(core_find_attempt(w->core, "cleat."));
    assert_true(strlen(a->key) < KEY_SIZE);
}

static json_t *document_of(struct world *w)
{
    char *text = cleat_session(w->core, NULL, AN_ID);
    json_t *o = js_parse_object(text, strlen(text), NULL);
    assert_non_null(o);
    free(text);
    return o;
}

static void assert_target(struct world *w, const char *target, const char *reason)
{
    json_t *o = document_of(w),
           *wanted = json_pack("{s:s?, s:s?}", "target", target, "target_reason", reason);
    const char *key;
    json_t *value;
    json_object_foreach (wanted, key, value)
        assert_true(json_equal(json_object_get(o, key), value));
    json_decref(wanted);
    json_decref(o);
}

static void a_document_says_how_its_container_is_seen(void **state)
{
    struct world *w = *state;
    struct session *s = make(w, AN_ID, "{}");
    assert_target(w, NULL, NULL);
    struct attempt *a = s->attempt = attempt_new(s, 1);
    assert_target(w, NULL, NULL);
    a->registered = true;
    assert_target(w, "unknown", NULL);
    a->target = TARGET_CHECKING;
    mem_copy_string(a->target_reason, sizeof(a->target_reason), "L7STS");
    assert_target(w, "checking", "L7STS");
}

static void a_document_says_why_the_newest_attempt_failed(void **state)
{
    static const char *const reasons[] = {"exit status 1", "exit status 2"};
    struct world *w = *state;
    struct session *s = make(w, AN_ID, "{}");
    session_set_state(s, SESSION_OPENING);
    json_t *o = document_of(w);
    assert_true(json_is_null(json_object_get(o, "attempt_error")));
    json_decref(o);
    for (unsigned n = 1; n <= 2; n++) {
        struct error e;
        error_set(&e, ERR_DIED, "%s", reasons[n - 1]);
        s->attempt = attempt_new(s, n);
        attempt_fail(s->attempt, &e);
        o = document_of(w);
        json_t *wanted = json_pack("{s:i, s:s, s:s}", "attempt", (int)n, "code",
                                   "container_died", "message", reasons[n - 1]);
        assert_true(json_equal(json_object_get(o, "attempt_error"), wanted));
        json_decref(wanted);
        json_decref(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(create_requests_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(names_and_environment_have_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(order_of_keys_does_not_make_another_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(execute_requests_are_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_bring_a_session_back, setup, teardown),
        cmocka_unit_test_setup_teardown(only_live_sessions_need_their_class, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_session_forgets_its_environment, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(tenants_are_walled_off, setup, teardown),
        cmocka_unit_test_setup_teardown(lists_hold_what_is_open_and_the_newest_of_the_rest,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(one_target_group_is_one_wall, setup, teardown),
        cmocka_unit_test_setup_teardown(proven_ones_keep_away_from_plain_ones, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_master_key_is_not_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unreadable_master_key_is_not_replaced, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_class_that_is_needed_is_missed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_container_needs_its_engine_and_owner, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_class_with_warm_containers_is_missed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(damaged_rows_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(launch_keys_lead_to_their_attempt, setup, teardown),
        cmocka_unit_test_setup_teardown(a_document_says_how_its_container_is_seen, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_document_says_why_the_newest_attempt_failed, setup,
                                        teardown),
    };
    return cmocka_run_group_tests_name("session", tests, NULL, NULL);
}
