/* The keys that calls are signed with: given, or fetched from the sources that the SDKs know,
 * in their order: environment, web identity, profile, container, instance metadata. One fetch
 * at a time, however many calls wait for it. Keys are renewed in the background when less than
 * 5 min are left, and waited for when less than 1 min is left; when renewing fails, the old
 * ones are used until they run out. */
#ifndef CLEAT_HTTP_AWS_CREDENTIALS_H
#define CLEAT_HTTP_AWS_CREDENTIALS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/error.h"
#include "http/client.h"
#include "http/aws.h"
#include "loop/loop.h"

struct aws_credentials;

/* region: for STS. keys NULL: the sources. Nothing is read or sent before the first use. */
struct aws_credentials *aws_credentials_new(struct loop *, struct http_client *,
                                            const char *region, const struct aws_keys *keys);
void aws_credentials_free(struct aws_credentials *); /* nobody is told any more */
void aws_credentials_set(struct aws_credentials *, const struct aws_keys *);

/* NULL: they must be waited for. Borrowed until the next turn. */
const struct aws_keys *aws_credentials_now(struct aws_credentials *);

/* e is NULL when there are keys. Each waiter is told once, from the loop. */
struct aws_waiter {
    void (*fn)(void *arg, const struct error *e);
    void *arg;
    struct aws_credentials *credentials; /* NULL: it does not wait */
    struct task tell;
    TAILQ_ENTRY(aws_waiter) entry;
};
void aws_credentials_wait(struct aws_credentials *, struct aws_waiter *);
void aws_credentials_forget(struct aws_waiter *); /* also one that does not wait */

/* AWS refused the keys with this id. True: others are there, or to be waited for. False: these
 * were given and nobody can fetch others. */
bool aws_credentials_refused(struct aws_credentials *, const char *access_key);

const char *
aws_credentials_source(const struct aws_credentials *); /* "" before the first fetch */
int64_t aws_credentials_expire_ms(const struct aws_credentials *);   /* 0: never, or none */
const char *aws_credentials_problem(const struct aws_credentials *); /* of the last fetch; "" */

#endif
