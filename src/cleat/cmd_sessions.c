/* ps and show */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleat/ids.h"
#include "cleat/member.h"
#include "cleat/queue.h"
#include "cleat/show.h"
#include "cleat/term.h"

static bool has_ended(const json_t *session)
{
    const char *state = member_text(session, "state");
    return state && (strcmp(state, "CLOSED") == 0 || strcmp(state, "FAILED") == 0);
}

/* Why it ended, for what it waits in the queue, or that it waits for a claim. */
static void add_reason(struct table *t, const json_t *session, int64_t now)
{
    const json_t *queue = json_object_get(session, "queue");
    struct buf text = {0};
    if (json_is_object(queue))
        queue_describe(&text, queue, now);
    else if (json_is_true(json_object_get(session, "warm")) && !has_ended(session))
        buf_puts(&text, "warm, not claimed");
    table_cell(t, PLAIN, text.len ? text.data : member_text(session, "stop_reason"));
    buf_free(&text);
}

static void list_one(struct table *t, const json_t *s, int64_t now)
{
    const char *state = member_text(s, "state");
    int64_t created = time_read(member_text(s, "created_at"));
    int64_t expires = time_read(member_text(s, "expires_at"));
    bool ended = has_ended(s);
    table_cell(t, PLAIN, short_id(member_text(s, "session_id")));
    table_cell(t, state_colour(state), state);
    table_cell(t, PLAIN, member_text(s, "class"));
    table_cell(t, PLAIN, member_text(s, "tenant"));
    table_cell(t, PLAIN, member_text(s, "user"));
    table_cell(t, PLAIN, member_text(s, "address"));
    table_cell_span(t, created < 0 ? -1 : now - created);
    table_cell_span(t, member_number(s, "ready_ms"));
    table_cell_number(t, member_number(s, "executions"));
    table_cell_number(t, member_number(s, "executions_failed"));
    table_cell_span(t, expires < 0 || ended ? -1 : expires > now ? expires - now : 0);
    add_reason(t, s, now);
}

static void show_list(const json_t *list, bool all, int64_t now)
{
    static const char *const headings[] = {"SESSION", "STATE",   "CLASS",   "TENANT",
                                           "USER",    "ADDRESS", "AGE",     "READY",
                                           "EXECS",   "FAILED",  "EXPIRES", "REASON"};
    struct table *t = table_new(sizeof headings / sizeof headings[0], headings);
    size_t i;
    json_t *s;
    json_array_foreach (list, i, s)
        if (all || !has_ended(s))
            list_one(t, s, now);
    table_print(t, stdout);
    table_free(t);
}

int cmd_ps(struct cli *cli, int argc, char **argv)
{
    static const struct option names[] = {{"all", no_argument, NULL, 'a'},
                                          {"tenant", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    const char *tenant = NULL;
    bool all = false;
    int o;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (o == '?')
            return EXIT_USAGE;
        all |= o == 'a';
        tenant = o == 't' ? optarg : tenant;
    }
    if (optind < argc)
        return usage_error("ps takes no session; show does");
    struct call call;
    struct buf path = {0};
    buf_puts(&path, "/v1/sessions");
    query_add(&path, "tenant", tenant);
    call_now(&call, cli, "GET", path.data, NULL, CALL_TIMEOUT_MS);
    int status = call_report(&call, "ps");
    if (status == EXIT_FINE && cli->json)
        call_print(&call);
    else if (status == EXIT_FINE)
        show_list(json_object_get(call.document, "sessions"), all, loop_wall_ms(cli->loop));
    call_clear(&call);
    buf_free(&path);
    return status;
}

/* ---- show ---- */

static void show_steps(const json_t *steps, const char *heading, const char *last_heading,
                       const char *last_key)
{
    const char *const headings[] = {heading, "FROM", "TO", "TOOK", last_heading};
    struct table *t = table_new(5, headings);
    size_t i;
    json_t *p;
    json_array_foreach (steps, i, p) {
        int64_t start = member_number(p, "start_ms"), end = member_number(p, "end_ms");
        const json_t *last = json_object_get(p, last_key);
        char *text = json_is_string(last) || json_is_null(last)
                         ? NULL
                         : json_dumps(last ? last : json_null(), JSON_ENCODE_ANY);
        table_cell(t, PLAIN, member_text(p, "name"));
        table_cell_span(t, start);
        table_cell_span(t, end);
        table_cell_span(t, end < 0 ? -1 : end - start);
        table_cell(t, PLAIN, text ? text : json_string_value(last));
        free(text);
    }
    putchar('\n');
    table_print(t, stdout);
    table_free(t);
}

static void show(const json_t *session)
{
    const json_t *phases = json_object_get(session, "phases");
    const json_t *cleanup = json_object_get(session, "cleanup");
    show_members(session);
    if (json_array_size(phases) > 0)
        show_steps(phases, "PHASE", "ATTEMPT", "attempt");
    if (json_array_size(cleanup) > 0)
        show_steps(cleanup, "CLEANUP", "RESULT", "result");
}

int cmd_show(struct cli *cli, int argc, char **argv)
{
    return show_one(cli, &session_ids, "show", argc, argv, show);
}
