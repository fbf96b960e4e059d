#include "executor/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/tree.h"
#include "executor/utf8.h"
#include "http/json.h"
#include "loop/child.h"

#define MANIFEST "manifest.json"

/* ---- starting them */

char *upload_manifest_path(const struct config *c)
{
    return mem_printf("%s/%s/" MANIFEST, c->artifact_dir, c->session);
}

struct helper *upload_start(struct loop *loop, const struct config *c, const char *nonce,
                            helper_fn *done, void *arg, struct error *e)
{
    char attempt[24], owner[24];
    snprintf(attempt, sizeof attempt, "%" PRId64, c->attempt);
    snprintf(owner, sizeof owner, "%u", config_user(c));
    const char *arguments[] = {UPLOAD_FLAG, c->workspace, c->artifact_dir, c->session,
                               attempt,     nonce,        owner,           NULL};
    return helper_start(loop, arguments, done, arg, e);
}

struct helper *copy_start(struct loop *loop, const struct copy_request *r, helper_fn *done,
                          void *arg, struct error *e)
{
    char from_owner[24], to_owner[24];
    snprintf(from_owner, sizeof from_owner, "%u", r->from_owner);
    snprintf(to_owner, sizeof to_owner, "%u", r->to_owner);
    const char *arguments[] = {COPY_FLAG, r->from_root, r->from_dir, r->to_root,
                               r->to_dir, from_owner,   to_owner,    NULL};
    return helper_start(loop, arguments, done, arg, e);
}

/* ---- both processes */

static int64_t files_done, bytes_done;

static void report(void *arg, int64_t bytes, bool whole_file)
{
    (void)arg;
    files_done += whole_file;
    bytes_done += bytes;
    dprintf(STDOUT_FILENO, "done %" PRId64 " %" PRId64 "\n", files_done, bytes_done);
}

static int fail(const struct error *e)
{
    dprintf(STDOUT_FILENO, "failed %s\n", e->message);
    return 1;
}

static uid_t owner_argument(const char *text)
{
    return (uid_t)strtoul(text, NULL, 10);
}

/* Not longer than the executor that reads our lines. */
static void set_up(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    umask(022);
}

static int open_root(const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        error_set(e, ERR_INTERNAL, "%.160s: %s", path, strerror(errno));
    return fd;
}

/* ---- upload */

enum { UP_WORKSPACE = 2, UP_DIR, UP_SESSION, UP_ATTEMPT, UP_NONCE, UP_OWNER, UP_COUNT };

struct part {
    const char *from, *to;
    bool of_user;
    struct tree tree;
};

static enum error_code read_parts(struct part *parts, size_t count, char **argv,
                                  struct error *e)
{
    int64_t files = 0, bytes = 0;
    for (size_t i = 0; i < count; i++)
        parts[i].tree.root = -1;
    for (size_t i = 0; i < count; i++) {
        int root = open_root(argv[UP_WORKSPACE], e);
        if (root < 0)
            return e->code;
        uid_t owner = parts[i].of_user ? owner_argument(argv[UP_OWNER]) : TREE_ANY_OWNER;
        tree_read(&parts[i].tree, root, parts[i].from, owner, e);
        close(root);
        if (e->code)
            return e->code;
        files += (int64_t)tree_wanted(&parts[i].tree);
        bytes += parts[i].tree.bytes;
    }
    dprintf(STDOUT_FILENO, "total %" PRId64 " %" PRId64 "\n", files, bytes);
    return ERR_NONE;
}

static enum error_code copy_parts(struct part *parts, size_t count, int root, struct error *e)
{
    for (size_t i = 0; i < count && !e->code; i++) {
        struct tree_target target = {.root = root,
                                     .dir = parts[i].to,
                                     .stage = ".upload.new",
                                     .owner = TREE_ANY_OWNER,
                                     .dir_mode = 0755,
                                     .file_mode = 0644,
                                     .copied = report};
        tree_copy(&parts[i].tree, &target, e);
    }
    return e->code;
}

static void add_file(json_t *files, json_t *skipped, const char *dir, const struct tree_file *f)
{
    struct buf path = {0};
    buf_printf(&path, "%s/", dir);
    utf8_add(&path, f->path, strlen(f->path));
    if (f->skipped)
        json_array_append_new(skipped,
                              json_pack("{s:s,s:s}", "path", path.data, "why", f->skipped));
    else
        json_array_append_new(files, json_pack("{s:s,s:I,s:s}", "path", path.data, "size",
                                               (json_int_t)f->size, "sha256", f->sha256));
    buf_free(&path);
}

static json_t *make_manifest(const struct part *parts, size_t count, char **argv)
{
    json_t *files = json_array(), *skipped = json_array();
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < parts[i].tree.count; k++)
            add_file(files, skipped, parts[i].to, &parts[i].tree.files[k]);
    return json_pack("{s:s,s:I,s:s,s:o,s:o,s:I}", "session_id", argv[UP_SESSION], "attempt",
                     (json_int_t)strtoll(argv[UP_ATTEMPT], NULL, 10), "nonce", argv[UP_NONCE],
                     "files", files, "skipped", skipped, "bytes", (json_int_t)bytes_done);
}

static enum error_code write_manifest(const struct part *parts, size_t count, char **argv,
                                      struct error *e)
{
    char *path = mem_printf("%s/%s/" MANIFEST, argv[UP_DIR], argv[UP_SESSION]);
    json_t *manifest = make_manifest(parts, count, argv);
    char *text = js_text(manifest);
    file_write(path, text, e);
    free(text);
    json_decref(manifest);
    free(path);
    return e->code;
}

/* The session's directory in the store, without the manifest of an earlier try: from now on its
 * files may not be what that says. */
static int open_session_dir(char **argv, struct error *e)
{
    if (dir_make(argv[UP_DIR], 0755, e))
        return -1;
    int store = open_root(argv[UP_DIR], e);
    if (store < 0)
        return -1;
    int fd = tree_open_dir(store, argv[UP_SESSION], true, 0755, TREE_ANY_OWNER, e);
    close(store);
    if (fd >= 0 && unlinkat(fd, MANIFEST, 0) != 0 && errno != ENOENT) {
        error_set(e, ERR_INTERNAL, MANIFEST ": %s", strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

int upload_main(int argc, char **argv)
{
    struct error e = {0};
    struct part parts[] = {{.from = "debug", .to = "debug"},
                           {.from = "home/artifacts", .to = "artifacts", .of_user = true},
                           {.from = "home/data", .to = "data", .of_user = true}};
    size_t count = sizeof parts / sizeof *parts;
    if (argc != UP_COUNT)
        return 2;
    set_up();
    int root = open_session_dir(argv, &e);
    if (root < 0)
        return fail(&e);
    if (!read_parts(parts, count, argv, &e) && !copy_parts(parts, count, root, &e))
        write_manifest(parts, count, argv, &e);
    for (size_t i = 0; i < count; i++)
        tree_free(&parts[i].tree);
    close(root);
    return e.code ? fail(&e) : 0;
}

/* ---- copy */

enum {
    CP_FROM_ROOT = 2,
    CP_FROM_DIR,
    CP_TO_ROOT,
    CP_TO_DIR,
    CP_FROM_OWNER,
    CP_TO_OWNER,
    CP_COUNT
};

static enum error_code copy_tree(struct tree *t, char **argv, struct error *e)
{
    uid_t owner = owner_argument(argv[CP_TO_OWNER]);
    int root = dir_make(argv[CP_TO_ROOT], 0755, e) ? -1 : open_root(argv[CP_TO_ROOT], e);
    if (root < 0)
        return e->code;
    char *stage = mem_printf(".cleat-%d.new", (int)getpid()); /* several copies may run */
    dprintf(STDOUT_FILENO, "total %zu %" PRId64 "\n", tree_wanted(t), t->bytes);
    struct tree_target target = {.root = root,
                                 .dir = argv[CP_TO_DIR],
                                 .stage = stage,
                                 .owner = owner,
                                 .dir_mode = 0755,
                                 .file_mode = 0644,
                                 .copied = report};
    tree_copy(t, &target, e);
    free(stage);
    close(root);
    return e->code;
}

int copy_main(int argc, char **argv)
{
    struct error e = {0};
    struct tree tree = {.root = -1};
    if (argc != CP_COUNT)
        return 2;
    set_up();
    int from = open_root(argv[CP_FROM_ROOT], &e);
    if (from < 0)
        return fail(&e);
    if (!tree_read(&tree, from, argv[CP_FROM_DIR], owner_argument(argv[CP_FROM_OWNER]), &e))
        copy_tree(&tree, argv, &e);
    tree_free(&tree);
    close(from);
    return e.code ? fail(&e) : 0;
}
