/* The helper processes that copy: of a session's artifacts to the store, and of directories in
 * between. */
#ifndef CLEAT_EXECUTOR_UPLOAD_H
#define CLEAT_EXECUTOR_UPLOAD_H

#include "executor/config.h"
#include "executor/helper.h"

#define UPLOAD_FLAG "--upload"
#define COPY_FLAG "--copy"

/* WORKSPACE/debug, home/artifacts and home/data to STORE/SESSION/, then
 * STORE/SESSION/manifest.json. */
struct helper *upload_start(struct loop *, const struct config *, const char *nonce,
                            helper_fn *done, void *arg, struct error *e);
char *upload_manifest_path(const struct config *); /* free() */

/* The files below from_root/from_dir to below to_root/to_dir; the dirs may be "". Files of
 * other owners than from_owner are left out; the copies get to_owner. */
struct copy_request {
    const char *from_root, *from_dir, *to_root, *to_dir;
    uid_t from_owner, to_owner; /* TREE_ANY_OWNER: any; ours */
};
struct helper *copy_start(struct loop *, const struct copy_request *, helper_fn *done,
                          void *arg, struct error *e);

/* The processes. They print helper.h's lines and return their exit status. */
int upload_main(int argc, char **argv);
int copy_main(int argc, char **argv);

#endif
