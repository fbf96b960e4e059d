/* The output of a job, copied to ours. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/base64.h"
#include "base/mem.h"
#include "cleat/job.h"
#include "cleat/member.h"

#define ROUND_S 60 /* of one request that waits for more */
#define GRACE_MS 5000

static void write_chunk(const json_t *chunk)
{
    const char *stream = member_text(chunk, "stream");
    const char *encoded = member_text(chunk, "data_base64");
    const json_t *data = json_object_get(chunk, "data");
    FILE *to = stream && strcmp(stream, "stderr") == 0 ? stderr : stdout;
    char *bytes;
    size_t len;
    if (json_is_string(data))
        fwrite(json_string_value(data), 1, json_string_length(data), to);
    else if (encoded && base64_decode(encoded, &bytes, &len)) {
        fwrite(bytes, 1, len, to);
        free(bytes);
    }
    fflush(to); /* the other stream's next chunk came later */
}

static void write_answer(const struct cli *cli, const struct call *call, bool last)
{
    const json_t *chunks = json_object_get(call->document, "chunks");
    size_t i;
    json_t *chunk;
    if (cli->json) {
        if (json_array_size(chunks) > 0 || last)
            call_print(call);
        fflush(stdout);
        return;
    }
    json_array_foreach (chunks, i, chunk)
        write_chunk(chunk);
    if (last && json_is_true(json_object_get(call->document, "truncated")))
        fputs("cleat: the output was longer than is kept: something of it is missing\n",
              stderr);
}

static char *log_path(const struct job_log *log)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s/logs?after=%" PRId64, job_ids.path, log->id, log->after);
    if (log->stream)
        buf_printf(&path, "&stream=%s", log->stream);
    if (log->follow)
        buf_printf(&path, "&follow=true&timeout_s=%d", ROUND_S);
    return buf_take(&path);
}

/* ---- an interrupt says how to go on ---- */

struct interrupt {
    struct cli *cli;
    struct signal_watch *watch;
    bool came;
};

static void on_interrupt(void *arg)
{
    struct interrupt *i = arg;
    i->came = true;
    loop_stop(i->cli->loop);
}

static int say_how_to_go_on(const struct job_log *log)
{
    fprintf(stderr,
            "\ncleat: the job goes on; see the rest of its output with:\n"
            "  cleat job logs -f --after %" PRId64 " %s\n",
            log->after, log->id);
    return JOB_KILLED + SIGINT;
}

static int copy(struct cli *cli, struct job_log *log, const struct interrupt *interrupt)
{
    struct call call;
    for (bool more = true; more;) {
        char *path = log_path(log);
        call_now(&call, cli, "GET", path, NULL, ROUND_S * 1000 + GRACE_MS);
        free(path);
        if (interrupt->came) {
            call_clear(&call);
            return say_how_to_go_on(log);
        }
        int status = call_report(&call, short_id(log->id));
        int64_t next = member_number(call.document, "next");
        bool ended = json_is_true(json_object_get(call.document, "ended"));
        more = !ended && (log->follow || next > log->after);
        if (status == EXIT_FINE)
            write_answer(cli, &call, !more);
        log->after = next > log->after ? next : log->after;
        call_clear(&call);
        if (status != EXIT_FINE || ferror(stdout))
            return status; /* of the standard output: main says it */
    }
    return EXIT_FINE;
}

int job_copy_log(struct cli *cli, struct job_log *log)
{
    struct interrupt interrupt = {.cli = cli};
    if (log->follow)
        interrupt.watch = signal_watch_new(cli->loop, SIGINT, on_interrupt, &interrupt);
    int status = copy(cli, log, &interrupt);
    if (interrupt.watch)
        signal_watch_free(interrupt.watch);
    return status;
}
