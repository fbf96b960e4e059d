/* Directories between a container and S3, while its session lasts: the --sync helper process.
 */
#ifndef CLEAT_EXECUTOR_S3_SYNC_H
#define CLEAT_EXECUTOR_S3_SYNC_H

#include <stdbool.h>
#include <sys/types.h>
#include "executor/helper.h"

#define SYNC_FLAG "--sync"

struct sync_request {
    bool upload;
    const char *bucket, *prefix; /* no slash at the prefix's ends */
    const char *root, *dir;      /* below root, may be "" */
    uid_t owner;                 /* of the files there */
};
struct helper *sync_start(struct loop *, const struct sync_request *, helper_fn *done,
                          void *arg, struct error *e);
int sync_main(int argc, char **argv);

#endif
