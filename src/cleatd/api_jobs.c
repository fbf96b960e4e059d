#include "cleatd/api_jobs.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define WAIT_DEFAULT_S 300
#define WAIT_MAX_S 3600
#define OFFSET_MAX INT64_C(0x7fffffffffffffff)

/* ---- the query ---- */

/* False: the exchange is refused. Without the parameter *out stays. */
static bool read_number(struct exchange *x, const char *name, int64_t min, int64_t max,
                        int64_t *out)
{
    const char *text = server_query(x->request, name);
    size_t digits = text ? strspn(text, "0123456789") : 0;
    if (!text)
        return true;
    bool fine = digits > 0 && digits <= 18 && !text[digits];
    *out = fine ? strtoll(text, NULL, 10) : 0;
    if (fine && *out >= min && *out <= max)
        return true;
    char *message = max == OFFSET_MAX
                        ? mem_printf("%s is a whole number from %lld on", name, (long long)min)
                        : mem_printf("%s is a whole number within %lld..%lld", name,
                                     (long long)min, (long long)max);
    exchange_refuse(x, ERR_INVALID, 0, message);
    free(message);
    return false;
}

static bool read_timeout(struct exchange *x, bool waits, const char *needs)
{
    int64_t seconds = WAIT_DEFAULT_S;
    if (server_query(x->request, "timeout_s") && !waits) {
        exchange_refuse(x, ERR_INVALID, 0, needs);
        return false;
    }
    if (!read_number(x, "timeout_s", 1, WAIT_MAX_S, &seconds))
        return false;
    x->wait_ms = seconds * 1000;
    return true;
}

static bool read_wait(struct exchange *x, bool *waits)
{
    const char *wait = server_query(x->request, "wait");
    *waits = wait != NULL;
    if (wait && strcmp(wait, "ended") != 0) {
        exchange_refuse(x, ERR_INVALID, 0, "wait is ended");
        return false;
    }
    return read_timeout(x, wait != NULL, "timeout_s needs wait");
}

/* ---- routes ---- */

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

/* An operator may look at one tenant's only. */
void api_get_jobs(struct exchange *x)
{
    const char *state = server_query(x->request, "state");
    const char *tenant = server_query(x->request, "tenant");
    if (state && !is_state(state))
        exchange_refuse(x, ERR_INVALID, 0,
                        "state is queued, starting, running, succeeded, failed, timed_out, "
                        "cancelled or lost");
    else if (tenant && x->tenant && strcmp(tenant, x->tenant) != 0)
        exchange_refuse(x, ERR_FORBIDDEN, 0, "tenant: another tenant's jobs cannot be listed");
    else
        exchange_answer_owned(x, cleat_jobs(x->cleat, x->tenant ? x->tenant : tenant, state));
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

static bool read_follow(struct exchange *x, bool *follows)
{
    const char *follow = server_query(x->request, "follow");
    *follows = follow && strcmp(follow, "true") == 0;
    if (!follow || *follows || strcmp(follow, "false") == 0)
        return true;
    exchange_refuse(x, ERR_INVALID, 0, "follow is true or false");
    return false;
}

void api_get_job_logs(struct exchange *x)
{
    int64_t after = 0;
    bool follows;
    if (!read_number(x, "after", 0, OFFSET_MAX, &after) || !read_follow(x, &follows) ||
        !read_timeout(x, follows, "timeout_s needs follow=true"))
        return;
    struct cleat_log_query query = {.after = (uint64_t)after,
                                    .stream = server_query(x->request, "stream"),
                                    .follow_ms = follows ? x->wait_ms : 0};
    x->call = cleat_job_logs(x->cleat, x->tenant, x->session, &query, exchange_done, x);
}
