#include "http/aws_assume.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "http/aws_endpoint.h"
#include "http/aws_fetch.h"
#include "http/aws_keys.h"
#include "loop/child.h"

#define TOKEN_MAX 65536
#define GLOBAL_REGION "us-east-1" /* that the global endpoint signs for */

static const struct aws_fetch_limits limits = {5000, 10000, 3};

struct aws_assume {
    struct loop *loop;
    struct http_client *client;
    struct task begin;
    struct aws_fetch *fetch;
    char *region, *token_file, *arn, *session_name, *external_id;
    int duration_s;
    bool by_token;
    struct aws_keys keys;
    aws_metadata_fn *done;
    void *arg;
};

static void free_assume(struct aws_assume *a)
{
    task_stop(&a->begin);
    aws_keys_clear(&a->keys);
    free(a->region);
    free(a->token_file);
    free(a->arn);
    free(a->session_name);
    free(a->external_id);
    free(a);
}

void aws_assume_cancel(struct aws_assume *a)
{
    if (!a)
        return;
    aws_fetch_cancel(a->fetch);
    free_assume(a);
}

static const char *action_of(const struct aws_assume *a)
{
    return a->by_token ? "AssumeRoleWithWebIdentity" : "AssumeRole";
}

static void finish(struct aws_assume *a, const struct aws_keys *keys, const struct error *e)
{
    struct error whole;
    if (!keys)
        error_set(&whole, ERR_PERMANENT, "%s: %.190s", action_of(a), e->message);
    a->done(a->arg, keys, keys ? NULL : &whole);
    free_assume(a);
}

static void answered(void *arg, const struct http_answer *answer)
{
    struct aws_assume *a = arg;
    struct aws_keys keys = {0};
    struct error e = {0};
    a->fetch = NULL;
    if (answer->error.code != ERR_NONE || answer->status != 200)
        aws_fetch_complain(answer, &e);
    else if (aws_keys_from_sts(&keys, action_of(a), answer->body, answer->body_len, &e) ==
             ERR_NONE)
        aws_keys_check(&keys, loop_wall_ms(a->loop), &e);
    finish(a, e.code == ERR_NONE ? &keys : NULL, &e);
    aws_keys_clear(&keys);
}

static void add(struct buf *form, const char *name, const char *value)
{
    char *encoded = aws_encode(value, false);
    buf_printf(form, "&%s=%s", name, encoded);
    mem_wipe(encoded, strlen(encoded));
    free(encoded);
}

static bool add_token(struct buf *form, const char *path, struct error *e)
{
    char *token = path ? file_read(path, TOKEN_MAX) : NULL;
    if (!token) {
        error_set(e, ERR_CONFIG, "the token's file %.120s cannot be read", path ? path : "");
        return false;
    }
    size_t len = strlen(token);
    while (len > 0 && isspace((unsigned char)token[len - 1]))
        token[--len] = '\0';
    add(form, "WebIdentityToken", token);
    mem_wipe(token, len);
    free(token);
    return true;
}

static bool make_form(struct aws_assume *a, struct buf *form, struct error *e)
{
    buf_puts(form, "RoleArn=");
    char *arn = aws_encode(a->arn ? a->arn : "", false);
    buf_puts(form, arn);
    free(arn);
    char *name = a->session_name
                     ? mem_strdup(a->session_name)
                     : mem_printf("cleat-%lld", (long long)loop_wall_ms(a->loop) / 1000);
    add(form, "RoleSessionName", name);
    free(name);
    if (a->external_id)
        add(form, "ExternalId", a->external_id);
    if (a->duration_s > 0)
        buf_printf(form, "&DurationSeconds=%d", a->duration_s);
    return !a->by_token || add_token(form, a->token_file, e);
}

static bool prepare(struct aws_assume *a, struct aws_message *m, struct error *e)
{
    struct buf form = {0};
    bool good = make_form(a, &form, e);
    struct aws_request request = {
        .service = AWS_STS, .action = action_of(a), .body = form.data, .body_len = form.len};
    if (good && *a->region && !aws_region_valid(a->region))
        good = error_set(e, ERR_CONFIG, "\"%.60s\" is no region", a->region) == ERR_NONE;
    if (good)
        good = aws_prepare(m, &request, a->region, e) == ERR_NONE;
    mem_wipe(form.data, form.len);
    buf_free(&form);
    return good;
}

static void begin(void *arg)
{
    struct aws_assume *a = arg;
    struct aws_message message;
    struct error e = {0};
    if (!prepare(a, &message, &e)) {
        finish(a, NULL, &e);
        return;
    }
    a->fetch = aws_fetch_start(a->loop, a->client, &message, a->by_token ? NULL : &a->keys,
                               *a->region ? a->region : GLOBAL_REGION, &limits, answered, a);
}

struct aws_assume *aws_assume_start(struct loop *loop, struct http_client *client,
                                    const char *region, const struct aws_role *role,
                                    const struct aws_keys *keys, const char *token_file,
                                    aws_metadata_fn *done, void *arg)
{
    struct aws_assume *a = mem_alloc(sizeof *a);
    *a = (struct aws_assume){.loop = loop,
                             .client = client,
                             .region = mem_strdup(region),
                             .token_file = mem_strdup(token_file),
                             .arn = mem_strdup(role->arn),
                             .session_name = mem_strdup(role->session_name),
                             .external_id = mem_strdup(role->external_id),
                             .duration_s = role->duration_s,
                             .by_token = keys == NULL,
                             .done = done,
                             .arg = arg};
    if (keys)
        aws_keys_copy(&a->keys, keys);
    task_init(&a->begin, loop, begin, a);
    task_wake(&a->begin);
    return a;
}
