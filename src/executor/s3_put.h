/* Sends one file of a tree: in one call up to 8 MiB, else in parts. Fills in size and sha256 of
 * what was sent. A file that changes while it is read is read anew; at the third try it is
 * taken as it is. One that cannot be read becomes skipped. */
#ifndef CLEAT_EXECUTOR_S3_PUT_H
#define CLEAT_EXECUTOR_S3_PUT_H

#include "executor/s3.h"
#include "executor/tree.h"

/* key is taken, the rest must outlive the job. Progress goes to report.h. */
struct s3_job *s3_put(struct s3 *, const char *bucket, char *key, const struct tree *,
                      struct tree_file *);

#endif
