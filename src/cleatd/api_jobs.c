#include "cleatd/api_jobs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "cleatd/query.h"

/* False: the exchange is refused. */
static bool read_wait(struct exchange *x, bool *waits)
{
    const char *wait = server_query(x->request, "wait");
    *waits = wait != NULL;
    if (wait && strcmp(wait, "ended") != 0) {
        exchange_refuse(x, ERR_INVALID, 0, "wait is ended");
        return false;
    }
    return query_timeout(x, wait != NULL, "timeout_s needs wait");
}

static void on_submitted(void *arg, const struct cleat_error *error, const char *document)
{
    struct exchange *x = arg;
    json_t *job = document ? json_loads(document, 0, NULL) : NULL;
    x->status = json_is_true(json_object_get(job, "created")) ? 201 : 200;
    json_decref(job);
    exchange_done(x, error, document);
}

void api_post_jobs(struct exchange *x)
{
    size_t len;
    const char *body = server_body(x->request, &len);
    x->call = cleat_job_submit(x->cleat, x->tenant, len ? body : "{}", len ? len : 2,
                               on_submitted, x);
}

static bool is_state(const char *name)
{
    static const char *const states[] = {"queued", "starting",  "running",   "succeeded",
                                         "failed", "timed_out", "cancelled", "lost"};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strcmp(states[i], name) == 0)
            return true;
    return false;
}

void api_get_jobs(struct exchange *x)
{
    const char *state = server_query(x->request, "state");
    const char *tenant;
    if (state && !is_state(state))
        exchange_refuse(x, ERR_INVALID, 0,
                        "state is queued, starting, running, succeeded, failed, timed_out, "
                        "cancelled or lost");
    else if (query_tenant(x, &tenant))
        exchange_answer_owned(x, cleat_jobs(x->cleat, tenant, state));
}

void api_get_job(struct exchange *x)
{
    bool waits;
    if (!read_wait(x, &waits))
        return;
    if (waits)
        x->call = cleat_job_wait(x->cleat, x->tenant, x->session, x->wait_ms, exchange_done, x);
    else
        exchange_answer_owned(x, cleat_job(x->cleat, x->tenant, x->session));
}

void api_delete_job(struct exchange *x)
{
    x->status = 202;
    x->call = cleat_job_cancel(x->cleat, x->tenant, x->session, exchange_done, x);
}

void api_get_job_logs(struct exchange *x)
{
    int64_t after = 0;
    bool follows = false;
    if (!query_number(x, "after", 0, INT64_MAX, &after) || !query_flag(x, "follow", &follows) ||
        !query_timeout(x, follows, "timeout_s needs follow=true"))
        return;
    struct cleat_log_query query = {.after = (uint64_t)after,
                                    .stream = server_query(x->request, "stream"),
                                    .follow_ms = follows ? x->wait_ms : 0};
    x->call = cleat_job_logs(x->cleat, x->tenant, x->session, &query, exchange_done, x);
}
