/* reap */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleat/call.h"
#include "cleat/member.h"
#include "cleat/term.h"

#define REAP_TIMEOUT_MS (90 * 1000) /* every engine is asked */

struct options {
    bool dry_run, adopt;
};

static int read_options(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {{"dry-run", no_argument, NULL, 'n'},
                                          {"adopt", no_argument, NULL, 'a'},
                                          {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == '?')
            return EXIT_USAGE;
        o->dry_run = o->dry_run || c == 'n';
        o->adopt = o->adopt || c == 'a';
    }
    return optind < argc ? usage_error("reap takes no arguments") : EXIT_FINE;
}

static enum colour action_colour(const char *action)
{
    if (!action || strcmp(action, "report") == 0)
        return PLAIN;
    return strcmp(action, "hold") == 0 ? YELLOW : GREEN;
}

static void show_orphans(const json_t *list)
{
    static const char *const headings[] = {"CLASS",  "SESSION", "CONTAINER",
                                           "TARGET", "ACTION",  "CAUSE"};
    struct table *t = table_new(sizeof headings / sizeof headings[0], headings);
    size_t i;
    const json_t *o;
    json_array_foreach (list, i, o) {
        const char *session = member_text(o, "session"), *action = member_text(o, "action");
        table_cell(t, PLAIN, member_text(o, "class"));
        table_cell(t, PLAIN, session ? short_id(session) : NULL);
        table_cell(t, PLAIN, member_text(o, "container"));
        table_cell(t, PLAIN, member_text(o, "target"));
        table_cell(t, action_colour(action), action);
        table_cell(t, PLAIN, member_text(o, "cause"));
    }
    table_print(t, stdout);
    table_free(t);
}

static int64_t count(const json_t *list, const char *action)
{
    size_t i;
    const json_t *o;
    int64_t n = 0;
    json_array_foreach (list, i, o) {
        const char *text = member_text(o, "action");
        n += text && strcmp(text, action) == 0;
    }
    return n;
}

static void show(const json_t *document, const struct options *o)
{
    const json_t *list = json_object_get(document, "orphans");
    int64_t closed = count(list, "close"), held = count(list, "hold");
    size_t all = json_array_size(list);
    if (all > 0)
        show_orphans(list);
    printf("%zu orphan%s, %" PRId64 " %s, %" PRId64 " held%s\n", all, all == 1 ? "" : "s",
           closed,
           o->dry_run    ? "would be closed"
           : closed == 1 ? "is being closed"
                         : "are being closed",
           held, held > 0 ? " until you say --adopt" : "");
}

/* What was not asked may hold more. */
static int tell_failed(const json_t *document)
{
    size_t i;
    const json_t *f, *failed = json_object_get(document, "failed");
    json_array_foreach (failed, i, f) {
        const char *name = member_text(f, "class"), *why = member_text(f, "error");
        fprintf(stderr, "cleat: reap: class %s could not be asked: %s\n", name ? name : "?",
                why ? why : "?");
    }
    return json_array_size(failed) > 0 ? EXIT_RETRYABLE : EXIT_FINE;
}

int cmd_reap(struct cli *cli, int argc, char **argv)
{
    struct options o = {0};
    struct call call;
    int status = read_options(&o, argc, argv);
    if (status != EXIT_FINE)
        return status;
    json_t *body = json_pack("{s:b, s:b}", "dry_run", (int)o.dry_run, "adopt", (int)o.adopt);
    char *text = json_dumps(body, JSON_COMPACT);
    call_now(&call, cli, "POST", "/v1/reap", text, REAP_TIMEOUT_MS);
    free(text);
    json_decref(body);
    status = call_report(&call, "reap");
    if (status == EXIT_FINE && cli->json)
        call_print(&call);
    else if (status == EXIT_FINE)
        show(call.document, &o);
    if (status == EXIT_FINE)
        status = tell_failed(call.document);
    call_clear(&call);
    return status;
}
