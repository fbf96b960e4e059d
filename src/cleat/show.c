#include "cleat/show.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "cleat/term.h"

void show_members(const json_t *document)
{
    static const char *const headings[] = {"MEMBER", "VALUE"};
    struct table *t = table_new(2, headings);
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)document, key, value) {
        bool is_state = strcmp(key, "state") == 0;
        char *text = NULL;
        if (json_is_null(value) || json_is_array(value))
            continue;
        if (!json_is_string(value))
            text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        table_cell(t, DIM, key);
        table_cell(t, is_state ? state_colour(json_string_value(value)) : PLAIN,
                   text ? text : json_string_value(value));
        free(text);
    }
    table_print(t, stdout);
    table_free(t);
}

int show_one(struct cli *cli, const struct id_kind *kind, const char *command, int argc,
             char **argv, void (*show)(const json_t *))
{
    static const struct option no_options[] = {{NULL, 0, NULL, 0}};
    json_t *listed = NULL;
    struct call call;
    int status;
    if (getopt_long(argc, argv, "", no_options, NULL) != -1)
        return EXIT_USAGE;
    if (optind + 1 != argc)
        return usage_error("%s takes one ID", command);
    char *id = find_id(cli, kind, argv[optind], &listed, &status);
    json_decref(listed);
    if (!id)
        return status;
    char *path = mem_printf("%s/%s", kind->path, id);
    call_now(&call, cli, "GET", path, NULL, CALL_TIMEOUT_MS);
    status = call_report(&call, argv[optind]);
    if (status == EXIT_FINE && cli->json)
        call_print(&call);
    else if (status == EXIT_FINE)
        show(call.document);
    call_clear(&call);
    free(path);
    free(id);
    return status;
}
