/* Waiting for jobs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/job.h"
#include "cleat/member.h"
#include "cleat/progress.h"
#include "cleat/wait.h"

#define ROUND_S 300 /* of one request; a longer wait takes several */
#define GRACE_MS 5000

static void describe(struct buf *line, const char *id, const json_t *job, int64_t now)
{
    const char *state = member_text(job, "state"), *name = member_text(job, "name");
    enum colour colour = state_colour(state);
    buf_printf(line, "%s  ", short_id(id));
    if (name)
        buf_printf(line, "%s  ", name);
    buf_puts(line, colour_on(stderr, colour));
    if (state)
        job_describe(line, job, now);
    buf_puts(line, colour_off(stderr, colour));
}

static enum outcome outcome_of(const json_t *job)
{
    return job_succeeded(job) ? GOOD : job_has_ended(job) ? BAD : GOING;
}

const struct progress_kind job_progress = {&job_ids,    describe,    outcome_of,
                                           "succeeded", "under way", "ended otherwise"};

static bool wait_is_over(const struct call *call)
{
    const char *code = member_text(json_object_get(call->document, "error"), "code");
    return code && strcmp(code, "wait_timeout") == 0;
}

/* Until the job has ended or timeout_s (0: no limit) is over. The call holds its document, or
 * the failure, not said; call_clear it in any case. */
static void await(struct cli *cli, const char *id, int64_t timeout_s, struct call *call)
{
    int64_t deadline = loop_now_ms(cli->loop) + timeout_s * 1000, left_s = ROUND_S;
    *call = (struct call){0};
    do {
        if (timeout_s > 0)
            left_s = (deadline - loop_now_ms(cli->loop) + 999) / 1000;
        left_s = left_s > ROUND_S ? ROUND_S : left_s < 1 ? 1 : left_s;
        char *path =
            mem_printf("%s/%s?wait=ended&timeout_s=%" PRId64, job_ids.path, id, left_s);
        call_clear(call);
        call_now(call, cli, "GET", path, NULL, left_s * 1000 + GRACE_MS);
        free(path);
    } while (wait_is_over(call) && (timeout_s == 0 || loop_now_ms(cli->loop) < deadline));
}

static void say_end(const struct cli *cli, const char *id, const json_t *job)
{
    struct buf line = {0};
    job_describe(&line, job, loop_wall_ms(cli->loop));
    fprintf(stderr, "cleat: %s: %s\n", short_id(id), line.data);
    buf_free(&line);
}

/* Of one call of await, said when the job did not succeed. */
static int report(struct cli *cli, const char *id, const struct call *call)
{
    if (call_report(call, short_id(id)) != EXIT_FINE)
        return JOB_NO_RESULT;
    if (!job_succeeded(call->document))
        say_end(cli, id, call->document);
    return job_exit_status(call->document);
}

int job_await_all(struct cli *cli, char *const *ids, size_t count, int64_t timeout_s)
{
    int status = EXIT_FINE;
    int64_t deadline = loop_now_ms(cli->loop) + timeout_s * 1000, left_s = 0;
    struct call *calls = mem_array(count, sizeof *calls);
    struct progress *picture = progress_new(cli, &job_progress, ids, count);
    for (size_t i = 0; i < count; i++) {
        if (timeout_s > 0)
            left_s = (deadline - loop_now_ms(cli->loop) + 999) / 1000;
        await(cli, ids[i], timeout_s > 0 && left_s < 1 ? 1 : left_s, &calls[i]);
    }
    progress_finish(picture);
    progress_free(picture);
    for (size_t i = 0; i < count; i++) {
        int one = report(cli, ids[i], &calls[i]);
        status = status == EXIT_FINE ? one : status;
    }
    if (cli->json)
        print_documents(&job_ids, calls, count);
    for (size_t i = 0; i < count; i++)
        call_clear(&calls[i]);
    free(calls);
    return status;
}
