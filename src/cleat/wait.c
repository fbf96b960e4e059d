#include "cleat/wait.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/progress.h"
#include "cleat/term.h"

#define GRACE_MS 5000 /* cleatd tells that a wait timed out; we give up later */

void print_documents(const struct id_kind *kind, const struct call *calls, size_t count)
{
    json_t *whole = json_object(), *list = json_array();
    json_object_set_new(whole, kind->list, list);
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

static int run_each(struct cli *cli, const struct id_kind *kind, char *const *ids, size_t count,
                    const char *method, const char *query, int64_t timeout_ms, bool progress)
{
    struct call *calls = mem_array(count ? count : 1, sizeof *calls);
    for (size_t i = 0; i < count; i++) {
        char *path = mem_printf("%s/%s%s", kind->path, ids[i], query);
        call_start(&calls[i], cli, method, path, NULL, timeout_ms);
        free(path);
    }
    struct progress *picture =
        progress ? progress_new(cli, &session_progress, ids, count) : NULL;
    call_run_all(cli);
    if (picture) {
        progress_finish(picture);
        progress_free(picture);
    }
    if (cli->json && count > 0)
        print_documents(kind, calls, count);
    int status = report_all(calls, ids, count);
    for (size_t i = 0; i < count; i++)
        call_clear(&calls[i]);
    free(calls);
    return status;
}

int for_each_id(struct cli *cli, const struct id_kind *kind, char *const *ids, size_t count,
                const char *method, const char *query, int64_t timeout_ms)
{
    return run_each(cli, kind, ids, count, method, query, timeout_ms, false);
}

int wait_for_sessions(struct cli *cli, char *const *ids, size_t count, bool closed,
                      int64_t timeout_s)
{
    char *query =
        mem_printf("?wait=%s&timeout_s=%" PRId64, closed ? "closed" : "ready", timeout_s);
    int status = run_each(cli, &session_ids, ids, count, "GET", query,
                          timeout_s * 1000 + GRACE_MS, !closed);
    free(query);
    return status;
}
