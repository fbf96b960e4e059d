#include "http/xml.h"

#include <ctype.h>
#include <expat.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"

#define DEPTH_MAX 32
#define ELEMENTS_MAX 200000

struct level {
    struct xml *element;
    struct xml **end; /* where its next child is hung in */
    struct buf text;
};

struct reader {
    XML_Parser parser;
    struct xml *root;
    struct level levels[DEPTH_MAX];
    size_t depth, elements;
    const char *refusal; /* why reading was stopped by us */
};

static void refuse(struct reader *r, const char *why)
{
    r->refusal = why;
    XML_StopParser(r->parser, XML_FALSE);
}

static void start_doctype(void *arg, const XML_Char *name, const XML_Char *system,
                          const XML_Char *public, int internal)
{
    (void)name, (void)system, (void)public, (void)internal;
    refuse(arg, "it has a DOCTYPE");
}

static void start_element(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = arg;
    (void)attributes;
    if (r->refusal)
        return;
    if (r->depth == DEPTH_MAX || ++r->elements > ELEMENTS_MAX) {
        refuse(r, r->depth == DEPTH_MAX ? "it is too deep" : "it has too many elements");
        return;
    }
    const char *colon = strchr(name, ':');
    struct xml *element = mem_alloc(sizeof *element);
    element->name = mem_strdup(colon ? colon + 1 : name);
    if (r->depth == 0) {
        r->root = element;
    } else {
        struct level *parent = &r->levels[r->depth - 1];
        *parent->end = element;
        parent->end = &element->next;
    }
    r->levels[r->depth++] = (struct level){element, &element->children, {0}};
}

static char *take_trimmed(struct buf *text)
{
    size_t start = 0, end = text->len;
    while (start < end && isspace((unsigned char)text->data[start]))
        start++;
    while (end > start && isspace((unsigned char)text->data[end - 1]))
        end--;
    char *trimmed = mem_strndup(text->data ? text->data + start : "", end - start);
    buf_free(text);
    return trimmed;
}

static void end_element(void *arg, const XML_Char *name)
{
    struct reader *r = arg;
    (void)name;
    if (r->refusal)
        return;
    struct level *level = &r->levels[--r->depth];
    level->element->text = take_trimmed(&level->text);
}

static void add_text(void *arg, const XML_Char *text, int len)
{
    struct reader *r = arg;
    if (!r->refusal && r->depth > 0)
        buf_add(&r->levels[r->depth - 1].text, text, (size_t)len);
}

/* An answer that was long in the making may have had spaces sent ahead to keep the connection
 * alive; expat wants the declaration first. */
static void skip_spaces(const char **text, size_t *len)
{
    while (*len > 0 && isspace((unsigned char)**text)) {
        ++*text;
        --*len;
    }
}

static void finish_levels(struct reader *r)
{
    while (r->depth > 0) {
        struct level *level = &r->levels[--r->depth];
        level->element->text = take_trimmed(&level->text);
    }
}

static void complain(const struct reader *r, struct error *e)
{
    if (r->refusal)
        error_set(e, ERR_PROTOCOL, "XML is not accepted: %s", r->refusal);
    else
        error_set(e, ERR_PROTOCOL, "no XML: %s in line %lu",
                  XML_ErrorString(XML_GetErrorCode(r->parser)),
                  (unsigned long)XML_GetCurrentLineNumber(r->parser));
}

struct xml *xml_parse(const void *document, size_t len, struct error *e)
{
    const char *text = document;
    skip_spaces(&text, &len);
    if (len == 0 || len > INT_MAX) {
        error_set(e, ERR_PROTOCOL, "no XML: %s", len == 0 ? "it is empty" : "it is too long");
        return NULL;
    }
    struct reader r = {.parser = XML_ParserCreate(NULL)};
    if (!r.parser)
        abort();
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, start_element, end_element);
    XML_SetCharacterDataHandler(r.parser, add_text);
    XML_SetStartDoctypeDeclHandler(r.parser, start_doctype);
    bool good = XML_Parse(r.parser, text, (int)len, XML_TRUE) == XML_STATUS_OK;
    if (!good) {
        complain(&r, e);
        finish_levels(&r);
        xml_free(r.root);
        r.root = NULL;
    }
    XML_ParserFree(r.parser);
    return r.root;
}

/* As deep as DEPTH_MAX at most; siblings are a loop. */
void xml_free(struct xml *x)
{
    while (x) {
        struct xml *next = x->next;
        xml_free(x->children);
        free(x->name);
        free(x->text);
        free(x);
        x = next;
    }
}

static const struct xml *child_named(const struct xml *parent, const char *name, size_t len)
{
    if (!parent)
        return NULL;
    for (const struct xml *c = parent->children; c; c = c->next)
        if (strncmp(c->name, name, len) == 0 && c->name[len] == '\0')
            return c;
    return NULL;
}

const struct xml *xml_child(const struct xml *parent, const char *name)
{
    return child_named(parent, name, strlen(name));
}

const struct xml *xml_find(const struct xml *root, const char *path)
{
    while (root && *path) {
        size_t len = strcspn(path, "/");
        root = child_named(root, path, len);
        path += len;
        path += *path == '/';
    }
    return root;
}

const char *xml_text(const struct xml *root, const char *path)
{
    const struct xml *x = xml_find(root, path);
    return x ? x->text : "";
}
