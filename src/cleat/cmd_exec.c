#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/id.h"
#include "base/mem.h"
#include "cleat/ids.h"
#include "cleat/input.h"
#include "cleat/term.h"

#define MAX_CODE (4u * 1024 * 1024) /* cleatd takes no more */
#define MAX_TIMEOUT_S 86400
/* Executions before it may run first: cleatd knows the deadlines, we only must not be hasty. */
#define EXEC_TIMEOUT_MS (7 * 86400 * (int64_t)1000)

struct options {
    int64_t timeout_s; /* 0: the session's */
    bool bash;
};

static int read_options(struct options *o, int argc, char **argv)
{
    static const struct option names[] = {
        {"timeout", required_argument, NULL, 't'},
        {"bash", no_argument, NULL, 'b'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "+", names, NULL)) != -1) {
        if (c == 't' && !read_seconds("--timeout", optarg, 1, MAX_TIMEOUT_S, &o->timeout_s))
            return EXIT_USAGE;
        if (c == 'b')
            o->bash = true;
        if (c == '?')
            return EXIT_USAGE;
    }
    return EXIT_FINE;
}

static json_t *code_request(const char *code, bool bash)
{
    char *whole = mem_printf("%s%s", bash ? "BASH:" : "", code);
    json_t *request = json_pack("{s:s}", "code", whole);
    free(whole);
    return request;
}

static json_t *argv_request(char **words)
{
    json_t *list = json_array();
    for (; *words; words++) {
        if (json_array_append_new(list, json_string(*words)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return json_pack("{s:o}", "argv", list);
}

/* words: what follows the id. NULL: said. */
static json_t *make_request(const struct options *o, char **words, bool as_argv)
{
    json_t *request = NULL;
    if (as_argv) {
        request = argv_request(words);
    } else if (strcmp(words[0], "-") == 0) {
        size_t len;
        char *code = input_read("-", MAX_CODE, &len);
        if (!code)
            return NULL;
        request = code_request(code, o->bash);
        free(code);
    } else {
        request = code_request(words[0], o->bash);
    }
    if (!request)
        usage_error("the code is not UTF-8");
    else if (o->timeout_s > 0)
        json_object_set_new(request, "timeout_s", json_integer(o->timeout_s));
    return request;
}

/* An id of our own, so that the record can be asked for when the answer is lost. */
static void set_execution_id(struct cli *cli, json_t *request)
{
    uint8_t random[10];
    char id[ID_SIZE];
    loop_random(cli->loop, random, sizeof random);
    id_make(id, loop_wall_ms(cli->loop), random);
    json_object_set_new(request, "execution_id", json_string(id));
}

static void write_stream(const json_t *record, const char *key, FILE *to)
{
    const json_t *text = json_object_get(record, key);
    if (json_is_string(text))
        fwrite(json_string_value(text), 1, json_string_length(text), to);
    fflush(to);
}

static void explain(const json_t *record)
{
    const json_t *code = json_object_get(record, "exit_code");
    const json_t *signal = json_object_get(record, "signal");
    const char *error = json_string_value(json_object_get(record, "error"));
    fputs("cleat: execution failed", stderr);
    if (json_is_true(json_object_get(record, "timed_out")))
        fputs(": its time was up", stderr);
    else if (json_is_true(json_object_get(record, "cancelled")))
        fputs(": it was cancelled", stderr);
    else if (json_is_integer(signal))
        fprintf(stderr, ": killed by signal %d", (int)json_integer_value(signal));
    else if (json_is_integer(code))
        fprintf(stderr, ": exit code %d", (int)json_integer_value(code));
    else if (error && *error)
        fprintf(stderr, ": %s", error);
    fputc('\n', stderr);
}

static int show_record(const struct cli *cli, const struct call *call)
{
    const char *status = json_string_value(json_object_get(call->document, "status"));
    bool completed = status && strcmp(status, "completed") == 0;
    if (cli->json) {
        call_print(call);
    } else {
        write_stream(call->document, "stdout", stdout);
        write_stream(call->document, "stderr", stderr);
        if (!completed)
            explain(call->document);
    }
    return completed ? EXIT_FINE : EXIT_FAILED;
}

static int execute(struct cli *cli, const char *id, json_t *request)
{
    struct call call;
    char *path = mem_printf("/v1/sessions/%s/execute", id);
    set_execution_id(cli, request);
    char *body = json_dumps(request, JSON_COMPACT);
    call_now(&call, cli, "POST", path, body, EXEC_TIMEOUT_MS);
    int status = call_report(&call, short_id(id));
    const char *ran =
        json_string_value(json_object_get(json_object_get(call.document, "error"), "ran"));
    if (status == EXIT_FINE)
        status = show_record(cli, &call);
    else if (ran)
        fprintf(stderr, "cleat: did the code run? %s\n", ran);
    call_clear(&call);
    free(body);
    free(path);
    return status;
}

int cmd_exec(struct cli *cli, int argc, char **argv)
{
    struct options o = {0};
    json_t *cache = NULL;
    int status = read_options(&o, argc, argv);
    if (status != EXIT_FINE)
        return status;
    char **words = argv + optind + 1;
    int count = argc - optind - 1;
    bool as_argv = count > 0 && strcmp(words[0], "--") == 0;
    words += as_argv ? 1 : 0;
    count -= as_argv ? 1 : 0;
    if (count < 1 || (!as_argv && count > 1))
        return usage_error("exec takes ID and CODE, - or -- ARGV…");
    if (as_argv && o.bash)
        return usage_error("--bash is for code, not for an argv");
    char *id = find_id(cli, &session_ids, argv[optind], &cache, &status);
    json_t *request = id ? make_request(&o, words, as_argv) : NULL;
    if (id)
        status = request ? execute(cli, id, request) : EXIT_USAGE;
    json_decref(request);
    json_decref(cache);
    free(id);
    return status;
}
