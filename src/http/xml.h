/* XML documents as small trees, by expat (the only file that knows it): names without their
 * namespace's prefix, text trimmed, no attributes. Documents with a DOCTYPE, deeper than 32
 * levels or with more than 200,000 elements are refused. */
#ifndef CLEAT_HTTP_XML_H
#define CLEAT_HTTP_XML_H

#include <stddef.h>
#include "base/error.h"

struct xml {
    char *name, *text; /* text: "" when there is none */
    struct xml *children, *next;
};

struct xml *xml_parse(const void *text, size_t len,
                      struct error *e); /* NULL: *e, ERR_PROTOCOL */
void xml_free(struct xml *);            /* NULL is fine */

/* The first child of that name; NULL when there is none, also for parent NULL. */
const struct xml *xml_child(const struct xml *parent, const char *name);
/* path: "DescribeTargetHealthResult/TargetHealthDescriptions"; NULL when a step is missing. */
const struct xml *xml_find(const struct xml *root, const char *path);
const char *xml_text(const struct xml *root, const char *path); /* "" when it is missing */

#endif
