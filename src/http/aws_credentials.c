#include "http/aws_credentials.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "http/aws_chain.h"
#include "http/aws_keys.h"

#define RENEW_MS (5 * 60 * 1000) /* left: others are fetched in the background */
#define WAIT_MS (60 * 1000)      /* left: nobody gets these any more */
#define AGAIN_MS 2000         /* rest after a fetch, for sources whose keys never last long */
#define AGAIN_FAILED_MS 30000 /* after one that failed, while the old keys still do */

struct aws_credentials {
    struct loop *loop;
    struct http_client *client;
    char *region;
    bool given;
    bool refused; /* by AWS: not to be used even though they have not run out */
    struct aws_keys keys;
    char source[32];
    struct error problem;    /* of the last fetch; ERR_NONE: it was fine */
    int64_t again_ms;        /* while there are keys, no fetch before then */
    struct aws_chain *chain; /* NULL: no fetch is under way */
    TAILQ_HEAD(, aws_waiter) waiters;
};

struct aws_credentials *aws_credentials_new(struct loop *loop, struct http_client *client,
                                            const char *region, const struct aws_keys *keys)
{
    struct aws_credentials *c = mem_alloc(sizeof *c);
    c->loop = loop;
    c->client = client;
    c->region = mem_strdup(region);
    TAILQ_INIT(&c->waiters);
    if (keys)
        aws_credentials_set(c, keys);
    return c;
}

void aws_credentials_free(struct aws_credentials *c)
{
    while (!TAILQ_EMPTY(&c->waiters))
        aws_credentials_forget(TAILQ_FIRST(&c->waiters));
    if (c->chain)
        aws_chain_cancel(c->chain);
    aws_keys_clear(&c->keys);
    free(c->region);
    free(c);
}

/* ---- the fetch */

static int64_t left_ms(const struct aws_credentials *c)
{
    if (!c->keys.access_key || c->refused)
        return 0;
    return c->keys.expires_ms ? c->keys.expires_ms - loop_wall_ms(c->loop) : INT64_MAX;
}

static void tell(void *arg)
{
    struct aws_waiter *w = arg;
    struct aws_credentials *c = w->credentials;
    struct error problem = c->problem;
    aws_credentials_forget(w);
    w->fn(w->arg, left_ms(c) > 0 ? NULL : &problem);
}

static void use(struct aws_credentials *c, const struct aws_keys *keys, const char *source)
{
    aws_keys_clear(&c->keys);
    aws_keys_copy(&c->keys, keys);
    mem_copy_string(c->source, sizeof c->source, source);
    c->refused = false;
    c->problem = (struct error){0};
}

static void rest(struct aws_credentials *c, int64_t most_ms)
{
    int64_t half = left_ms(c) / 2;
    c->again_ms = loop_now_ms(c->loop) + (half < most_ms ? half : most_ms);
}

static void fetched(void *arg, const struct aws_keys *keys, const char *source,
                    const struct error *e)
{
    struct aws_credentials *c = arg;
    struct aws_waiter *w;
    c->chain = NULL;
    if (keys) {
        use(c, keys, source);
        rest(c, AGAIN_MS);
        log_info("aws.credentials", KV("source", source));
    } else {
        c->problem = *e;
        rest(c, AGAIN_FAILED_MS);
        log_warn("aws.credentials_failed", KV("error", e->message));
    }
    TAILQ_FOREACH (w, &c->waiters, entry)
        task_wake(&w->tell);
}

static void fetch(struct aws_credentials *c)
{
    if (!c->chain)
        c->chain = aws_chain_start(c->loop, c->client, c->region, fetched, c);
}

/* ---- use */

void aws_credentials_set(struct aws_credentials *c, const struct aws_keys *keys)
{
    struct aws_waiter *w;
    if (c->chain)
        aws_chain_cancel(c->chain);
    c->chain = NULL;
    c->given = true;
    use(c, keys, "given");
    TAILQ_FOREACH (w, &c->waiters, entry)
        task_wake(&w->tell);
}

const struct aws_keys *aws_credentials_now(struct aws_credentials *c)
{
    if (c->given) /* AWS says when they have run out; its clock counts */
        return &c->keys;
    int64_t left = left_ms(c);
    bool resting = loop_now_ms(c->loop) < c->again_ms;
    if (left <= 0 || (left < WAIT_MS && !resting))
        return NULL;
    if (left < RENEW_MS && !resting)
        fetch(c);
    return &c->keys;
}

void aws_credentials_wait(struct aws_credentials *c, struct aws_waiter *w)
{
    w->credentials = c;
    task_init(&w->tell, c->loop, tell, w);
    TAILQ_INSERT_TAIL(&c->waiters, w, entry);
    fetch(c);
}

void aws_credentials_forget(struct aws_waiter *w)
{
    if (!w->credentials)
        return;
    TAILQ_REMOVE(&w->credentials->waiters, w, entry);
    task_stop(&w->tell);
    w->credentials = NULL;
}

bool aws_credentials_refused(struct aws_credentials *c, const char *access_key)
{
    bool in_use = c->keys.access_key && strcmp(c->keys.access_key, access_key) == 0;
    if (in_use && !c->given)
        c->refused = true;
    return !in_use || !c->given;
}

const char *aws_credentials_source(const struct aws_credentials *c)
{
    return c->source;
}

int64_t aws_credentials_expire_ms(const struct aws_credentials *c)
{
    return c->keys.expires_ms;
}

const char *aws_credentials_problem(const struct aws_credentials *c)
{
    return c->problem.message;
}
