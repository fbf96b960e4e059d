#include "cleat/wait.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/progress.h"
#include "cleat/term.h"

#define GRACE_MS 5000 /* cleatd tells that a wait timed out; we give up later */

void free_ids(char **ids, size_t count)
{
    for (size_t i = 0; ids && i < count; i++)
        free(ids[i]);
    free(ids);
}

char **find_sessions(struct cli *cli, char **arguments, size_t count, int *status)
{
    json_t *cache = NULL;
    char **ids = mem_array(count, sizeof *ids);
    *status = EXIT_FINE;
    for (size_t i = 0; i < count && *status == EXIT_FINE; i++)
        ids[i] = find_session(cli, arguments[i], &cache, status);
    json_decref(cache);
    if (*status != EXIT_FINE) {
        free_ids(ids, count);
        return NULL;
    }
    return ids;
}

void print_documents(const struct call *calls, size_t count)
{
    json_t *whole = json_object(), *list = json_array();
    json_object_set_new(whole, "sessions", list);
    for (size_t i = 0; i < count; i++)
        if (calls[i].exit == EXIT_FINE)
            json_array_append(list, calls[i].document);
    if (count > 1) {
        char *text = json_dumps(whole, JSON_COMPACT);
        puts(text);
        free(text);
    } else if (calls[0].text) {
        puts(calls[0].text);
    }
    json_decref(whole);
}

static int report_all(const struct call *calls, char *const *ids, size_t count)
{
    int status = EXIT_FINE;
    for (size_t i = 0; i < count; i++) {
        int failure = call_report(&calls[i], short_id(ids[i]));
        if (status == EXIT_FINE)
            status = failure;
    }
    return status;
}

static int run_each(struct cli *cli, char *const *ids, size_t count, const char *method,
                    const char *query, int64_t timeout_ms, bool progress)
{
    struct call *calls = mem_array(count ? count : 1, sizeof *calls);
    for (size_t i = 0; i < count; i++) {
        char *path = mem_printf("/v1/sessions/%s%s", ids[i], query);
        call_start(&calls[i], cli, method, path, NULL, timeout_ms);
        free(path);
    }
    struct progress *picture = progress ? progress_new(cli, ids, count) : NULL;
    call_run_all(cli);
    if (picture) {
        progress_finish(picture);
        progress_free(picture);
    }
    if (cli->json && count > 0)
        print_documents(calls, count);
    int status = report_all(calls, ids, count);
    for (size_t i = 0; i < count; i++)
        call_clear(&calls[i]);
    free(calls);
    return status;
}

int for_each_session(struct cli *cli, char *const *ids, size_t count, const char *method,
                     const char *query, int64_t timeout_ms)
{
    return run_each(cli, ids, count, method, query, timeout_ms, false);
}

int wait_for_sessions(struct cli *cli, char *const *ids, size_t count, bool closed,
                      int64_t timeout_s)
{
    char *query =
        mem_printf("?wait=%s&timeout_s=%" PRId64, closed ? "closed" : "ready", timeout_s);
    int status = run_each(cli, ids, count, "GET", query, timeout_s * 1000 + GRACE_MS, !closed);
    free(query);
    return status;
}
