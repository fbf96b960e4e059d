/* The shared files, ~/.aws/config and ~/.aws/credentials, and what they say about where keys
 * come from (AWS SDKs and Tools Reference Guide, "Shared config and credentials files"). Texts
 * go in, plans come out: pure but for the last function. */
#ifndef CLEAT_HTTP_AWS_PROFILE_H
#define CLEAT_HTTP_AWS_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/error.h"
#include "http/aws.h"

/* Where the first keys come from. */
enum aws_base {
    AWS_BASE_NONE,         /* nowhere: this source is not configured */
    AWS_BASE_KEYS,         /* they are there */
    AWS_BASE_WEB_IDENTITY, /* a token in a file, and the first role */
    AWS_BASE_ENVIRONMENT,
    AWS_BASE_CONTAINER,
    AWS_BASE_INSTANCE,
};

struct aws_role {
    char *arn, *session_name, *external_id; /* NULL: none */
    int duration_s;                         /* 0: the role's default */
};

#define AWS_ROLES_MAX 5

/* How to get keys: a base, then roles assumed one after the other. */
struct aws_plan {
    enum aws_base base;
    struct aws_keys keys; /* BASE_KEYS */
    char *token_file;     /* BASE_WEB_IDENTITY */
    struct aws_role roles[AWS_ROLES_MAX];
    size_t role_count;
};

void aws_plan_clear(struct aws_plan *); /* erases */

/* config and credentials are the files' texts; "" for one that is not there. ERR_CONFIG: a
 * profile that was asked for by name is not there, roles that lead in a circle, keys that are
 * half there, ways to get keys that are not supported (credential_process, SSO, MFA). The
 * profile "default" may be missing, and any may say nothing about keys: BASE_NONE. *plan is
 * empty on an error. */
enum error_code aws_profile_plan(struct aws_plan *plan, const char *config,
                                 const char *credentials, const char *profile, struct error *e);

/* A key's value in a profile of either file; free(). NULL: it is not there. */
char *aws_profile_value(const char *config, const char *credentials, const char *profile,
                        const char *key);

const char *aws_profile_name(void); /* $AWS_PROFILE, $AWS_DEFAULT_PROFILE, "default" */
/* The files as they are now: $AWS_CONFIG_FILE, $AWS_SHARED_CREDENTIALS_FILE, or those in
 * ~/.aws; free(), and erase the credentials. "" for one that cannot be read. */
char *aws_profile_config(void);
char *aws_profile_credentials(void);
char *aws_profile_region(void); /* of the profile; free(); NULL: it has none */

#endif
