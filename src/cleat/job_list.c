#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "cleat/job.h"
#include "cleat/member.h"

struct filter {
    const char *state, *tenant;
};

/* What the columns do not say: the place in the queue, or an error. */
static void add_note(struct table *t, const json_t *job, int64_t now)
{
    const char *state = member_text(job, "state");
    const json_t *error = json_object_get(job, "error");
    struct buf note = {0};
    if (state && strcmp(state, "queued") == 0)
        job_describe(&note, job, now);
    else if (json_is_object(error))
        buf_puts(&note, member_text(error, "message"));
    else if (json_is_string(error))
        buf_puts(&note, json_string_value(error));
    table_cell(t, PLAIN, note.data);
    buf_free(&note);
}

static void list_one(struct table *t, const json_t *job, int64_t now)
{
    const char *state = member_text(job, "state");
    int64_t created = time_read(member_text(job, "created_at"));
    int64_t started = time_read(member_text(job, "started_at"));
    int64_t ran = member_number(job, "run_ms");
    bool running = started >= 0 && !job_has_ended(job);
    table_cell(t, PLAIN, short_id(member_text(job, job_ids.key)));
    table_cell(t, BOLD, member_text(job, "name"));
    table_cell(t, state_colour(state), state);
    table_cell(t, PLAIN, member_text(job, "class"));
    table_cell(t, PLAIN, member_text(job, "tenant"));
    table_cell(t, PLAIN, member_text(job, "user"));
    table_cell_span(t, created < 0 ? -1 : now - created);
    table_cell_span(t, member_number(job, "queue_ms"));
    table_cell_span(t, member_number(job, "start_ms"));
    table_cell_span(t, !running ? ran : now > started ? now - started : 0);
    table_cell(t, job_succeeded(job) ? GREEN : RED, job_exit_text(job));
    table_cell_size(t, member_number(json_object_get(job, "output"), "bytes"));
    add_note(t, job, now);
}

static void show_list(const json_t *list, int64_t now)
{
    static const char *const headings[] = {"JOB",    "NAME",   "STATE", "CLASS", "TENANT",
                                           "USER",   "AGE",    "QUEUE", "START", "RAN",
                                           "RESULT", "OUTPUT", "NOTE"};
    struct table *t = table_new(sizeof headings / sizeof headings[0], headings);
    size_t i;
    json_t *job;
    json_array_foreach (list, i, job)
        list_one(t, job, now);
    table_print(t, stdout);
    table_free(t);
}

static int read_options(struct filter *f, int argc, char **argv)
{
    static const struct option names[] = {{"state", required_argument, NULL, 's'},
                                          {"tenant", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    static const char *const states[] = {"queued", "starting",  "running",   "succeeded",
                                         "failed", "timed_out", "cancelled", "lost"};
    int o;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (o == '?')
            return EXIT_USAGE;
        *(o == 's' ? &f->state : &f->tenant) = optarg;
    }
    if (optind < argc)
        return usage_error("job list takes no job; job show does");
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (!f->state || strcmp(f->state, states[i]) == 0)
            return EXIT_FINE;
    return usage_error("--state: no job is ever \"%s\"", f->state);
}

int job_list(struct cli *cli, int argc, char **argv)
{
    struct filter filter = {0};
    struct buf path = {0};
    struct call call;
    int status = read_options(&filter, argc, argv);
    if (status != EXIT_FINE)
        return status;
    buf_puts(&path, job_ids.path);
    query_add(&path, "state", filter.state);
    query_add(&path, "tenant", filter.tenant);
    call_now(&call, cli, "GET", path.data, NULL, CALL_TIMEOUT_MS);
    status = call_report(&call, "job list");
    if (status == EXIT_FINE && cli->json)
        call_print(&call);
    else if (status == EXIT_FINE)
        show_list(json_object_get(call.document, job_ids.list), loop_wall_ms(cli->loop));
    call_clear(&call);
    buf_free(&path);
    return status;
}
