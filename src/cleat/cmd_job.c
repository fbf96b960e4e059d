/* job: its commands, and the short ones of them */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cleat/job.h"
#include "cleat/show.h"
#include "cleat/wait.h"

#define MAX_WAIT_S (7 * 86400)

static const struct command commands[] = {
    {"submit",
     "[--name N] [--stdin-file F] [--timeout T] [--wait | --follow]\n"
     "    [--class C] [--request-id R] [--tenant T] [--user U] [--thread H] [--run N]\n"
     "    [--parent ID] [--env K=V]… [--cpu-milli N] [--memory-mb N] [--gpu N]\n"
     "    [--label K=V]… [--no-queue] -- ARGV… | --code CODE",
     "run a command and print the job's id", job_submit},
    {"list", "[--state S] [--tenant T]", "list jobs", job_list},
    {"show", "ID", "all about one job", job_show},
    {"logs", "[-f] [--after OFFSET] [--stdout | --stderr] ID", "what a job wrote", job_logs},
    {"wait", "[--timeout T] ID…", "wait until jobs have ended, and exit as they did", job_wait},
    {"cancel", "ID…", "end jobs", job_cancel},
    {"timeline", "[--svg FILE] [ID…]", "draw which jobs ran at the same time", job_timeline},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void print_commands(FILE *to)
{
    fputs("usage: cleat job COMMAND …\n", to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  cleat job %s %s\n      %s\n", commands[i].name, commands[i].arguments,
                commands[i].help);
}

int cmd_job(struct cli *cli, int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "--help") == 0)
        return print_commands(stdout), EXIT_FINE;
    for (size_t i = 0; argc >= 2 && i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, argv[1]) != 0)
            continue;
        if (argc == 3 && strcmp(argv[2], "--help") == 0)
            return printf("cleat job %s %s\n    %s\n", commands[i].name, commands[i].arguments,
                          commands[i].help),
                   EXIT_FINE;
        return commands[i].run(cli, argc - 1, argv + 1);
    }
    print_commands(stderr);
    return argc < 2 ? EXIT_USAGE : usage_error("no command \"job %s\"", argv[1]);
}

/* ---- show ---- */

int job_show(struct cli *cli, int argc, char **argv)
{
    return show_one(cli, &job_ids, "job show", argc, argv, show_members);
}

/* ---- logs ---- */

static int read_log_options(struct job_log *log, int argc, char **argv)
{
    static const struct option names[] = {
        {"follow", no_argument, NULL, 'f'},
        {"after", required_argument, NULL, 'a'},
        {"stdout", no_argument, NULL, 'o'},
        {"stderr", no_argument, NULL, 'e'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "f", names, NULL)) != -1) {
        if (c == 'a' && !read_number("--after", optarg, 0, INT64_MAX, &log->after))
            return EXIT_USAGE;
        if (c == '?')
            return EXIT_USAGE;
        if ((c == 'o' || c == 'e') && log->stream)
            return usage_error("--stdout and --stderr are both by default, and one alone");
        if (c == 'o' || c == 'e')
            log->stream = c == 'o' ? "stdout" : "stderr";
        log->follow = log->follow || c == 'f';
    }
    return optind + 1 == argc ? EXIT_FINE : usage_error("job logs takes one ID");
}

int job_logs(struct cli *cli, int argc, char **argv)
{
    struct job_log log = {0};
    json_t *listed = NULL;
    int status = read_log_options(&log, argc, argv);
    if (status != EXIT_FINE)
        return status;
    char *id = find_id(cli, &job_ids, argv[optind], &listed, &status);
    log.id = id;
    if (id)
        status = job_copy_log(cli, &log);
    json_decref(listed);
    free(id);
    return status;
}

/* ---- wait and cancel ---- */

int job_wait(struct cli *cli, int argc, char **argv)
{
    static const struct option names[] = {{"timeout", required_argument, NULL, 't'},
                                          {NULL, 0, NULL, 0}};
    int64_t timeout_s = 0;
    int c, status;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1)
        if (c != 't' || !read_seconds("--timeout", optarg, 1, MAX_WAIT_S, &timeout_s))
            return EXIT_USAGE;
    if (optind == argc)
        return usage_error("job wait takes the IDs of jobs");
    size_t count = (size_t)(argc - optind);
    char **ids = find_ids(cli, &job_ids, argv + optind, count, &status);
    if (!ids)
        return status == EXIT_USAGE ? status : JOB_NO_RESULT;
    status = job_await_all(cli, ids, count, timeout_s);
    free_ids(ids, count);
    return status;
}

int job_cancel(struct cli *cli, int argc, char **argv)
{
    static const struct option no_options[] = {{NULL, 0, NULL, 0}};
    int status;
    if (getopt_long(argc, argv, "", no_options, NULL) != -1)
        return EXIT_USAGE;
    if (optind == argc)
        return usage_error("job cancel takes the IDs of jobs");
    size_t count = (size_t)(argc - optind);
    char **ids = find_ids(cli, &job_ids, argv + optind, count, &status);
    if (ids)
        status = for_each_id(cli, &job_ids, ids, count, "DELETE", "", CALL_TIMEOUT_MS);
    free_ids(ids, count);
    return status;
}
