/* timeline and job timeline */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/job.h"
#include "cleat/timeline.h"

static int write_file(const char *path, const char *text)
{
    bool to_stdout = strcmp(path, "-") == 0;
    FILE *f = to_stdout ? stdout : fopen(path, "we");
    bool fine = f && fputs(text, f) != EOF && fflush(f) == 0;
    int cause = errno;
    if (f && !to_stdout && fclose(f) != 0 && fine) {
        fine = false;
        cause = errno;
    }
    if (fine)
        return EXIT_FINE;
    fprintf(stderr, "cleat: %s: %s\n", path, strerror(cause));
    return EXIT_ERROR;
}

static int draw(const struct id_kind *kind, const struct timeline *t, const char *svg)
{
    if (t->count == 0) {
        fprintf(stderr, "cleat: there are no %s to draw (not_found)\n", kind->list);
        return EXIT_NOT_FOUND;
    }
    if (!svg) {
        timeline_print(t, stdout);
        return EXIT_FINE;
    }
    char *text = timeline_svg(t);
    int status = write_file(svg, text);
    free(text);
    return status;
}

static int show_timeline(struct cli *cli, const struct id_kind *kind, char *const *ids,
                         size_t count, const char *svg)
{
    struct call call;
    call_now(&call, cli, "GET", kind->path, NULL, CALL_TIMEOUT_MS);
    int status = call_report(&call, "timeline");
    const json_t *listed = json_object_get(call.document, kind->list);
    if (status == EXIT_FINE && cli->json) {
        call_print(&call);
    } else if (status == EXIT_FINE) {
        struct timeline *t = (kind == &job_ids ? timeline_of_jobs : timeline_new)(
            listed, ids, count, loop_wall_ms(cli->loop));
        status = draw(kind, t, svg);
        timeline_free(t);
    }
    call_clear(&call);
    return status;
}

static int run(struct cli *cli, const struct id_kind *kind, int argc, char **argv)
{
    static const struct option names[] = {{"svg", required_argument, NULL, 's'},
                                          {NULL, 0, NULL, 0}};
    const char *svg = NULL;
    char **ids = NULL;
    int o, status = EXIT_FINE;
    while ((o = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (o != 's')
            return EXIT_USAGE;
        svg = optarg;
    }
    if (svg && cli->json)
        return usage_error("timeline draws an SVG or prints JSON, not both");
    size_t count = (size_t)(argc - optind);
    if (count > 0 && !(ids = find_ids(cli, kind, argv + optind, count, &status)))
        return status;
    status = show_timeline(cli, kind, ids, count, svg);
    free_ids(ids, count);
    return status;
}

int cmd_timeline(struct cli *cli, int argc, char **argv)
{
    return run(cli, &session_ids, argc, argv);
}

int job_timeline(struct cli *cli, int argc, char **argv)
{
    return run(cli, &job_ids, argc, argv);
}
