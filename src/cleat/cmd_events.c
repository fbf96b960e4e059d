/* events: what happens, as it happens */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "cleat/ids.h"
#include "cleat/member.h"
#include "cleat/term.h"
#include "http/sse.h"

#define CONNECT_TIMEOUT_MS (5 * 1000)
#define SILENCE_MS (45 * 1000) /* cleatd is heard of every 15 s */
#define AGAIN_MS 500
#define AWAY_MS (5 * 60 * 1000) /* that a cleatd that was there may be gone */
#define FOREVER_MS (INT64_C(365) * 24 * 3600 * 1000)
#define MAX_WAITING (4u * 1024 * 1024)

struct watch {
    struct cli *cli;
    const char *path;
    struct http_exchange *exchange;
    struct sse sse;
    char id[24]; /* where to go on; "": at the beginning of what was asked for */
    struct timer again, silence;
    int64_t lost_at; /* 0: the stream comes */
    bool ended;
    enum exit_code exit;
};

static void stop(struct watch *w, enum exit_code code)
{
    w->ended = true;
    w->exit = code;
    if (w->exchange)
        http_cancel(w->exchange);
    w->exchange = NULL;
    timer_stop(&w->silence);
    timer_stop(&w->again);
    loop_stop(w->cli->loop);
}

static void fail(struct watch *w, enum exit_code code, const char *message)
{
    fprintf(stderr, "cleat: events: %s\n", message);
    stop(w, code);
}

/* ---- what is shown ---- */

static bool is_common(const char *key)
{
    static const char *const keys[] = {"id",     "session_id", "seq",    "time",
                                       "tenant", "code",       "message"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static void add_value(struct buf *line, const char *key, const json_t *value)
{
    char *text = json_is_string(value) ? mem_strdup(json_string_value(value))
                                       : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text)
        error_make_printable(text);
    buf_printf(line, "  %s=%s", key, text ? text : "");
    free(text);
}

static enum colour code_colour(const char *code)
{
    static const char *const bad[] = {"session.failed", "artifacts.lost",  "container.died",
                                      "misroute",       "journal.failing", "breaker.open"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (strcmp(bad[i], code) == 0)
            return RED;
    return strcmp(code, "retry") == 0 ? YELLOW : BOLD;
}

static void show(const json_t *event)
{
    const char *time = member_text(event, "time"), *code = member_text(event, "code");
    const char *session = member_text(event, "session_id");
    const char *message = member_text(event, "message"), *key;
    struct buf more = {0};
    json_t *value;
    json_object_foreach ((json_t *)event, key, value)
        if (!is_common(key))
            add_value(&more, key, value);
    code = code ? code : "?";
    printf("%s  %-12s  %s%-20s%s  %s%s%s%s\n", time ? time : "-",
           session ? short_id(session) : "-", colour_on(stdout, code_colour(code)), code,
           colour_off(stdout, code_colour(code)), message ? message : "",
           colour_on(stdout, DIM), more.len ? more.data : "", colour_off(stdout, DIM));
    buf_free(&more);
}

static void show_gap(const json_t *gap)
{
    fprintf(stderr, "cleat: events: numbers %" PRId64 " to %" PRId64 " are not kept\n",
            member_number(gap, "from"), member_number(gap, "to"));
}

static void take_event(void *arg, const struct sse_event *e)
{
    struct watch *w = arg;
    int64_t number;
    if (w->ended)
        return;
    if (sse_id_parse(e->id, &number))
        mem_copy_string(w->id, sizeof w->id, e->id);
    if (!e->data)
        return;
    json_t *o = json_loads(e->data, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(o))
        fail(w, EXIT_ERROR, "cleatd sent an event that is no JSON object");
    else if (strcmp(e->event, "end") == 0)
        stop(w, EXIT_FINE);
    else if (w->cli->json)
        puts(e->data);
    else if (strcmp(e->event, "gap") == 0)
        show_gap(o);
    else
        show(o);
    json_decref(o);
}

/* ---- the connection ---- */

static void ask(void *watch);

static void lost(struct watch *w)
{
    int64_t now = loop_now_ms(w->cli->loop);
    sse_free(&w->sse);
    timer_stop(&w->silence);
    if (w->lost_at == 0) {
        w->lost_at = now;
        fputs("cleat: events: the connection is lost; it is sought again\n", stderr);
    }
    if (now - w->lost_at >= AWAY_MS)
        fail(w, EXIT_UNREACHABLE, "cleatd went away and did not come back");
    else
        timer_arm(&w->again, AGAIN_MS);
}

static void on_silence(void *arg)
{
    struct watch *w = arg;
    http_cancel(w->exchange);
    w->exchange = NULL;
    lost(w);
}

static void on_data(void *arg, const char *data, size_t len)
{
    struct watch *w = arg;
    w->cli->answered = true;
    w->lost_at = 0;
    timer_arm(&w->silence, SILENCE_MS);
    if (!sse_feed(&w->sse, data, len, take_event, w) && !w->ended)
        fail(w, EXIT_ERROR, "cleatd sent what is no stream of events");
    if (fflush(stdout) != 0 && !w->ended)
        stop(w, EXIT_ERROR); /* main says why */
}

static void read_refusal(struct watch *w, const struct http_answer *a)
{
    json_t *o = a->body ? json_loadb(a->body, a->body_len, 0, NULL) : NULL;
    const json_t *e = json_object_get(o, "error");
    const char *code = member_text(e, "code"), *message = member_text(e, "message");
    char *text = mem_printf("%s (%s)", message ? message : "cleatd does not say why",
                            code ? code : "protocol_error");
    fail(w,
         a->status == 404                                ? EXIT_NOT_FOUND
         : json_is_true(json_object_get(e, "retryable")) ? EXIT_RETRYABLE
                                                         : EXIT_ERROR,
         text);
    free(text);
    json_decref(o);
}

static void on_done(void *arg, const struct http_answer *a)
{
    struct watch *w = arg;
    w->exchange = NULL;
    if (w->ended)
        return;
    if (a->status >= 300)
        read_refusal(w, a);
    else if (a->error.code == ERR_CONNECT && !w->cli->answered)
        fail(w, EXIT_UNREACHABLE, "cannot reach cleatd; does it run on this socket?");
    else
        lost(w);
}

static void ask(void *arg)
{
    struct watch *w = arg;
    const struct http_header header = {"Last-Event-ID", w->id};
    char *url = mem_printf("http://cleatd%s", w->path);
    struct http_request request = {
        .method = "GET",
        .url = url,
        .unix_socket = w->cli->socket,
        .headers = &header,
        .header_count = *w->id ? 1 : 0,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .first_byte_timeout_ms = SILENCE_MS,
        .total_timeout_ms = FOREVER_MS,
        .max_answer = MAX_WAITING,
        .on_data = on_data,
    };
    w->exchange = http_start(w->cli->share, &request, on_done, w);
    free(url);
}

static int watch(struct cli *cli, const char *path)
{
    struct watch w = {.cli = cli, .path = path};
    timer_init(&w.again, cli->loop, ask, &w);
    timer_init(&w.silence, cli->loop, on_silence, &w);
    ask(&w);
    loop_run(cli->loop);
    stop(&w, w.exit);
    sse_free(&w.sse);
    return (int)w.exit;
}

/* ---- the command line ---- */

struct wish {
    bool follow;
    int64_t after; /* -1: not said */
    const char *tenant;
};

/* All that are kept, or with -f those to come, of one session both. */
static char *make_path(const struct wish *wish, const char *session)
{
    struct buf path = {0};
    if (session)
        buf_printf(&path, "/v1/sessions/%s/events", session);
    else
        buf_puts(&path, "/v1/events");
    buf_printf(&path, "?follow=%s", wish->follow ? "true" : "false");
    if (wish->after >= 0)
        buf_printf(&path, "&after=%" PRId64, wish->after);
    else if (!wish->follow)
        buf_puts(&path, "&after=0");
    query_add(&path, "tenant", wish->tenant);
    return buf_take(&path);
}

static int read_options(int argc, char **argv, struct wish *wish)
{
    static const struct option names[] = {{"follow", no_argument, NULL, 'f'},
                                          {"after", required_argument, NULL, 'a'},
                                          {"tenant", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "f", names, NULL)) != -1;) {
        if (c == 'f')
            wish->follow = true;
        else if (c == 't')
            wish->tenant = optarg;
        else if (c != 'a')
            return EXIT_USAGE;
        else if (!read_number("--after", optarg, 0, INT64_C(999999999999999999), &wish->after))
            return EXIT_USAGE;
    }
    if (argc - optind > 1)
        return usage_error("events takes one session at most");
    if (wish->tenant && optind < argc)
        return usage_error("a session has one tenant: --tenant is for all of its sessions");
    return EXIT_FINE;
}

int cmd_events(struct cli *cli, int argc, char **argv)
{
    struct wish wish = {.after = -1};
    json_t *listed = NULL;
    char *session = NULL;
    int status = read_options(argc, argv, &wish);
    if (status == EXIT_FINE && optind < argc)
        session = find_id(cli, &session_ids, argv[optind], &listed, &status);
    if (status == EXIT_FINE) {
        char *path = make_path(&wish, session);
        status = watch(cli, path);
        free(path);
    }
    free(session);
    json_decref(listed);
    return status;
}
