/* What the environment says. */
#ifndef CLEAT_EXECUTOR_CONFIG_H
#define CLEAT_EXECUTOR_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"
#include "base/option.h"
#include "executor/s3_name.h"
#include "http/proof.h"

enum sandbox { SANDBOX_AUTO, SANDBOX_BWRAP, SANDBOX_NONE };
enum network { NETWORK_NONE, NETWORK_HOST };

struct config {
    char *session;
    int64_t attempt;
    char *owner;
    uint8_t secret[PROOF_SECRET_SIZE];
    char *listen, *ip; /* "ip:port" and its parts */
    uint16_t port;
    char *lease_key_file; /* "": no static host, one session and its end */
    char *host_dir;       /* of a static host, what is above its workspace; NULL: it is none */
    char *workspace;      /* absolute */
    int lock_fd;          /* of WORKSPACE/lock, held since we were started; -1: none */
    char *home;           /* WORKSPACE/home */
    char *executions;     /* WORKSPACE/debug/executions */
    char *artifacts;
    const char *artifact_dir;    /* the directory that artifacts names, NULL: none */
    struct s3_place artifact_s3; /* or the place in S3, bucket NULL: none */
    int sandbox;                 /* enum sandbox; AUTO is settled by sandbox_settle */
    int network;                 /* enum network */
    int64_t sandbox_uid;
    int64_t memory_mb, cpu_s, open_files, file_size_mb, processes; /* 0: no limit */
    int64_t idle_s, lifetime_s, upload_max_mb;                     /* 0: no limit */
    json_t *helper_env; /* for helper processes alone: AWS_* and HOME */
    char *path, *lang;
};

extern const struct option config_options[]; /* keys are names of environment variables */

/* Reads environ. The bytes of the secret, of AWS_* and of HOME are erased there and their
 * variables are removed, whatever else is wrong. Release it also after an error. */
enum error_code config_read(struct config *, struct error *e);
void config_release(struct config *); /* erases the secret */

/* For who sets fields on its own. ERR_CONFIG. */
enum error_code config_check_session(const struct config *, struct error *e);
enum error_code config_settle_artifacts(struct config *, struct error *e); /* once */
bool config_is_static(const struct config *);

bool config_has_store(const struct config *);

/* uid of user code: ours when it is not to be changed or cannot be. */
uid_t config_user(const struct config *);
/* The same when what carries it is this container's user code and nothing else: a static host's
 * is its own, the lock comes from a coordinator that gives each container another one, and as
 * first process we are alone with what we started. 0: not known to be. */
uid_t config_own_user(const struct config *);

#endif
