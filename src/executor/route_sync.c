#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "executor/enter.h"
#include "executor/executor.h"
#include "executor/s3_sync.h"
#include "executor/tree.h"
#include "executor/upload.h"
#include "http/json.h"

static json_t *sync_answer(const char *status, int64_t files, const char *error)
{
    json_t *body = json_pack("{s:s,s:I}", "status", status, "files_count", (json_int_t)files);
    if (error)
        json_object_set_new(body, "error", json_string(error));
    return body;
}

static void on_synced(void *arg, const struct error *e, const struct helper_progress *progress)
{
    struct pending *p = arg;
    struct executor *x = p->executor;
    x->synced = x->synced || (!e && p->download);
    if (p->request)
        contract_answer(
            x, p->request, 200,
            sync_answer(e ? "error" : "success", progress->files_done, e ? e->message : NULL));
    free(p);
    closing_wake(&x->closing);
}

/* Below home: "/workspace/data", WORKSPACE/home/data or "data". NULL: not below it. */
static const char *path_in_home(const struct config *c, const char *path)
{
    const char *const roots[] = {ENTER_HOME, c->home};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(roots[i]);
        if (strncmp(path, roots[i], len) == 0 && (path[len] == '/' || !path[len])) {
            path += len + (path[len] == '/');
            break;
        }
    }
    return !*path || tree_path_valid(path) ? path : NULL;
}

struct sync_body {
    const char *action, *bucket, *path;
    char *prefix;
    bool upload;
};

/* A session has no business outside its own part of the bucket. */
static bool is_own_prefix(const struct config *c, const char *prefix)
{
    char *own = s3_key(c->artifact_s3.prefix, c->session);
    size_t len = strlen(own);
    bool below = strncmp(prefix, own, len) == 0 && prefix[len] == '/';
    free(own);
    return below;
}

static enum error_code check_store(const struct config *c, const struct sync_body *q,
                                   struct error *e)
{
    if (!config_has_store(c))
        return error_set(e, ERR_INVALID, "this container has no artifact store");
    if (c->artifact_dir)
        return ERR_NONE;
    if (!q->bucket || strcmp(q->bucket, c->artifact_s3.bucket) != 0)
        return error_set(e, ERR_FORBIDDEN, "bucket_name is not this container's store");
    return is_own_prefix(c, q->prefix)
               ? ERR_NONE
               : error_set(e, ERR_FORBIDDEN, "s3_key_prefix is not below this session's own");
}

/* The same with a slash at the end. */
static char *without_slash(const char *prefix)
{
    size_t len = strlen(prefix);
    return mem_strndup(prefix, len > 0 && prefix[len - 1] == '/' ? len - 1 : len);
}

static enum error_code read_sync(const struct config *c, const json_t *body,
                                 struct sync_body *q, struct error *e)
{
    const char *prefix = NULL;
    js_string(body, "action", true, 16, &q->action, e);
    js_string(body, "bucket_name", false, 256, &q->bucket, e);
    js_string(body, "s3_key_prefix", true, 1024, &prefix, e);
    js_string(body, "local_path", true, 4096, &q->path, e);
    if (e->code)
        return e->code;
    q->upload = strcmp(q->action, "upload") == 0;
    if (!q->upload && strcmp(q->action, "download") != 0)
        return error_set(e, ERR_INVALID, "action must be upload or download");
    q->prefix = without_slash(prefix);
    if (!tree_path_valid(q->prefix))
        return error_set(e, ERR_INVALID, "s3_key_prefix must be a path below the store");
    if (!(q->path = path_in_home(c, q->path)))
        return error_set(e, ERR_INVALID, "local_path must lie in " ENTER_HOME);
    return check_store(c, q, e);
}

static struct helper *start_s3(struct executor *x, const struct sync_body *q, void *arg,
                               struct error *e)
{
    const struct config *c = &x->config;
    struct sync_request sync = {.upload = q->upload,
                                .bucket = c->artifact_s3.bucket,
                                .prefix = q->prefix,
                                .root = c->home,
                                .dir = q->path,
                                .owner = config_user(c)};
    return sync_start(x->loop, &sync, on_synced, arg, e);
}

static struct helper *start_copy(struct executor *x, const struct sync_body *q, void *arg,
                                 struct error *e)
{
    const struct config *c = &x->config;
    uid_t user = config_user(c);
    struct copy_request up = {.from_root = c->home,
                              .from_dir = q->path,
                              .to_root = c->artifact_dir,
                              .to_dir = q->prefix,
                              .from_owner = user,
                              .to_owner = TREE_ANY_OWNER};
    struct copy_request down = {.from_root = c->artifact_dir,
                                .from_dir = q->prefix,
                                .to_root = c->home,
                                .to_dir = q->path,
                                .from_owner = TREE_ANY_OWNER,
                                .to_owner = user};
    return copy_start(x->loop, q->upload ? &up : &down, on_synced, arg, e);
}

static void start_sync(struct executor *x, struct server_request *r, const struct sync_body *q)
{
    struct error e = {0};
    struct pending *p = mem_alloc(sizeof *p);
    *p = (struct pending){.request = r, .executor = x, .download = !q->upload};
    if ((x->config.artifact_dir ? start_copy : start_s3)(x, q, p, &e)) {
        server_on_gone(r, pending_gone, p);
    } else {
        free(p);
        contract_refuse(x, r, &e);
    }
}

void route_file_sync(struct executor *x, struct server_request *r, const char *rest)
{
    (void)rest;
    struct error e = {0};
    struct sync_body q = {0};
    size_t len;
    const void *text = server_body(r, &len);
    json_t *body = js_parse_object(text, len, &e);
    if (body)
        read_sync(&x->config, body, &q, &e);
    if (!e.code && executor_closed(x))
        error_set(&e, ERR_CLOSED, "the session is closing");
    if (e.code)
        contract_refuse(x, r, &e);
    else
        start_sync(x, r, &q);
    free(q.prefix);
    json_decref(body);
}
