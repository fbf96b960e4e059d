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
#include "executor/manifest.h"
#include "executor/report.h"
#include "executor/s3_upload.h"
#include "executor/tree.h"
#include "loop/child.h"

/* ---- starting them */

char *upload_manifest_path(const struct config *c)
{
    if (c->artifact_dir)
        return mem_printf("%s/%s/" MANIFEST, c->artifact_dir, c->session);
    char *below = s3_key(c->artifact_s3.prefix, c->session);
    char *url = mem_printf(S3_SCHEME "%s/%s/" MANIFEST, c->artifact_s3.bucket, below);
    free(below);
    return url;
}

struct helper *upload_start(struct loop *loop, const struct config *c, const char *nonce,
                            helper_fn *done, void *arg, struct error *e)
{
    char attempt[24], owner[24], max[24];
    snprintf(attempt, sizeof attempt, "%" PRId64, c->attempt);
    snprintf(owner, sizeof owner, "%u", config_user(c));
    snprintf(max, sizeof max, "%" PRId64, c->upload_max_mb << 20);
    const char *store = c->artifact_dir ? c->artifact_dir : c->artifacts;
    const char *arguments[] = {UPLOAD_FLAG, c->workspace, store, c->session, attempt,
                               nonce,       owner,        max,   NULL};
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

enum {
    UP_WORKSPACE = 2,
    UP_STORE,
    UP_SESSION,
    UP_ATTEMPT,
    UP_NONCE,
    UP_OWNER,
    UP_MAX,
    UP_COUNT
};

static enum error_code copy_parts(struct upload_part *parts, int root, struct error *e)
{
    for (size_t i = 0; i < UPLOAD_PARTS && !e->code; i++) {
        struct tree_target target = {.root = root,
                                     .dir = parts[i].to,
                                     .stage = ".upload.new",
                                     .owner = TREE_ANY_OWNER,
                                     .dir_mode = 0755,
                                     .file_mode = 0644,
                                     .copied = report_done};
        tree_copy(&parts[i].tree, &target, e);
    }
    return e->code;
}

static enum error_code write_manifest(const struct upload_part *parts,
                                      const struct upload_request *r, struct error *e)
{
    char *path = mem_printf("%s/%s/" MANIFEST, r->store, r->session);
    char *text = manifest_text(parts, r, false);
    file_write(path, text, e);
    free(text);
    free(path);
    return e->code;
}

/* The session's directory in the store, without the manifest of an earlier try: from now on its
 * files may not be what that says. */
static int open_session_dir(const struct upload_request *r, struct error *e)
{
    if (dir_make(r->store, 0755, e))
        return -1;
    int store = open_root(r->store, e);
    if (store < 0)
        return -1;
    int fd = tree_open_dir(store, r->session, true, 0755, TREE_ANY_OWNER, e);
    close(store);
    if (fd >= 0 && unlinkat(fd, MANIFEST, 0) != 0 && errno != ENOENT) {
        error_set(e, ERR_INTERNAL, MANIFEST ": %s", strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

static enum error_code upload_to_dir(const struct upload_request *r, struct error *e)
{
    struct upload_part parts[UPLOAD_PARTS];
    set_up();
    int root = open_session_dir(r, e);
    if (root < 0)
        return e->code;
    if (!upload_parts_read(parts, r, e) && !copy_parts(parts, root, e))
        write_manifest(parts, r, e);
    upload_parts_release(parts);
    close(root);
    return e->code;
}

int upload_main(int argc, char **argv)
{
    struct error e = {0};
    if (argc != UP_COUNT)
        return 2;
    struct upload_request r = {.workspace = argv[UP_WORKSPACE],
                               .store = argv[UP_STORE],
                               .session = argv[UP_SESSION],
                               .attempt = argv[UP_ATTEMPT],
                               .nonce = argv[UP_NONCE],
                               .user = owner_argument(argv[UP_OWNER]),
                               .max_bytes = strtoll(argv[UP_MAX], NULL, 10)};
    if (s3_is_url(r.store))
        s3_upload(&r, &e);
    else
        upload_to_dir(&r, &e);
    return e.code ? report_failure(&e) : 0;
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
    report_total(tree_wanted(t), t->bytes);
    struct tree_target target = {.root = root,
                                 .dir = argv[CP_TO_DIR],
                                 .stage = stage,
                                 .owner = owner,
                                 .dir_mode = 0755,
                                 .file_mode = 0644,
                                 .copied = report_done};
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
        return report_failure(&e);
    if (!tree_read(&tree, from, argv[CP_FROM_DIR], owner_argument(argv[CP_FROM_OWNER]), &e))
        copy_tree(&tree, argv, &e);
    tree_free(&tree);
    close(from);
    return e.code ? report_failure(&e) : 0;
}
