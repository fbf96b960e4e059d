#include "executor/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/mem.h"
#include "executor/report.h"
#include "executor/s3_copy.h"
#include "executor/s3_upload.h"
#include "executor/tree.h"
#include "loop/child.h"

#define COPIES 8 /* at once: S3 moves the bytes */
#define FILE_SCHEME "file://"

/* NULL: it is something else. */
static const char *directory_of(const char *url)
{
    return strncmp(url, FILE_SCHEME "/", strlen(FILE_SCHEME "/")) == 0
               ? url + strlen(FILE_SCHEME)
               : NULL;
}

/* ---- from a directory */

/* The directory may lie in one that somebody else can write to: a link put there must not lead
 * us, who may read more than he, anywhere else. */
static enum error_code read_source(struct tree *t, const char *dir, struct error *e)
{
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, dir, &how, sizeof how);
    if (fd < 0)
        return error_set(e, ERR_INTERNAL, "%.160s: %s", dir,
                         errno == ELOOP ? "a symbolic link is on the way" : strerror(errno));
    tree_read(t, fd, "", TREE_ANY_OWNER, e);
    close(fd);
    if (!e->code)
        report_total(tree_wanted(t), t->bytes);
    return e->code;
}

static enum error_code copy_to_dir(struct tree *t, const char *dir, struct error *e)
{
    int root = dir_make(dir, 0755, e) ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return e->code ? e->code
                       : error_set(e, ERR_INTERNAL, "%.160s: %s", dir, strerror(errno));
    char *stage = mem_printf(".cleat-%d.new", (int)getpid());
    struct tree_target target = {.root = root,
                                 .dir = "",
                                 .stage = stage,
                                 .owner = TREE_ANY_OWNER,
                                 .dir_mode = 0755,
                                 .file_mode = 0644,
                                 .copied = report_done};
    tree_copy(t, &target, e);
    free(stage);
    close(root);
    return e->code;
}

static enum error_code stage_to_dir(const char *from, const char *to, struct error *e)
{
    struct tree tree = {.root = -1};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    umask(022);
    if (!read_source(&tree, from, e))
        copy_to_dir(&tree, to, e);
    tree_free(&tree);
    return e->code;
}

/* ---- to S3 */

static enum error_code send_dir(struct s3 *s, const char *from, const struct s3_place *to,
                                struct error *e)
{
    struct tree tree = {.root = -1};
    struct s3_tree one = {&tree, to->prefix};
    if (!read_source(&tree, from, e))
        s3_send_trees(s, to->bucket, &one, 1, e);
    tree_free(&tree);
    return e->code;
}

struct copying {
    struct s3 *s3;
    const struct s3_place *from, *to;
    struct s3_list list;
};

static struct s3_job *next_copy(void *arg)
{
    struct copying *c = arg;
    struct s3_object *o = s3_list_take(&c->list);
    if (!o)
        return s3_list_more(&c->list);
    return s3_copy(c->s3, c->from->bucket, o, c->to->bucket, s3_key(c->to->prefix, o->path));
}

/* What is copied there would be listed, and copied, again. */
static bool lies_within(const struct s3_place *from, const struct s3_place *to)
{
    size_t len = strlen(from->prefix);
    return strcmp(from->bucket, to->bucket) == 0 &&
           (len == 0 || (strncmp(from->prefix, to->prefix, len) == 0 &&
                         (to->prefix[len] == '/' || !to->prefix[len])));
}

static enum error_code copy_objects(struct s3 *s, const struct s3_place *from,
                                    const struct s3_place *to, struct error *e)
{
    struct copying c = {.s3 = s, .from = from, .to = to};
    if (lies_within(from, to))
        return error_set(e, ERR_INVALID, "s3://%s/%.160s lies within what is copied",
                         to->bucket, to->prefix);
    s3_list_init(&c.list, s, from->bucket, from->prefix);
    if (!s3_run(s, COPIES, next_copy, &c, e) && !c.list.found_any)
        error_set(e, ERR_NOT_FOUND, "nothing is below s3://%s/%.160s", from->bucket,
                  from->prefix);
    s3_list_release(&c.list);
    return e->code;
}

static enum error_code stage_to_s3(const char *from_url, const char *to_url, struct error *e)
{
    struct s3 s;
    struct s3_place from = {0}, to;
    const char *dir = directory_of(from_url);
    if (!s3_place_read(&to, to_url, e) && (dir || !s3_place_read(&from, from_url, e))) {
        if (!s3_open(&s, false, e))
            dir ? send_dir(&s, dir, &to, e) : copy_objects(&s, &from, &to, e);
        s3_close(&s);
    }
    s3_place_release(&from);
    s3_place_release(&to);
    return e->code;
}

int stage_main(int argc, char **argv)
{
    struct error e = {0};
    if (argc != 4)
        return 2;
    const char *from = argv[2], *to = argv[3];
    if (!s3_is_url(from) && !directory_of(from))
        error_set(&e, ERR_INVALID, "%.160s is neither file:///DIRECTORY nor s3://BUCKET", from);
    else if (s3_is_url(to))
        stage_to_s3(from, to, &e);
    else if (directory_of(from) && directory_of(to))
        stage_to_dir(directory_of(from), directory_of(to), &e);
    else
        error_set(&e, ERR_INVALID, "nothing goes from %.100s to %.100s", from, to);
    return e.code ? report_failure(&e) : 0;
}
