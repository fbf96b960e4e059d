#include "http/aws_chain.h"

#include <stdlib.h>
#include "base/mem.h"
#include "http/aws_keys.h"

struct aws_chain {
    struct loop *loop;
    struct task begin;
    aws_chain_fn *done;
    void *arg;
};

static void begin(void *arg)
{
    struct aws_chain *chain = arg;
    struct aws_keys keys = {getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"),
                            getenv("AWS_SESSION_TOKEN"), 0};
    struct error e = {0};
    aws_keys_check(&keys, loop_wall_ms(chain->loop), &e);
    bool good = e.code == ERR_NONE;
    if (!good)
        error_set(&e, ERR_PERMANENT,
                  "no credentials: environment: AWS_ACCESS_KEY_ID or AWS_SECRET_ACCESS_KEY is "
                  "not set");
    chain->done(chain->arg, good ? &keys : NULL, good ? "environment" : NULL, good ? NULL : &e);
    free(chain);
}

struct aws_chain *aws_chain_start(struct loop *loop, struct http_client *client,
                                  const char *region, aws_chain_fn *done, void *arg)
{
    struct aws_chain *chain = mem_alloc(sizeof *chain);
    (void)client, (void)region;
    *chain = (struct aws_chain){.loop = loop, .done = done, .arg = arg};
    task_init(&chain->begin, loop, begin, chain);
    task_wake(&chain->begin);
    return chain;
}

void aws_chain_cancel(struct aws_chain *chain)
{
    task_stop(&chain->begin);
    free(chain);
}
