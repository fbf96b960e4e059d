/* Reads what a configuration names at its engines and tells what would hurt, before anything
 * runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "cleat.h"
#include "driver/grant.h"
#include "driver/s3_url.h"
#include "session/config.h"
#include "session/drivers.h"

#define LIMIT_MS (30 * 1000)
#define CHECK_SESSION "cleat-check" /* whose prefix the role is narrowed to */
#define MAX_ANSWER 65536

/* One class under examination. */
struct subject {
    struct cleat_examination *x;
    const struct class *class;
    struct s3_url store;
    const struct runtime_ops *runtime_ops;
    struct runtime *runtime;
    const struct balancer_ops *balancer_ops;
    struct balancer *balancer;
    struct aws_call *bucket, *inside, *outside;
    struct grant *grant;
    struct aws *narrowed; /* with the credentials that a session would get */
    unsigned waiting;     /* for so many answers */
};

struct cleat_examination {
    struct loop *loop;
    struct http_client *client;
    struct aws *aws;
    const struct cleat_config *config;
    struct subject *subjects;
    size_t count;
    struct timer limit;
    struct task end;
    bool over;
    cleat_finding_fn *finding;
    void (*done)(void *arg);
    void *arg;
};

static void tell(void *arg, enum finding_level level, const char *problem, const char *cure)
{
    struct subject *s = arg;
    s->x->finding(s->x->arg, s->class->name, level == FINDING_ERROR ? 0 : 1, problem, cure);
}

static void tell_error(struct subject *s, const char *what, const struct error *e,
                       const char *cure)
{
    char *problem = mem_printf("%s%s%s", what, *what ? ": " : "", e->message);
    tell(s, FINDING_ERROR, problem, cure);
    free(problem);
}

static unsigned all_waiting(const struct cleat_examination *x)
{
    unsigned n = 0;
    for (size_t i = 0; i < x->count; i++)
        n += x->subjects[i].waiting;
    return n;
}

static void end(void *arg)
{
    struct cleat_examination *x = arg;
    if (x->over)
        return;
    x->over = true;
    timer_stop(&x->limit);
    x->done(x->arg);
}

static void one_less(struct subject *s)
{
    s->waiting--;
    if (all_waiting(s->x) == 0)
        task_wake(&s->x->end);
}

/* ---- drivers ---- */

static void driver_done(void *arg, const struct error *e)
{
    struct subject *s = arg;
    if (s->x->over)
        return;
    if (e && e->code != ERR_NONE)
        tell_error(s, "", e, "credentials, region, network or permissions of this machine");
    one_less(s);
}

static void no_exit(void *arg, const char *key, const char *cause, bool in_order)
{
    (void)arg, (void)key, (void)cause, (void)in_order;
}

static void no_progress(void *arg, const char *key, const char *text)
{
    (void)arg, (void)key, (void)text;
}

static void no_target(void *arg, const char *id, enum target_state state, const char *reason)
{
    (void)arg, (void)id, (void)state, (void)reason;
}

static void examine_runtime(struct subject *s)
{
    struct cleat_examination *x = s->x;
    const struct settings *set = &x->config->settings;
    struct error e = {0};
    s->runtime_ops = runtime_of(s->class);
    if (!s->runtime_ops->examine)
        return;
    s->runtime = s->runtime_ops->open(&(struct runtime_env){.loop = x->loop,
                                                            .client = x->client,
                                                            .class = s->class,
                                                            .owner = set->owner,
                                                            .state_dir = set->state_dir,
                                                            .executor = set->executor,
                                                            .aws = x->aws,
                                                            .on_exit = no_exit,
                                                            .on_progress = no_progress,
                                                            .arg = s},
                                      &e);
    if (!s->runtime) {
        tell_error(s, "", &e, "correct the option");
        return;
    }
    s->waiting++;
    s->runtime_ops->examine(s->runtime, tell, driver_done, s);
}

static void examine_balancer(struct subject *s)
{
    struct cleat_examination *x = s->x;
    struct error e = {0};
    s->balancer_ops = balancer_of(s->class);
    if (!s->balancer_ops->examine)
        return;
    s->balancer =
        s->balancer_ops->open(&(struct balancer_env){.loop = x->loop,
                                                     .client = x->client,
                                                     .class = s->class,
                                                     .owner = x->config->settings.owner,
                                                     .aws = x->aws,
                                                     .on_target = no_target,
                                                     .arg = s},
                              &e);
    if (!s->balancer) {
        tell_error(s, "", &e, "correct the option");
        return;
    }
    s->waiting++;
    s->balancer_ops->examine(s->balancer, tell, driver_done, s);
}

/* ---- the bucket ---- */

static void bucket_answered(void *arg, const struct aws_answer *answer)
{
    struct subject *s = arg;
    const char *region = NULL;
    char *problem = NULL;
    const char *cure = "credentials, network or permissions of this machine";
    s->bucket = NULL;
    for (size_t i = 0; i < answer->header_count; i++)
        if (strcasecmp(answer->headers[i].name, "x-amz-bucket-region") == 0)
            region = answer->headers[i].value;
    if (region && strcmp(region, aws_region(s->x->aws)) != 0) {
        problem = mem_printf("the bucket %s of artifacts is in region %s, this is %s",
                             s->store.bucket, region, aws_region(s->x->aws));
        cure = "a bucket in the region of the tasks, or another aws_region";
    } else if (answer->status == 404) {
        problem = mem_printf("the bucket %s of artifacts does not exist", s->store.bucket);
        cure = "make it, or correct artifacts";
    } else if (answer->error.code != ERR_NONE) {
        problem = mem_printf("the bucket %s of artifacts: %s", s->store.bucket,
                             answer->error.message);
    }
    if (problem)
        tell(s, FINDING_ERROR, problem, cure);
    free(problem);
    one_less(s);
}

static void examine_bucket(struct subject *s)
{
    struct aws_request request = {.service = AWS_S3,
                                  .action = "HeadBucket",
                                  .method = "HEAD",
                                  .bucket = s->store.bucket,
                                  .max_answer = MAX_ANSWER};
    s->waiting++;
    s->bucket = aws_start(s->x->aws, &request, bucket_answered, s);
}

/* ---- the role of sessions ---- */

static struct aws_call *list_prefix(struct subject *s, const char *name, aws_done_fn *done)
{
    char *prefix = mem_printf("%s%s%s/", s->store.prefix, *s->store.prefix ? "/" : "", name);
    char *encoded = aws_encode(prefix, false);
    char *query = mem_printf("list-type=2&max-keys=1&prefix=%s", encoded);
    struct aws_request request = {.service = AWS_S3,
                                  .action = "ListObjectsV2",
                                  .method = "GET",
                                  .bucket = s->store.bucket,
                                  .query = query,
                                  .max_answer = MAX_ANSWER};
    s->waiting++;
    struct aws_call *call = aws_start(s->narrowed, &request, done, s);
    free(query);
    free(encoded);
    free(prefix);
    return call;
}

static void inside_answered(void *arg, const struct aws_answer *answer)
{
    struct subject *s = arg;
    s->inside = NULL;
    if (answer->error.code != ERR_NONE)
        tell_error(s, "s3_role does not reach its sessions' prefix", &answer->error,
                   "let the role use the whole of artifacts in S3");
    one_less(s);
}

static void outside_answered(void *arg, const struct aws_answer *answer)
{
    struct subject *s = arg;
    s->outside = NULL;
    if (answer->error.code == ERR_NONE)
        tell(s, FINDING_ERROR, "credentials of one session reach the prefix of another",
             "take away the bucket policy that gives them that");
    one_less(s);
}

static void role_answered(void *arg, const struct error *e, const struct aws_keys *keys)
{
    struct subject *s = arg;
    s->grant = NULL;
    if (keys) {
        s->narrowed = aws_new(s->x->loop, s->x->client, aws_region(s->x->aws), keys);
        s->inside = list_prefix(s, CHECK_SESSION, inside_answered);
        s->outside = list_prefix(s, CHECK_SESSION "-other", outside_answered);
    } else {
        tell_error(s, "s3_role cannot be assumed", e,
                   "a trust policy of the role that names this machine's identity");
    }
    one_less(s);
}

static void examine_role(struct subject *s)
{
    s->waiting++;
    s->grant = grant_start(s->x->loop, s->x->aws, s->class, s->x->config->settings.owner,
                           CHECK_SESSION, role_answered, s);
}

/* ---- all of it ---- */

static void too_late(void *arg)
{
    struct cleat_examination *x = arg;
    for (size_t i = 0; i < x->count; i++)
        if (x->subjects[i].waiting > 0)
            tell(&x->subjects[i], FINDING_ERROR, "no answer within 30 s",
                 "the network between this machine and what the class names");
    end(x);
}

struct cleat_examination *cleat_config_examine(struct event_base *base,
                                               const struct cleat_config *config,
                                               cleat_finding_fn *finding,
                                               void (*done)(void *arg), void *arg)
{
    struct cleat_examination *x = mem_alloc(sizeof(*x));
    const char *region = config->settings.aws_region;
    x->loop = loop_new(base);
    x->client = http_client_new(x->loop);
    x->aws = aws_new(x->loop, x->client, *region ? region : NULL, NULL);
    x->config = config;
    x->finding = finding;
    x->done = done;
    x->arg = arg;
    x->count = config->class_count;
    x->subjects = mem_array(x->count, sizeof(*x->subjects));
    timer_init(&x->limit, x->loop, too_late, x);
    task_init(&x->end, x->loop, end, x);
    for (size_t i = 0; i < x->count; i++) {
        struct subject *s = &x->subjects[i];
        s->x = x;
        s->class = &config->classes[i];
        examine_runtime(s);
        examine_balancer(s);
        if (s3_url_parse(&s->store, s->class->artifacts))
            examine_bucket(s);
        if (*s->class->s3_role)
            examine_role(s);
    }
    timer_arm(&x->limit, all_waiting(x) > 0 ? LIMIT_MS : 0);
    return x;
}

static void drop_subject(struct subject *s)
{
    struct aws_call *const calls[] = {s->bucket, s->inside, s->outside};
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (calls[i])
            aws_cancel(calls[i]);
    grant_cancel(s->grant);
    if (s->narrowed)
        aws_free(s->narrowed);
    if (s->balancer)
        s->balancer_ops->close(s->balancer);
    if (s->runtime)
        s->runtime_ops->close(s->runtime);
}

void cleat_examination_free(struct cleat_examination *x)
{
    if (!x)
        return;
    timer_stop(&x->limit);
    task_stop(&x->end);
    for (size_t i = 0; i < x->count; i++)
        drop_subject(&x->subjects[i]);
    free(x->subjects);
    aws_free(x->aws);
    http_client_free(x->client);
    loop_free(x->loop);
    free(x);
}
