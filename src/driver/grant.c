/* AssumeRole (AWS STS API Reference); a role session's name has 2 to 64 of [A-Za-z0-9_+=,.@-].
 */
#include "driver/grant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/buf.h"
#include "base/mem.h"
#include "driver/s3_url.h"
#include "http/json.h"
#include "http/xml.h"

#define SESSION_NAME_MAX 64

struct grant {
    struct aws_call *call;
    struct loop *loop;
    grant_fn *done;
    void *arg;
};

/* "aws" of "arn:aws:iam::…" */
static char *partition_of(const char *role)
{
    const char *from = strncmp(role, "arn:", 4) == 0 ? role + 4 : "aws:";
    return mem_strndup(from, strcspn(from, ":"));
}

char *grant_policy(const char *role, const char *bucket, const char *prefix,
                   const char *session)
{
    char *partition = partition_of(role);
    const char *slash = *prefix ? "/" : "";
    char *below = mem_printf("%s%s%s/*", prefix, slash, session);
    char *bucket_arn = mem_printf("arn:%s:s3:::%s", partition, bucket);
    char *object_arn = mem_printf("%s/%s", bucket_arn, below);
    json_t *o =
        json_pack("{s:s, s:[{s:s, s:[s,s,s,s], s:s}, {s:s, s:s, s:s, s:{s:{s:s}}}]}", "Version",
                  "2012-10-17", "Statement", "Effect", "Allow", "Action", "s3:PutObject",
                  "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "Resource",
                  object_arn, "Effect", "Allow", "Action", "s3:ListBucket", "Resource",
                  bucket_arn, "Condition", "StringLike", "s3:prefix", below);
    char *text = js_text(o);
    json_decref(o);
    free(object_arn);
    free(bucket_arn);
    free(below);
    free(partition);
    return text;
}

static void add_field(struct buf *form, const char *name, const char *value)
{
    char *encoded = aws_encode(value, false);
    buf_printf(form, "%s%s=%s", form->len ? "&" : "", name, encoded);
    free(encoded);
}

/* Owner and session have none but allowed characters. */
static char *make_form(const struct class *class, const char *owner, const char *session)
{
    struct s3_url url;
    struct buf form = {0};
    char name[SESSION_NAME_MAX + 1], life[12];
    s3_url_parse(&url, class->artifacts);
    char *policy = grant_policy(class->s3_role, url.bucket, url.prefix, session);
    snprintf(name, sizeof(name), "%s-%s", owner, session);
    snprintf(life, sizeof(life), "%d", GRANT_LIFE_S);
    add_field(&form, "RoleArn", class->s3_role);
    add_field(&form, "RoleSessionName", name);
    add_field(&form, "DurationSeconds", life);
    add_field(&form, "Policy", policy);
    free(policy);
    return buf_take(&form);
}

/* "2026-11-21T05:00:00Z", perhaps with a fraction; 0: it is none. */
static int64_t read_time(const char *text)
{
    struct tm tm = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    return rest && (*rest == 'Z' || *rest == '.') ? (int64_t)timegm(&tm) * 1000 : 0;
}

bool grant_read(const void *body, size_t len, int64_t now_ms, struct aws_keys *keys,
                struct error *e)
{
    struct xml *root = xml_parse(body, len, e);
    const struct xml *c = xml_find(root, "AssumeRoleResult/Credentials");
    const char *access = xml_text(c, "AccessKeyId"), *secret = xml_text(c, "SecretAccessKey"),
               *token = xml_text(c, "SessionToken");
    int64_t expires = read_time(xml_text(c, "Expiration"));
    bool fine = root && *access && *secret && *token && expires > now_ms;
    if (fine)
        *keys = (struct aws_keys){.access_key = mem_strdup(access),
                                  .secret_key = mem_strdup(secret),
                                  .session_token = mem_strdup(token),
                                  .expires_ms = expires};
    else if (root)
        error_set(e, ERR_PROTOCOL, "AssumeRole: the answer has no credentials that are valid");
    xml_free(root);
    return fine;
}

static void wipe(char *text)
{
    if (text)
        mem_wipe(text, strlen(text));
    free(text);
}

static void answered(void *arg, const struct aws_answer *answer)
{
    struct grant *g = arg;
    struct aws_keys keys = {0};
    struct error e = answer->error;
    bool fine = e.code == ERR_NONE &&
                grant_read(answer->body, answer->body_len, loop_wall_ms(g->loop), &keys, &e);
    grant_fn *done = g->done;
    void *done_arg = g->arg;
    free(g);
    done(done_arg, fine ? NULL : &e, fine ? &keys : NULL);
    wipe(keys.access_key);
    wipe(keys.secret_key);
    wipe(keys.session_token);
}

struct grant *grant_start(struct loop *loop, struct aws *aws, const struct class *class,
                          const char *owner, const char *session, grant_fn *done, void *arg)
{
    struct grant *g = mem_alloc(sizeof(*g));
    char *form = make_form(class, owner, session);
    *g = (struct grant){.loop = loop, .done = done, .arg = arg};
    struct aws_request request = {.service = AWS_STS,
                                  .action = "AssumeRole",
                                  .body = form,
                                  .body_len = strlen(form),
                                  .max_answer = 65536};
    g->call = aws_start(aws, &request, answered, g);
    free(form);
    return g;
}

void grant_cancel(struct grant *g)
{
    if (!g)
        return;
    aws_cancel(g->call);
    free(g);
}
