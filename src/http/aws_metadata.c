#include "http/aws_metadata.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "http/aws_fetch.h"
#include "http/aws_keys.h"
#include "loop/child.h"

#define TOKEN_MAX 16384
#define CONTAINER_AGENT "http://169.254.170.2"
#define INSTANCE_ADDRESS "http://169.254.169.254"
#define INSTANCE_ADDRESS_6 "http://[fd00:ec2::254]"
#define INSTANCE_ROLES "/latest/meta-data/iam/security-credentials/"
#define TOKEN_TTL_S "21600"

static const struct aws_fetch_limits patient = {1000, 3000, 3};
/* Most machines are no EC2 instances, and nobody answers there. */
static const struct aws_fetch_limits probing = {1000, 2000, 2};

struct aws_metadata {
    struct loop *loop;
    struct http_client *client;
    struct task begin;
    struct aws_fetch *fetch;
    char *base, *token; /* of the instance's service */
    aws_metadata_fn *done;
    void *arg;
};

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

static void free_metadata(struct aws_metadata *m)
{
    task_stop(&m->begin);
    if (m->token)
        mem_wipe(m->token, strlen(m->token));
    free(m->token);
    free(m->base);
    free(m);
}

void aws_metadata_cancel(struct aws_metadata *m)
{
    if (!m)
        return;
    aws_fetch_cancel(m->fetch);
    free_metadata(m);
}

static void finish(struct aws_metadata *m, const struct aws_keys *keys, const struct error *e)
{
    m->done(m->arg, keys, e);
    free_metadata(m);
}

static void fail(struct aws_metadata *m, const char *what, const struct error *why)
{
    struct error e;
    error_set(&e, ERR_PERMANENT, "%.90s%s%.150s", what, why ? ": " : "",
              why ? why->message : "");
    finish(m, NULL, &e);
}

static void ask(struct aws_metadata *m, const char *method, const char *url,
                const struct http_header *header, const struct aws_fetch_limits *limits,
                http_done_fn *done)
{
    struct aws_message message = {.method = mem_strdup(method), .url = mem_strdup(url)};
    message.headers = mem_array(1, sizeof *message.headers);
    if (header) {
        message.headers[0] =
            (struct http_header){mem_strdup(header->name), mem_strdup(header->value)};
        message.header_count = 1;
    }
    m->fetch = aws_fetch_start(m->loop, m->client, &message, NULL, "", limits, done, m);
}

/* The last answer of either service. */
static void take_keys(void *arg, const struct http_answer *answer)
{
    struct aws_metadata *m = arg;
    struct aws_keys keys = {0};
    struct error e = {0};
    m->fetch = NULL;
    if (answer->error.code != ERR_NONE || answer->status != 200)
        aws_fetch_complain(answer, &e);
    else if (aws_keys_from_json(&keys, answer->body, answer->body_len, &e) == ERR_NONE)
        aws_keys_check(&keys, loop_wall_ms(m->loop), &e);
    if (e.code == ERR_NONE)
        finish(m, &keys, NULL);
    else
        finish(m, NULL, &e);
    aws_keys_clear(&keys);
}

static struct aws_metadata *metadata_new(struct loop *loop, struct http_client *client,
                                         loop_fn *begin, aws_metadata_fn *done, void *arg)
{
    struct aws_metadata *m = mem_alloc(sizeof *m);
    *m = (struct aws_metadata){.loop = loop, .client = client, .done = done, .arg = arg};
    task_init(&m->begin, loop, begin, m);
    task_wake(&m->begin);
    return m;
}

/* ---- container */

bool aws_container_configured(void)
{
    return variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
           variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
}

static bool is_near(const char *host)
{
    static const char *const agents[] = {"169.254.170.2", "169.254.170.23", "fd00:ec2::23",
                                         "::1", "localhost"};
    struct in_addr ip;
    for (size_t i = 0; i < sizeof agents / sizeof *agents; i++)
        if (strcasecmp(host, agents[i]) == 0)
            return true;
    return inet_pton(AF_INET, host, &ip) == 1 && ntohl(ip.s_addr) >> 24 == 127;
}

bool aws_container_url_allowed(const char *url)
{
    if (strncasecmp(url, "https://", 8) == 0)
        return true;
    if (strncasecmp(url, "http://", 7) != 0)
        return false;
    char host[64];
    const char *start = url + 7;
    size_t authority = strcspn(start, "/?#");
    bool bracket = *start == '[', names_user = memchr(start, '@', authority) != NULL;
    start += bracket;
    size_t len = strcspn(start, bracket ? "]/?#" : ":/?#");
    if (names_user || len >= sizeof host || (bracket && start[len] != ']'))
        return false;
    memcpy(host, start, len);
    host[len] = '\0';
    return is_near(host);
}

/* The file wins over the variable: it is renewed. free(); NULL: there is none. */
static char *authorization(struct error *e)
{
    const char *path = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *given = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (!path)
        return mem_strdup(given);
    char *token = file_read(path, TOKEN_MAX);
    if (!token) {
        error_set(e, ERR_CONFIG, "%.120s cannot be read", path);
        return NULL;
    }
    size_t len = strlen(token);
    while (len > 0 && isspace((unsigned char)token[len - 1]))
        token[--len] = '\0';
    return token;
}

static void begin_container(void *arg)
{
    struct aws_metadata *m = arg;
    const char *relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    char *url = relative
                    ? mem_printf(CONTAINER_AGENT "%s%s", *relative == '/' ? "" : "/", relative)
                    : mem_strdup(full);
    struct error e = {0};
    char *token = authorization(&e);
    if (e.code != ERR_NONE)
        fail(m, "the authorization token's file", &e);
    else if (!aws_container_url_allowed(url))
        fail(m, "AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor on this machine",
             NULL);
    else
        ask(m, "GET", url, token ? &(struct http_header){"Authorization", token} : NULL,
            &patient, take_keys);
    if (token)
        mem_wipe(token, strlen(token));
    free(token);
    free(url);
}

struct aws_metadata *aws_container_start(struct loop *loop, struct http_client *client,
                                         aws_metadata_fn *done, void *arg)
{
    return metadata_new(loop, client, begin_container, done, arg);
}

/* ---- instance */

bool aws_instance_disabled(void)
{
    const char *text = variable("AWS_EC2_METADATA_DISABLED");
    return text && strcasecmp(text, "true") == 0;
}

static char *instance_base(void)
{
    const char *given = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    if (!given)
        given = mode && strcasecmp(mode, "IPv6") == 0 ? INSTANCE_ADDRESS_6 : INSTANCE_ADDRESS;
    size_t len = strlen(given);
    while (len > 0 && given[len - 1] == '/')
        len--;
    return mem_strndup(given, len);
}

static void ask_instance(struct aws_metadata *m, const char *name, http_done_fn *done)
{
    char *url = mem_printf("%s" INSTANCE_ROLES "%s", m->base, name);
    ask(m, "GET", url, &(struct http_header){"X-aws-ec2-metadata-token", m->token}, &patient,
        done);
    free(url);
}

/* IAM API Reference: [\w+=,.@-]+, at most 64. */
static size_t role_name_length(const char *text)
{
    size_t len =
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-");
    return text[len] == '\0' || isspace((unsigned char)text[len]) ? len : 0;
}

static void take_role(void *arg, const struct http_answer *answer)
{
    struct aws_metadata *m = arg;
    struct error e;
    m->fetch = NULL;
    size_t len = answer->status == 200 ? role_name_length(answer->body) : 0;
    if (answer->status == 404) {
        fail(m, "the instance has no role", NULL);
    } else if (answer->error.code != ERR_NONE || answer->status != 200) {
        aws_fetch_complain(answer, &e);
        fail(m, "the role's name", &e);
    } else if (len == 0 || len > 64) {
        fail(m, "what it answered is no role's name", NULL);
    } else {
        char *name = mem_strndup(answer->body, len);
        ask_instance(m, name, take_keys);
        free(name);
    }
}

static void take_token(void *arg, const struct http_answer *answer)
{
    struct aws_metadata *m = arg;
    struct error e;
    m->fetch = NULL;
    if (answer->error.code != ERR_NONE || answer->status != 200) {
        aws_fetch_complain(answer, &e);
        fail(m, m->base, &e);
        return;
    }
    m->token = mem_strdup(answer->body);
    ask_instance(m, "", take_role);
}

static void begin_instance(void *arg)
{
    struct aws_metadata *m = arg;
    m->base = instance_base();
    char *url = mem_printf("%s/latest/api/token", m->base);
    ask(m, "PUT", url,
        &(struct http_header){"X-aws-ec2-metadata-token-ttl-seconds", TOKEN_TTL_S}, &probing,
        take_token);
    free(url);
}

struct aws_metadata *aws_instance_start(struct loop *loop, struct http_client *client,
                                        aws_metadata_fn *done, void *arg)
{
    return metadata_new(loop, client, begin_instance, done, arg);
}
