#include "http/aws_chain.h"

#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "http/aws_assume.h"
#include "http/aws_keys.h"
#include "http/aws_metadata.h"
#include "http/aws_profile.h"

/* Fills plan when it is configured; else why not, in *e (ERR_NOT_FOUND) or what is wrong with
 * it. */
typedef enum error_code plan_fn(struct aws_plan *plan, struct error *e);

struct source {
    const char *name;
    plan_fn *plan;
};

struct aws_chain {
    struct loop *loop;
    struct http_client *client;
    char *region;
    struct task begin;
    const struct source *source; /* that is asked */
    struct aws_plan plan;
    size_t roles_done;
    struct buf reasons; /* of those that were asked before */
    struct aws_metadata *metadata;
    struct aws_assume *assume;
    aws_chain_fn *done;
    void *arg;
};

/* ---- which source is configured */

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

static enum error_code plan_environment(struct aws_plan *plan, struct error *e)
{
    const char *access = variable("AWS_ACCESS_KEY_ID");
    const char *secret = variable("AWS_SECRET_ACCESS_KEY");
    if (!access && !secret)
        return error_set(e, ERR_NOT_FOUND, "AWS_ACCESS_KEY_ID is not set");
    if (!access || !secret)
        return error_set(e, ERR_CONFIG,
                         "only one of AWS_ACCESS_KEY_ID and "
                         "AWS_SECRET_ACCESS_KEY is set");
    plan->base = AWS_BASE_ENVIRONMENT;
    return ERR_NONE;
}

static enum error_code plan_web_identity(struct aws_plan *plan, struct error *e)
{
    const char *file = variable("AWS_WEB_IDENTITY_TOKEN_FILE"), *arn = variable("AWS_ROLE_ARN");
    if (!file)
        return error_set(e, ERR_NOT_FOUND, "AWS_WEB_IDENTITY_TOKEN_FILE is not set");
    if (!arn)
        return error_set(e, ERR_CONFIG,
                         "AWS_WEB_IDENTITY_TOKEN_FILE is set, but AWS_ROLE_ARN is not");
    plan->base = AWS_BASE_WEB_IDENTITY;
    plan->token_file = mem_strdup(file);
    plan->roles[0].arn = mem_strdup(arn);
    plan->roles[0].session_name = mem_strdup(variable("AWS_ROLE_SESSION_NAME"));
    plan->role_count = 1;
    return ERR_NONE;
}

static enum error_code plan_profile(struct aws_plan *plan, struct error *e)
{
    const char *name = aws_profile_name();
    char *config = aws_profile_config(), *credentials = aws_profile_credentials();
    enum error_code code = aws_profile_plan(plan, config, credentials, name, e);
    mem_wipe(credentials, strlen(credentials));
    free(credentials);
    free(config);
    if (code == ERR_NONE && plan->base == AWS_BASE_NONE)
        return error_set(e, ERR_NOT_FOUND, "profile %.40s has no keys", name);
    return code;
}

static enum error_code plan_container(struct aws_plan *plan, struct error *e)
{
    if (!aws_container_configured())
        return error_set(e, ERR_NOT_FOUND, "no URI is set");
    plan->base = AWS_BASE_CONTAINER;
    return ERR_NONE;
}

static enum error_code plan_instance(struct aws_plan *plan, struct error *e)
{
    if (aws_instance_disabled())
        return error_set(e, ERR_NOT_FOUND, "AWS_EC2_METADATA_DISABLED is set");
    plan->base = AWS_BASE_INSTANCE;
    return ERR_NONE;
}

static const struct source sources[] = {
    {"environment", plan_environment}, {"web_identity", plan_web_identity},
    {"profile", plan_profile},         {"container", plan_container},
    {"instance", plan_instance},       {NULL, NULL},
};

/* ---- the end */

static void free_chain(struct aws_chain *c)
{
    task_stop(&c->begin);
    aws_metadata_cancel(c->metadata);
    aws_assume_cancel(c->assume);
    aws_plan_clear(&c->plan);
    buf_free(&c->reasons);
    free(c->region);
    free(c);
}

void aws_chain_cancel(struct aws_chain *c)
{
    free_chain(c);
}

static void succeed(struct aws_chain *c, const struct aws_keys *keys)
{
    c->done(c->arg, keys, c->source->name, NULL);
    free_chain(c);
}

static void add_reason(struct aws_chain *c, const struct error *why)
{
    buf_printf(&c->reasons, "%s%s: %s", c->reasons.len ? "; " : "", c->source->name,
               why->message);
}

/* What failed comes first: a sentence that is too long is cut at its end. */
static void fail(struct aws_chain *c, const struct error *why)
{
    struct error e;
    const char *before = c->reasons.data ? c->reasons.data : "";
    if (why)
        error_set(&e, ERR_PERMANENT, "no credentials: %s: %s%s%s", c->source->name,
                  why->message, *before ? "; " : "", before);
    else
        error_set(&e, ERR_PERMANENT, "no credentials: %s", before);
    c->done(c->arg, NULL, NULL, &e);
    free_chain(c);
}

/* ---- carrying out a plan */

static void took_keys(void *arg, const struct aws_keys *keys, const struct error *e);

static void use_keys(struct aws_chain *c, const struct aws_keys *keys)
{
    struct error e = {0};
    if (aws_keys_check(keys, loop_wall_ms(c->loop), &e) != ERR_NONE)
        fail(c, &e);
    else if (c->roles_done == c->plan.role_count)
        succeed(c, keys);
    else
        c->assume = aws_assume_start(c->loop, c->client, c->region,
                                     &c->plan.roles[c->roles_done++], keys, NULL, took_keys, c);
}

static void took_keys(void *arg, const struct aws_keys *keys, const struct error *e)
{
    struct aws_chain *c = arg;
    c->metadata = NULL;
    c->assume = NULL;
    if (keys)
        use_keys(c, keys);
    else
        fail(c, e);
}

static void use_environment(struct aws_chain *c)
{
    const char *token = variable("AWS_SESSION_TOKEN");
    use_keys(c,
             &(struct aws_keys){.access_key = getenv("AWS_ACCESS_KEY_ID"),
                                .secret_key = getenv("AWS_SECRET_ACCESS_KEY"),
                                .session_token = token ? getenv("AWS_SESSION_TOKEN") : NULL});
}

static void carry_out(struct aws_chain *c)
{
    switch (c->plan.base) {
    case AWS_BASE_ENVIRONMENT:
        use_environment(c);
        break;
    case AWS_BASE_WEB_IDENTITY:
        c->assume =
            aws_assume_start(c->loop, c->client, c->region, &c->plan.roles[c->roles_done++],
                             NULL, c->plan.token_file, took_keys, c);
        break;
    case AWS_BASE_CONTAINER:
        c->metadata = aws_container_start(c->loop, c->client, took_keys, c);
        break;
    case AWS_BASE_INSTANCE:
        c->metadata = aws_instance_start(c->loop, c->client, took_keys, c);
        break;
    default:
        use_keys(c, &c->plan.keys);
    }
}

static void begin(void *arg)
{
    struct aws_chain *c = arg;
    for (; c->source->name; c->source++) {
        struct error e = {0};
        enum error_code code = c->source->plan(&c->plan, &e);
        if (code == ERR_NONE) {
            carry_out(c);
            return;
        }
        if (code != ERR_NOT_FOUND) {
            fail(c, &e);
            return;
        }
        add_reason(c, &e);
    }
    fail(c, NULL);
}

struct aws_chain *aws_chain_start(struct loop *loop, struct http_client *client,
                                  const char *region, aws_chain_fn *done, void *arg)
{
    struct aws_chain *c = mem_alloc(sizeof *c);
    *c = (struct aws_chain){.loop = loop,
                            .client = client,
                            .region = mem_strdup(region),
                            .source = sources,
                            .done = done,
                            .arg = arg};
    task_init(&c->begin, loop, begin, c);
    task_wake(&c->begin);
    return c;
}
