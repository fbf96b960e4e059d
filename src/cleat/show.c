#include "cleat/show.h"

#include <stdlib.h>
#include <string.h>
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
