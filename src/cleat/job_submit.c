#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/input.h"
#include "cleat/job.h"
#include "cleat/member.h"
#include "cleat/request.h"
#include "http/json.h"

#define MAX_INPUT (4u * 1024 * 1024)
#define MAX_TIMEOUT_S 86400

struct plan {
    json_t *request;
    const char *request_id, *code;
    bool wait, follow;
};

static int add_stdin(json_t *request, const char *path)
{
    size_t len;
    char *bytes = input_read(path, MAX_INPUT, &len);
    if (!bytes)
        return EXIT_USAGE;
    js_set_bytes(request, "stdin", bytes, len);
    free(bytes);
    return EXIT_FINE;
}

static int set_timeout(json_t *request, const char *text)
{
    int64_t timeout_s;
    if (!read_seconds("--timeout", text, 1, MAX_TIMEOUT_S, &timeout_s))
        return EXIT_USAGE;
    json_object_set_new(request, "timeout_s", json_integer(timeout_s));
    return EXIT_FINE;
}

static int read_options(struct plan *plan, int argc, char **argv)
{
    static const struct option names[] = {
        REQUEST_OPTIONS,
        {"request-id", required_argument, NULL, 'r'},
        {"name", required_argument, NULL, 'n'},
        {"code", required_argument, NULL, 'c'},
        {"stdin-file", required_argument, NULL, 'i'},
        {"timeout", required_argument, NULL, 't'},
        {"wait", no_argument, NULL, 'w'},
        {"follow", no_argument, NULL, 'f'},
        {NULL, 0, NULL, 0},
    };
    int o, status = EXIT_FINE;
    while (status == EXIT_FINE && (o = getopt_long(argc, argv, "+f", names, NULL)) != -1) {
        if (o == 'n')
            status = request_set_text(plan->request, "name", optarg);
        else if (o == 'i')
            status = add_stdin(plan->request, optarg);
        else if (o == 't')
            status = set_timeout(plan->request, optarg);
        else if (o == 'r')
            plan->request_id = optarg;
        else if (o == 'c')
            plan->code = optarg;
        else if (o == 'w')
            plan->wait = true;
        else if (o == 'f')
            plan->follow = true;
        else
            status = request_take(plan->request, o, optarg);
    }
    return status;
}

static int add_command(const struct plan *plan, char **words)
{
    json_t *argv = json_array();
    if (!*words == !plan->code) {
        json_decref(argv);
        return usage_error("job submit takes a command after --, or --code");
    }
    if (plan->code) {
        json_decref(argv);
        return request_set_text(plan->request, "code", plan->code);
    }
    json_object_set_new(plan->request, "argv", argv);
    for (; *words; words++)
        if (json_array_append_new(argv, json_string(*words)) != 0)
            return usage_error("the command is not UTF-8");
    return EXIT_FINE;
}

static int follow(struct cli *cli, char *id)
{
    struct job_log log = {.id = id, .follow = true};
    int status = job_copy_log(cli, &log);
    if (status != EXIT_FINE || ferror(stdout))
        return status > JOB_KILLED ? status : JOB_NO_RESULT;
    return job_await_all(cli, &id, 1, 0);
}

/* Before the waiting: whoever reads it may act on it. The standard output of a job that is
 * followed is the job's alone. */
static void tell_id(const struct plan *plan, const char *id)
{
    if (plan->follow)
        fprintf(stderr, "cleat: job %s\n", id);
    else
        puts(id);
    fflush(stdout);
}

static int submit(struct cli *cli, const struct plan *plan)
{
    struct call call;
    bool stays = plan->wait || plan->follow;
    char *body = json_dumps(plan->request, JSON_COMPACT);
    call_now(&call, cli, "POST", job_ids.path, body, CALL_TIMEOUT_MS);
    free(body);
    char *id = mem_strdup(member_text(call.document, job_ids.key));
    int status = call_report(&call, "job submit");
    if (status == EXIT_FINE && !id) {
        fputs("cleat: job submit: the answer has no job_id (protocol_error)\n", stderr);
        status = EXIT_ERROR;
    }
    if (status == EXIT_FINE && cli->json && !stays)
        call_print(&call);
    else if (status == EXIT_FINE && !cli->json)
        tell_id(plan, id);
    call_clear(&call);
    if (status == EXIT_FINE && stays)
        status = plan->follow ? follow(cli, id) : job_await_all(cli, &id, 1, 0);
    else if (stays)
        status = JOB_NO_RESULT;
    free(id);
    return status;
}

int job_submit(struct cli *cli, int argc, char **argv)
{
    struct plan plan = {.request = json_object()};
    int status = read_options(&plan, argc, argv);
    if (status == EXIT_FINE)
        status = add_command(&plan, argv + optind);
    if (status == EXIT_FINE)
        status = request_set_id(cli, plan.request, plan.request_id);
    if (status == EXIT_FINE)
        status = submit(cli, &plan);
    json_decref(plan.request);
    return status;
}
