/* drain */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cleat/member.h"
#include "cleat/term.h"
#include "cleat/wait.h"

#define POLL_MS 250

struct options {
    bool now, end, no_wait;
    const char *tenant;
    int64_t timeout_s;
};

static int read_options(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"now", no_argument, NULL, 'n'},           {"tenant", required_argument, NULL, 'T'},
        {"end", no_argument, NULL, 'e'},           {"no-wait", no_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 't'}, {NULL, 0, NULL, 0},
    };
    int c;
    o->timeout_s = 300;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 't' && !read_seconds("--timeout", optarg, 1, WAIT_MAX_S, &o->timeout_s))
            return EXIT_USAGE;
        if (c == '?')
            return EXIT_USAGE;
        if (c == 'T')
            o->tenant = optarg;
        o->now = o->now || c == 'n';
        o->end = o->end || c == 'e';
        o->no_wait = o->no_wait || c == 'w';
    }
    if (optind < argc)
        return usage_error("drain takes no arguments");
    if (o->end && (o->now || o->no_wait))
        return usage_error("drain --end goes with --tenant only");
    return EXIT_FINE;
}

static void start(struct call *call, struct cli *cli, const struct options *o)
{
    json_t *body = json_pack("{s:b}", "now", (int)o->now);
    if (o->tenant)
        json_object_set_new(body, "tenant", json_string(o->tenant));
    char *text = json_dumps(body, JSON_COMPACT);
    call_now(call, cli, "POST", "/v1/drain", text, CALL_TIMEOUT_MS);
    free(text);
    json_decref(body);
}

static void end(struct call *call, struct cli *cli, const struct options *o)
{
    struct buf path = {0};
    buf_puts(&path, "/v1/drain");
    query_add(&path, "tenant", o->tenant);
    call_now(call, cli, "DELETE", path.data, NULL, CALL_TIMEOUT_MS);
    buf_free(&path);
}

static void on_pause(void *loop)
{
    loop_stop(loop);
}

static void pause_for(struct loop *loop, int64_t ms)
{
    struct timer timer;
    timer_init(&timer, loop, on_pause, loop);
    timer_arm(&timer, ms);
    loop_run(loop);
}

/* Of the tenant, or of all that are drained. */
static int64_t count_left(const json_t *document, const char *tenant)
{
    if (tenant)
        document = json_object_get(json_object_get(document, "tenants"), tenant);
    int64_t open = member_number(document, "sessions");
    int64_t queued = member_number(document, "queued");
    return open < 0 || queued < 0 ? 0 : open + queued;
}

static bool is_drained(const json_t *document, const char *tenant)
{
    return tenant ? json_object_get(json_object_get(document, "tenants"), tenant) != NULL
                  : json_is_true(json_object_get(document, "all"));
}

/* Until nothing is left; call holds the newest answer. */
static int wait_until_empty(struct call *call, struct cli *cli, const struct options *o)
{
    int64_t deadline = loop_now_ms(cli->loop) + o->timeout_s * 1000, told = -1;
    for (;;) {
        if (!is_drained(call->document, o->tenant)) {
            fputs("cleat: drain: the drain was ended\n", stderr);
            return EXIT_RETRYABLE;
        }
        int64_t left = count_left(call->document, o->tenant);
        if (left == 0)
            return EXIT_FINE;
        if (left != told && !cli->json)
            fprintf(stderr, "%" PRId64 " session%s still open\n", left,
                    left == 1 ? " is" : "s are");
        told = left;
        if (loop_now_ms(cli->loop) >= deadline) {
            fprintf(stderr, "cleat: drain: not empty within %" PRId64 " s; it goes on\n",
                    o->timeout_s);
            return EXIT_RETRYABLE;
        }
        pause_for(cli->loop, POLL_MS);
        call_clear(call);
        call_now(call, cli, "GET", "/v1/drain", NULL, CALL_TIMEOUT_MS);
        int status = call_report(call, "drain");
        if (status != EXIT_FINE)
            return status;
    }
}

/* An end of one drain leaves the others. */
static void tell_rest(const json_t *document, const struct options *o)
{
    const char *name;
    const json_t *member;
    if (o->tenant && json_is_true(json_object_get(document, "all")))
        fputs("cleat: drain: all are still drained; cleat drain --end ends that\n", stderr);
    json_object_foreach (json_object_get(document, "tenants"), name, member)
        fprintf(stderr,
                "cleat: drain: tenant %s is still drained; cleat drain --end --tenant %s ends "
                "that\n",
                name, name);
}

int cmd_drain(struct cli *cli, int argc, char **argv)
{
    struct options o = {0};
    struct call call;
    int status = read_options(&o, argc, argv);
    if (status != EXIT_FINE)
        return status;
    if (o.end)
        end(&call, cli, &o);
    else
        start(&call, cli, &o);
    status = call_report(&call, "drain");
    if (status == EXIT_FINE && !o.end && !o.no_wait)
        status = wait_until_empty(&call, cli, &o);
    if (status == EXIT_FINE && cli->json)
        call_print(&call);
    else if (status == EXIT_FINE && o.end)
        tell_rest(call.document, &o);
    else if (status == EXIT_FINE && !o.no_wait)
        puts("drained");
    call_clear(&call);
    return status;
}
