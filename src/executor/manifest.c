#include "executor/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "executor/report.h"
#include "executor/utf8.h"
#include "http/json.h"

static enum error_code read_part(struct upload_part *p, const struct upload_request *r,
                                 struct error *e)
{
    int root = open(r->workspace, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_set(e, ERR_INTERNAL, "%.160s: %s", r->workspace, strerror(errno));
    tree_read(&p->tree, root, p->from, p->of_user ? r->user : TREE_ANY_OWNER, e);
    close(root);
    return e->code;
}

/* The session's own records come first, so that they are kept whatever user code left. */
static void apply_limit(struct upload_part parts[UPLOAD_PARTS], int64_t max_bytes)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < UPLOAD_PARTS; i++) {
        struct tree *t = &parts[i].tree;
        for (size_t k = 0; k < t->count; k++) {
            struct tree_file *f = &t->files[k];
            if (f->skipped)
                continue;
            if (bytes + f->size <= max_bytes) {
                bytes += f->size;
            } else {
                f->skipped = "over the limit of the upload";
                t->bytes -= f->size;
            }
        }
    }
}

enum error_code upload_parts_read(struct upload_part parts[UPLOAD_PARTS],
                                  const struct upload_request *r, struct error *e)
{
    static const struct upload_part wanted[UPLOAD_PARTS] = {
        {.from = "debug", .to = "debug", .tree = {.root = -1}},
        {.from = "home/artifacts", .to = "artifacts", .of_user = true, .tree = {.root = -1}},
        {.from = "home/data", .to = "data", .of_user = true, .tree = {.root = -1}}};
    size_t files = 0;
    int64_t bytes = 0;
    memcpy(parts, wanted, sizeof wanted);
    for (size_t i = 0; i < UPLOAD_PARTS; i++)
        if (read_part(&parts[i], r, e))
            return e->code;
    if (r->max_bytes > 0)
        apply_limit(parts, r->max_bytes);
    for (size_t i = 0; i < UPLOAD_PARTS; i++) {
        files += tree_wanted(&parts[i].tree);
        bytes += parts[i].tree.bytes;
    }
    report_total(files, bytes);
    return ERR_NONE;
}

void upload_parts_release(struct upload_part parts[UPLOAD_PARTS])
{
    for (size_t i = 0; i < UPLOAD_PARTS; i++)
        tree_free(&parts[i].tree);
}

static void add_file(json_t *files, json_t *skipped, const char *dir, const struct tree_file *f,
                     bool as_keys)
{
    struct buf path = {0};
    buf_printf(&path, "%s/", dir);
    (as_keys ? utf8_add_escaped : utf8_add)(&path, f->path, strlen(f->path));
    if (f->skipped)
        json_array_append_new(skipped,
                              json_pack("{s:s,s:s}", "path", path.data, "why", f->skipped));
    else
        json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "path", path.data, "size",
                                               (json_int_t)f->size, "sha256", f->sha256));
    buf_free(&path);
}

char *manifest_text(const struct upload_part parts[UPLOAD_PARTS],
                    const struct upload_request *r, bool as_keys)
{
    json_t *files = json_array(), *skipped = json_array();
    for (size_t i = 0; i < UPLOAD_PARTS; i++)
        for (size_t k = 0; k < parts[i].tree.count; k++)
            add_file(files, skipped, parts[i].to, &parts[i].tree.files[k], as_keys);
    json_t *o = json_pack("{s:s,s:I,s:s,s:o,s:o,s:I}", "session_id", r->session, "attempt",
                          (json_int_t)strtoll(r->attempt, NULL, 10), "nonce", r->nonce, "files",
                          files, "skipped", skipped, "bytes", (json_int_t)report_bytes_done());
    char *text = js_text(o);
    json_decref(o);
    return text;
}
