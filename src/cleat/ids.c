#include "cleat/ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/id.h"
#include "base/mem.h"
#include "cleat/member.h"

const struct id_kind session_ids = {"/v1/sessions", "sessions", "session_id", "session"};
const struct id_kind job_ids = {"/v1/jobs", "jobs", "job_id", "job"};

static bool id_matches(const char *id, const char *part)
{
    size_t whole = strlen(id), len = strlen(part);
    return len <= whole && (strncmp(id, part, len) == 0 || strcmp(id + whole - len, part) == 0);
}

static json_t *list_all(struct cli *cli, const struct id_kind *kind, int *status)
{
    struct call c;
    call_now(&c, cli, "GET", kind->path, NULL, CALL_TIMEOUT_MS);
    *status = call_report(&c, kind->list);
    json_t *list = json_incref(json_object_get(c.document, kind->list));
    call_clear(&c);
    return list;
}

static char *find_part(const struct id_kind *kind, const json_t *listed, const char *part,
                       int *status)
{
    const char *found = NULL;
    size_t i, count = 0;
    json_t *o;
    json_array_foreach (listed, i, o) {
        const char *id = member_text(o, kind->key);
        if (id && id_matches(id, part)) {
            found = id;
            count++;
        }
    }
    if (count == 0) {
        fprintf(stderr, "cleat: %s: no such %s (not_found)\n", part, kind->noun);
        *status = EXIT_NOT_FOUND;
    } else if (count > 1) {
        *status = usage_error("%s means %zu %s: give more of the id", part, count, kind->list);
        found = NULL;
    }
    return mem_strdup(found);
}

char *find_id(struct cli *cli, const struct id_kind *kind, const char *argument,
              json_t **listed, int *status)
{
    *status = EXIT_FINE;
    if (id_valid(argument))
        return mem_strdup(argument);
    if (strlen(argument) < 4 || argument[strspn(argument, "0123456789abcdef-")]) {
        *status = usage_error("\"%s\" is neither a %s id nor four characters of one", argument,
                              kind->noun);
        return NULL;
    }
    if (!*listed)
        *listed = list_all(cli, kind, status);
    return *status == EXIT_FINE ? find_part(kind, *listed, argument, status) : NULL;
}

char **find_ids(struct cli *cli, const struct id_kind *kind, char **arguments, size_t count,
                int *status)
{
    json_t *listed = NULL;
    char **ids = mem_array(count ? count : 1, sizeof *ids);
    *status = EXIT_FINE;
    for (size_t i = 0; i < count && *status == EXIT_FINE; i++)
        ids[i] = find_id(cli, kind, arguments[i], &listed, status);
    json_decref(listed);
    if (*status != EXIT_FINE) {
        free_ids(ids, count);
        return NULL;
    }
    return ids;
}

void free_ids(char **ids, size_t count)
{
    for (size_t i = 0; ids && i < count; i++)
        free(ids[i]);
    free(ids);
}
