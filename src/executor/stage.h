/* The helper process that brings a session's input to the store, for the coordinator. */
#ifndef CLEAT_EXECUTOR_STAGE_H
#define CLEAT_EXECUTOR_STAGE_H

#define STAGE_FLAG "--stage"

/* --stage FROM TO: file:///DIRECTORY or s3://BUCKET/PREFIX to the same, except from S3 to a
 * directory. Prints helper.h's lines; its AWS settings are those of its environment. */
int stage_main(int argc, char **argv);

#endif
