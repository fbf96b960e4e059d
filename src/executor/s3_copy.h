/* Copies an object within S3: by one call up to 5 GB, above in parts, with type and metadata.
 */
#ifndef CLEAT_EXECUTOR_S3_COPY_H
#define CLEAT_EXECUTOR_S3_COPY_H

#include "executor/s3.h"
#include "executor/s3_list.h"

#define S3_COPY_MAX INT64_C(5000000000) /* CopyObject's, and a copied part's */

/* object and key are taken. Progress goes to report.h. */
struct s3_job *s3_copy(struct s3 *, const char *from_bucket, struct s3_object *object,
                       const char *to_bucket, char *key);

#endif
