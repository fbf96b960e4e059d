/* Trees to S3: the upload of a session, and of one directory. */
#ifndef CLEAT_EXECUTOR_S3_UPLOAD_H
#define CLEAT_EXECUTOR_S3_UPLOAD_H

#include "executor/manifest.h"
#include "executor/s3.h"

/* Sends every wanted file of the trees to bucket, below the prefix of its tree. */
struct s3_tree {
    struct tree *tree;
    const char *prefix;
};
enum error_code s3_send_trees(struct s3 *, const char *bucket, struct s3_tree *, size_t count,
                              struct error *e);

/* A session's upload: an earlier manifest goes first, a new one comes last. */
enum error_code s3_upload(const struct upload_request *, struct error *e);

#endif
