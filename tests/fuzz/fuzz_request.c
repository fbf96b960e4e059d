/* Bodies of create and execute. What was accepted, in its canonical form, is accepted again and
 * means the same: a journal's row and a repeated create rely on it. Bytes: a choice, then JSON.
 */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat.h"
#include "fuzz.h"
#include "http/json.h"
#include "session/config.h"
#include "session/request.h"

static struct cleat_config *config;

static void set_up(void)
{
    if (config)
        return;
    config = cleat_config_new();
    must(cleat_config_set(config, "plain", "proof", "none", NULL, 0));
}

static bool is_name(const char *s)
{
    return s && *s && strlen(s) <= 128 && !strstr(s, "..") &&
           s[strspn(s,
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@+=-")] ==
               '\0';
}

static bool same(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void check_create(const struct create_request *r, const char *tenant)
{
    const char *key;
    json_t *value;
    const char *const names[] = {r->request_id, r->user, r->thread, r->run, r->parent};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        must(!names[i] || is_name(names[i]));
    must(is_name(r->tenant) && (!tenant || strcmp(tenant, r->tenant) == 0));
    must(config_class(config, r->class_name));
    must(r->create_timeout_s > 0 && r->idle_timeout_s >= 0 && r->max_lifetime_s >= 0);
    must(!r->input || !strstr(r->input, "/../"));
    json_object_foreach (r->env, key, value) {
        must(strncmp(key, "CLEAT_", 6) != 0 && strcmp(key, "SESSION_ID") != 0);
        must(json_is_string(value) && !strpbrk(key, "= \n"));
        must(strcmp(r->class_name, "plain") != 0);
    }
}

static void check_again(const struct create_request *r)
{
    struct create_request again;
    struct error e;
    must(create_request_parse(config, NULL, r->parameters, strlen(r->parameters), &again, &e));
    must(!again.request_id && strcmp(again.parameters, r->parameters) == 0);
    must(same(again.tenant, r->tenant) && same(again.user, r->user));
    must(same(again.thread, r->thread) && same(again.run, r->run));
    must(same(again.parent, r->parent) && same(again.class_name, r->class_name));
    must(same(again.input, r->input));
    must(again.create_timeout_s == r->create_timeout_s &&
         again.idle_timeout_s == r->idle_timeout_s &&
         again.max_lifetime_s == r->max_lifetime_s &&
         again.exec_timeout_s == r->exec_timeout_s);
    must(json_object_size(again.env) == json_object_size(r->env));
    must(!again.env || json_equal(again.env, r->env));
    create_request_release(&again);
}

static void try_create(const char *text, size_t len, const char *tenant)
{
    struct create_request r;
    struct error e;
    if (create_request_parse(config, tenant, text, len, &r, &e)) {
        check_create(&r, tenant);
        check_again(&r);
        create_request_release(&r);
    } else {
        fuzz_check_error(e.code, &e);
        must(!r.json && !r.parameters);
    }
}

static void try_execute(const char *text, size_t len, const char *class_name)
{
    struct group group = {.class = config_class(config, class_name)};
    struct session s = {.group = &group, .exec_timeout_s = 60};
    int64_t timeout_s = 0, output_limit = 0;
    struct error e;
    json_t *o = execute_request_parse(&s, text, len, &timeout_s, &output_limit, &e);
    if (!o) {
        fuzz_check_error(e.code, &e);
        return;
    }
    must(timeout_s >= 1 && timeout_s <= 86400);
    must(output_limit >= 1 && output_limit <= 8 * 1024 * 1024);
    must(!json_object_get(o, "session_id"));
    must(json_is_string(json_object_get(o, "code")) !=
         json_is_array(json_object_get(o, "argv")));
    must(group.class->proof != PROOF_NONE || json_object_get(o, "code"));
    char *canonical = js_text(o);
    int64_t timeout_again, limit_again;
    json_t *again = execute_request_parse(&s, canonical, strlen(canonical), &timeout_again,
                                          &limit_again, &e);
    must(again && json_equal(again, o));
    must(timeout_again == timeout_s && limit_again == output_limit);
    free(canonical);
    json_decref(again);
    json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz f = {data, size};
    size_t len;
    set_up();
    unsigned choice = fuzz_number(&f, 4);
    char *text = fuzz_bytes(&f, &len);
    if (choice < 2)
        try_create(text, len, choice ? "acme" : NULL);
    else
        try_execute(text, len, choice == 2 ? "default" : "plain");
    free(text);
    return 0;
}
