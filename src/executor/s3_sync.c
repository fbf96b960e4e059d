#include "executor/s3_sync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/report.h"
#include "executor/s3_get.h"
#include "executor/s3_upload.h"

enum { SY_ACTION = 2, SY_BUCKET, SY_PREFIX, SY_ROOT, SY_DIR, SY_OWNER, SY_COUNT };

struct helper *sync_start(struct loop *loop, const struct sync_request *r, helper_fn *done,
                          void *arg, struct error *e)
{
    char owner[24];
    snprintf(owner, sizeof owner, "%u", r->owner);
    const char *action = r->upload ? "upload" : "download";
    const char *arguments[] = {SYNC_FLAG, action, r->bucket, r->prefix,
                               r->root,   r->dir, owner,     NULL};
    return helper_start(loop, arguments, done, arg, e);
}

/* ---- download */

struct fetching {
    struct s3 *s3;
    const char *bucket;
    struct s3_list list;
    struct tree_target target;
};

static struct s3_job *next_object(void *arg)
{
    struct fetching *f = arg;
    struct s3_object *o = s3_list_take(&f->list);
    return o ? s3_get(f->s3, f->bucket, o, &f->target) : s3_list_more(&f->list);
}

static enum error_code fetch_dir(struct s3 *s, const struct sync_request *r, int root,
                                 struct error *e)
{
    char *stage = mem_printf(".cleat-%d.new", (int)getpid()); /* several copies may run */
    struct fetching f = {.s3 = s,
                         .bucket = r->bucket,
                         .target = {.root = root,
                                    .dir = r->dir,
                                    .stage = stage,
                                    .owner = r->owner,
                                    .dir_mode = 0755,
                                    .file_mode = 0644}};
    s3_list_init(&f.list, s, r->bucket, r->prefix);
    s3_run(s, S3_JOBS, next_object, &f, e);
    tree_target_close(&f.target, e);
    s3_list_release(&f.list);
    free(stage);
    return e->code;
}

/* ---- upload */

static enum error_code send_dir(struct s3 *s, const struct sync_request *r, int root,
                                struct error *e)
{
    struct tree tree = {.root = -1};
    struct s3_tree one = {&tree, r->prefix};
    if (!tree_read(&tree, root, r->dir, r->owner, e)) {
        report_total(tree_wanted(&tree), tree.bytes);
        s3_send_trees(s, r->bucket, &one, 1, e);
    }
    tree_free(&tree);
    return e->code;
}

/* ---- the process */

static enum error_code sync_dir(struct s3 *s, const struct sync_request *r, struct error *e)
{
    int root = open(r->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_set(e, ERR_INTERNAL, "%.160s: %s", r->root, strerror(errno));
    (r->upload ? send_dir : fetch_dir)(s, r, root, e);
    close(root);
    return e->code;
}

int sync_main(int argc, char **argv)
{
    struct s3 s;
    struct error e = {0};
    if (argc != SY_COUNT)
        return 2;
    struct sync_request r = {.upload = strcmp(argv[SY_ACTION], "upload") == 0,
                             .bucket = argv[SY_BUCKET],
                             .prefix = argv[SY_PREFIX],
                             .root = argv[SY_ROOT],
                             .dir = argv[SY_DIR],
                             .owner = (uid_t)strtoul(argv[SY_OWNER], NULL, 10)};
    if (!s3_open(&s, true, &e))
        sync_dir(&s, &r, &e);
    s3_close(&s);
    return e.code ? report_failure(&e) : 0;
}
