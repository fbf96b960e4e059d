/* wait and kill */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/wait.h"

struct options {
    bool closed, all, wait;
    int64_t timeout_s;
};

static int read_options(struct options *o, const struct option *names, int argc, char **argv)
{
    int c;
    o->timeout_s = 300;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 't' && !read_seconds("--timeout", optarg, 1, WAIT_MAX_S, &o->timeout_s))
            return EXIT_USAGE;
        if (c == '?')
            return EXIT_USAGE;
        o->closed = o->closed || c == 'c';
        o->all = o->all || c == 'a';
        o->wait = o->wait || c == 'w';
    }
    return EXIT_FINE;
}

int cmd_wait(struct cli *cli, int argc, char **argv)
{
    static const struct option names[] = {
        {"closed", no_argument, NULL, 'c'},
        {"timeout", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {0};
    int status = read_options(&o, names, argc, argv);
    if (status != EXIT_FINE)
        return status;
    if (optind == argc)
        return usage_error("wait takes the IDs of sessions");
    size_t count = (size_t)(argc - optind);
    char **ids = find_ids(cli, &session_ids, argv + optind, count, &status);
    if (ids)
        status = wait_for_sessions(cli, ids, count, o.closed, o.timeout_s);
    free_ids(ids, count);
    return status;
}

static bool is_open(const json_t *session)
{
    const char *state = json_string_value(json_object_get(session, "state"));
    return state && strcmp(state, "CLOSED") != 0 && strcmp(state, "FAILED") != 0;
}

static char **find_open_sessions(struct cli *cli, size_t *count, int *status)
{
    struct call call;
    char **ids = NULL;
    size_t i;
    json_t *s;
    call_now(&call, cli, "GET", "/v1/sessions", NULL, CALL_TIMEOUT_MS);
    *status = call_report(&call, "kill");
    json_array_foreach (json_object_get(call.document, "sessions"), i, s) {
        const char *id = json_string_value(json_object_get(s, "session_id"));
        if (!id || !is_open(s) || json_is_true(json_object_get(s, "warm")))
            continue; /* a warm container is nobody's session */
        ids = mem_grow(ids, (*count + 1) * sizeof *ids);
        ids[(*count)++] = mem_strdup(id);
    }
    call_clear(&call);
    return ids;
}

/* Closing begins for all before anything is waited for. */
static int kill_sessions(struct cli *cli, char *const *ids, size_t count,
                         const struct options *o)
{
    bool json = cli->json;
    cli->json = json && !o->wait;
    int status = for_each_id(cli, &session_ids, ids, count, "DELETE", "", CALL_TIMEOUT_MS);
    cli->json = json;
    if (o->wait) {
        int waited = wait_for_sessions(cli, ids, count, true, o->timeout_s);
        status = status == EXIT_FINE ? waited : status;
    }
    return status;
}

int cmd_kill(struct cli *cli, int argc, char **argv)
{
    static const struct option names[] = {
        {"all", no_argument, NULL, 'a'},
        {"wait", no_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    struct options o = {0};
    int status = read_options(&o, names, argc, argv);
    if (status != EXIT_FINE)
        return status;
    if (o.all != (optind == argc))
        return usage_error("kill takes either --all or the IDs of sessions");
    size_t count = o.all ? 0 : (size_t)(argc - optind);
    char **ids = o.all ? find_open_sessions(cli, &count, &status)
                       : find_ids(cli, &session_ids, argv + optind, count, &status);
    if (status == EXIT_FINE && count > 0)
        status = kill_sessions(cli, ids, count, &o);
    free_ids(ids, count);
    return status;
}
