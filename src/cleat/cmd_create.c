#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cleat/request.h"
#include "cleat/wait.h"

#define MAX_COUNT 1000
#define MAX_TIMEOUT_S 3600

struct plan {
    json_t *request;
    const char *request_id; /* NULL: a fresh one for each session */
    int64_t count, timeout_s;
    bool wait;
};

static int read_options(struct plan *plan, int argc, char **argv)
{
    static const struct option names[] = {
        REQUEST_OPTIONS,
        {"request-id", required_argument, NULL, 'r'},
        {"input", required_argument, NULL, 'i'},
        {"count", required_argument, NULL, 'n'},
        {"timeout", required_argument, NULL, 's'},
        {"wait", no_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    int o, status = EXIT_FINE;
    while (status == EXIT_FINE && (o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (o == 'i')
            status = request_set_text(plan->request, "input", optarg);
        else if (o == 'r')
            plan->request_id = optarg;
        else if (o == 'w')
            plan->wait = true;
        else if (o == 'n')
            status = read_number("--count", optarg, 1, MAX_COUNT, &plan->count) ? EXIT_FINE
                                                                                : EXIT_USAGE;
        else if (o == 's')
            status = read_seconds("--timeout", optarg, 1, MAX_TIMEOUT_S, &plan->timeout_s)
                         ? EXIT_FINE
                         : EXIT_USAGE;
        else
            status = request_take(plan->request, o, optarg);
    }
    if (status == EXIT_FINE && optind < argc)
        status = usage_error("create takes options only, not \"%s\"", argv[optind]);
    return status;
}

static int set_request_id(struct cli *cli, const struct plan *plan, int64_t i)
{
    char *numbered = plan->request_id && plan->count > 1
                         ? mem_printf("%s-%d", plan->request_id, (int)i + 1)
                         : mem_strdup(plan->request_id);
    int status = request_set_id(cli, plan->request, numbered);
    free(numbered);
    return status;
}

static int start_all(struct cli *cli, const struct plan *plan, struct call *calls)
{
    for (int64_t i = 0; i < plan->count; i++) {
        int status = set_request_id(cli, plan, i);
        if (status != EXIT_FINE)
            return status;
        char *body = json_dumps(plan->request, JSON_COMPACT);
        call_start(&calls[i], cli, "POST", "/v1/sessions", body, CALL_TIMEOUT_MS);
        free(body);
    }
    call_run_all(cli);
    return EXIT_FINE;
}

/* The ids of those that were created, *made of them. What failed is said. */
static char **collect_ids(const struct call *calls, size_t count, size_t *made, int *status)
{
    char **ids = mem_array(count, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        const char *id = json_string_value(json_object_get(calls[i].document, "session_id"));
        int failure = call_report(&calls[i], "create");
        if (failure == EXIT_FINE && id)
            ids[(*made)++] = mem_strdup(id);
        else if (*status == EXIT_FINE)
            *status = failure == EXIT_FINE ? EXIT_ERROR : failure;
    }
    return ids;
}

static void print_ids(char *const *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        puts(ids[i]);
    fflush(stdout); /* before the waiting: whoever reads them may act on them */
}

static int create_all(struct cli *cli, const struct plan *plan)
{
    size_t count = (size_t)plan->count, made = 0;
    struct call *calls = mem_array(count, sizeof *calls);
    int status = start_all(cli, plan, calls);
    char **ids = collect_ids(calls, count, &made, &status);
    if (cli->json && !plan->wait)
        print_documents(&session_ids, calls, count);
    if (!cli->json)
        print_ids(ids, made);
    if (plan->wait && made > 0) {
        int waited = wait_for_sessions(cli, ids, made, false, plan->timeout_s);
        status = status == EXIT_FINE ? waited : status;
    }
    free_ids(ids, made);
    for (size_t i = 0; i < count; i++)
        call_clear(&calls[i]);
    free(calls);
    return status;
}

int cmd_create(struct cli *cli, int argc, char **argv)
{
    struct plan plan = {.request = json_object(), .count = 1, .timeout_s = 300};
    int status = read_options(&plan, argc, argv);
    if (status == EXIT_FINE)
        status = create_all(cli, &plan);
    json_decref(plan.request);
    return status;
}
