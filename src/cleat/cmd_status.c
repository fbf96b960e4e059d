/* status and isolation */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "cleat/call.h"
#include "cleat/figures.h"
#include "cleat/member.h"
#include "cleat/term.h"

static int no_arguments(int argc, char **argv)
{
    static const struct option names[] = {{NULL, 0, NULL, 0}};
    if (getopt_long(argc, argv, "", names, NULL) != -1)
        return EXIT_USAGE;
    return optind < argc ? usage_error("%s takes no arguments", argv[0]) : EXIT_FINE;
}

static bool is_breaker(const json_t *o)
{
    return member_text(o, "state") && json_object_get(o, "retry_in_ms");
}

/* In one line, and seen when it is not closed. */
static void show_breaker(struct table *t, const char *name, const json_t *b)
{
    const char *state = member_text(b, "state"), *error = member_text(b, "error");
    int64_t failures = member_number(b, "failures"), wait = member_number(b, "retry_in_ms");
    struct buf text = {0};
    buf_puts(&text, state);
    if (failures > 0)
        buf_printf(&text, ", %" PRId64 " failure%s in a row", failures,
                   failures == 1 ? "" : "s");
    if (wait > 0)
        buf_printf(&text, ", tried again in %" PRId64 " s", (wait + 999) / 1000);
    if (error)
        buf_printf(&text, ": %s", error);
    table_cell(t, DIM, name);
    table_cell(t,
               strcmp(state, "closed") != 0 ? RED
               : failures > 0               ? YELLOW
                                            : PLAIN,
               text.data);
    buf_free(&text);
}

static void show_value(struct table *t, const char *name, const json_t *value)
{
    char *text = json_is_null(value)     ? NULL
                 : json_is_string(value) ? mem_strdup(json_string_value(value))
                                         : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    table_cell(t, DIM, name);
    table_cell(t, PLAIN, text);
    free(text);
}

static void flatten(struct table *t, char *name, const json_t *value);

static void flatten_object(struct table *t, const char *prefix, const json_t *object)
{
    const char *key;
    json_t *member;
    json_object_foreach ((json_t *)object, key, member) {
        flatten(t, mem_printf("%s%s%s", prefix, *prefix ? "." : "", key), member);
    }
}

/* Nested members become one name with dots: "classes.default.balancer.name"; things in a list
 * are numbered. Takes name. */
static void flatten(struct table *t, char *name, const json_t *value)
{
    if (json_is_object(value) && is_breaker(value)) {
        show_breaker(t, name, value);
    } else if (json_is_object(value)) {
        flatten_object(t, name, value);
    } else if (json_is_object(json_array_get(value, 0))) {
        for (size_t i = 0; i < json_array_size(value); i++)
            flatten(t, mem_printf("%s.%zu", name, i + 1), json_array_get(value, i));
    } else {
        show_value(t, name, value);
    }
    free(name);
}

static void show_status(const json_t *document)
{
    static const char *const headings[] = {"COUNTER", "VALUE"};
    struct table *t = table_new(2, headings);
    const char *key;
    json_t *member;
    show_figures(document);
    json_object_foreach ((json_t *)document, key, member)
        if (strcmp(key, "key_figures") != 0)
            flatten(t, mem_strdup(key), member);
    table_print(t, stdout);
    table_free(t);
}

int cmd_status(struct cli *cli, int argc, char **argv)
{
    struct call call;
    int status = no_arguments(argc, argv);
    if (status != EXIT_FINE)
        return status;
    call_now(&call, cli, "GET", "/v1/status", NULL, CALL_TIMEOUT_MS);
    status = call_report(&call, "status");
    if (status == EXIT_FINE && cli->json)
        call_print(&call);
    else if (status == EXIT_FINE)
        show_status(call.document);
    call_clear(&call);
    return status;
}

/* ---- isolation ---- */

/* Three at most, the newest; the document has more. */
static char *connections_text(const json_t *session)
{
    const json_t *list = json_object_get(session, "connections");
    size_t count = json_array_size(list);
    struct buf text = {0};
    for (size_t i = count > 3 ? count - 3 : 0; i < count; i++) {
        const char *connection = json_string_value(json_array_get(list, i));
        buf_printf(&text, "%s%s",
                   text.len    ? " "
                   : count > 3 ? "… "
                               : "",
                   connection ? connection : "?");
    }
    return buf_take(&text);
}

static void isolation_row(struct table *t, const json_t *s)
{
    const char *state = member_text(s, "state");
    const char *proof = member_text(s, "proof");
    char *connections = connections_text(s);
    table_cell(t, PLAIN, short_id(json_string_value(json_object_get(s, "session_id"))));
    table_cell(t, state_colour(state), state);
    table_cell(t, PLAIN, json_string_value(json_object_get(s, "address")));
    table_cell(t, proof && strcmp(proof, "required") == 0 ? GREEN : YELLOW, proof);
    table_cell(t, PLAIN, json_is_true(json_object_get(s, "direct_path")) ? "yes" : "no");
    table_cell_number(t, member_number(s, "probes"));
    table_cell_number(t, member_number(s, "misroutes"));
    table_cell_number(t, member_number(s, "connections_total"));
    table_cell(t, PLAIN, *connections ? connections : NULL);
    free(connections);
}

static void show_isolation(const json_t *document, bool fine)
{
    static const char *const headings[] = {"SESSION",   "STATE",  "ADDRESS",
                                           "PROOF",     "DIRECT", "PROBES",
                                           "MISROUTES", "CONNS",  "CONNECTIONS"};
    struct table *t = table_new(sizeof headings / sizeof headings[0], headings);
    size_t i;
    json_t *s;
    json_array_foreach (json_object_get(document, "sessions"), i, s) {
        isolation_row(t, s);
    }
    table_print(t, stdout);
    table_free(t);
    enum colour colour = fine ? GREEN : RED;
    printf("\n%s%" PRId64 " sessions checked, %" PRId64 " address conflicts, %" PRId64
           " shared connections%s\n",
           colour_on(stdout, colour), member_number(document, "sessions_checked"),
           member_number(document, "address_conflicts"),
           member_number(document, "shared_connections"), colour_off(stdout, colour));
}

int cmd_isolation(struct cli *cli, int argc, char **argv)
{
    struct call call;
    int status = no_arguments(argc, argv);
    if (status != EXIT_FINE)
        return status;
    call_now(&call, cli, "GET", "/v1/isolation", NULL, CALL_TIMEOUT_MS);
    status = call_report(&call, "isolation");
    bool fine = member_number(call.document, "address_conflicts") == 0 &&
                member_number(call.document, "shared_connections") == 0;
    if (status == EXIT_FINE && cli->json)
        call_print(&call);
    else if (status == EXIT_FINE)
        show_isolation(call.document, fine);
    call_clear(&call);
    return status == EXIT_FINE && !fine ? EXIT_FAILED : status;
}
