/* Fetches one object into a file of a tree: in ranges of 8 MiB, all of the same version of the
 * object, under another name until it is whole. */
#ifndef CLEAT_EXECUTOR_S3_GET_H
#define CLEAT_EXECUTOR_S3_GET_H

#include "executor/s3.h"
#include "executor/s3_list.h"
#include "executor/tree.h"

/* object is taken. Progress goes to report.h. */
struct s3_job *s3_get(struct s3 *, const char *bucket, struct s3_object *object,
                      struct tree_target *);

/* "bytes 0-99/1234" (RFC 9110 section 14.4); false: it is something else, or hides the total.
 */
bool s3_read_range(const char *text, int64_t *first, int64_t *last, int64_t *total);

#endif
