#include "http/aws_profile.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "http/aws_ini.h"
#include "http/aws_keys.h"
#include "loop/child.h"

#define FILE_MAX ((size_t)1 << 20)

struct files {
    const char *config, *credentials;
};

void aws_plan_clear(struct aws_plan *plan)
{
    aws_keys_clear(&plan->keys);
    free(plan->token_file);
    for (size_t i = 0; i < plan->role_count; i++) {
        free(plan->roles[i].arn);
        free(plan->roles[i].session_name);
        free(plan->roles[i].external_id);
    }
    *plan = (struct aws_plan){0};
}

/* ---- one profile */

/* In the configuration file all but the default have a prefix; there it may have it. */
static char *config_section(const char *config, const char *profile)
{
    char *section = mem_printf("profile %s", profile);
    if (strcmp(profile, "default") == 0 && !aws_ini_has(config, section)) {
        free(section);
        return mem_strdup(profile);
    }
    return section;
}

char *aws_profile_value(const char *config, const char *credentials, const char *profile,
                        const char *key)
{
    char *value = aws_ini_value(credentials, profile, key);
    if (value)
        return value;
    char *section = config_section(config, profile);
    value = aws_ini_value(config, section, key);
    free(section);
    return value;
}

static char *value(const struct files *f, const char *profile, const char *key)
{
    return aws_profile_value(f->config, f->credentials, profile, key);
}

static bool has(const struct files *f, const char *profile, const char *key)
{
    char *found = value(f, profile, key);
    if (!found)
        return false;
    mem_wipe(found, strlen(found));
    free(found);
    return true;
}

static bool exists(const struct files *f, const char *profile)
{
    char *section = config_section(f->config, profile);
    bool found = aws_ini_has(f->credentials, profile) || aws_ini_has(f->config, section);
    free(section);
    return found;
}

/* ---- what a profile says about keys */

static enum error_code refuse_unsupported(const struct files *f, const char *profile,
                                          struct error *e)
{
    static const char *const keys[] = {"credential_process", "sso_session", "sso_start_url",
                                       "sso_account_id", "mfa_serial"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (has(f, profile, keys[i]))
            return error_set(e, ERR_CONFIG, "profile %.60s has %s, which is not supported",
                             profile, keys[i]);
    return ERR_NONE;
}

static enum error_code take_keys(const struct files *f, const char *profile,
                                 struct aws_plan *plan, struct error *e)
{
    plan->keys.access_key = value(f, profile, "aws_access_key_id");
    plan->keys.secret_key = value(f, profile, "aws_secret_access_key");
    plan->keys.session_token = value(f, profile, "aws_session_token");
    if (!plan->keys.access_key && !plan->keys.secret_key)
        return ERR_NONE;
    if (!plan->keys.access_key || !plan->keys.secret_key)
        return error_set(e, ERR_CONFIG, "profile %.60s has only half of a pair of keys",
                         profile);
    plan->base = AWS_BASE_KEYS;
    return ERR_NONE;
}

static enum error_code take_credential_source(const struct files *f, const char *profile,
                                              struct aws_plan *plan, struct error *e)
{
    static const struct {
        const char *name;
        enum aws_base base;
    } sources[] = {{"Environment", AWS_BASE_ENVIRONMENT},
                   {"EcsContainer", AWS_BASE_CONTAINER},
                   {"Ec2InstanceMetadata", AWS_BASE_INSTANCE}};
    char *name = value(f, profile, "credential_source");
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        if (strcmp(name, sources[i].name) == 0)
            plan->base = sources[i].base;
    if (plan->base == AWS_BASE_NONE)
        error_set(e, ERR_CONFIG, "profile %.60s: there is no credential_source %.40s", profile,
                  name);
    free(name);
    return plan->base == AWS_BASE_NONE ? ERR_CONFIG : ERR_NONE;
}

/* Roles are found last first; the one assumed first goes to the front. */
static void put_role_first(const struct files *f, const char *profile, struct aws_plan *plan)
{
    char *duration = value(f, profile, "duration_seconds");
    memmove(plan->roles + 1, plan->roles, plan->role_count * sizeof *plan->roles);
    plan->roles[0] = (struct aws_role){
        .arn = value(f, profile, "role_arn"),
        .session_name = value(f, profile, "role_session_name"),
        .external_id = value(f, profile, "external_id"),
        .duration_s = duration ? atoi(duration) : 0,
    };
    plan->role_count++;
    free(duration);
}

/* Goes to the profile that the role's keys come from: true, and *profile is another; or ends
 * there. A profile may name itself when it has keys of its own. */
static enum error_code follow(const struct files *f, char **profile, struct aws_plan *plan,
                              bool *ended, struct error *e)
{
    *ended = true;
    if (has(f, *profile, "web_identity_token_file")) {
        plan->token_file = value(f, *profile, "web_identity_token_file");
        plan->base = AWS_BASE_WEB_IDENTITY;
        return ERR_NONE;
    }
    if (has(f, *profile, "credential_source"))
        return take_credential_source(f, *profile, plan, e);
    char *next = value(f, *profile, "source_profile");
    if (!next)
        return error_set(e, ERR_CONFIG,
                         "profile %.60s has a role_arn, but neither source_profile nor "
                         "credential_source",
                         *profile);
    bool is_itself = strcmp(next, *profile) == 0;
    free(*profile);
    *profile = next;
    if (is_itself)
        return take_keys(f, next, plan, e);
    *ended = false;
    return ERR_NONE;
}

static enum error_code walk(const struct files *f, char **profile, struct aws_plan *plan,
                            struct error *e)
{
    for (;;) {
        bool ended;
        if (!exists(f, *profile))
            return error_set(e, ERR_CONFIG, "there is no profile %.60s", *profile);
        if (refuse_unsupported(f, *profile, e) != ERR_NONE)
            return e->code;
        if (!has(f, *profile, "role_arn"))
            return take_keys(f, *profile, plan, e);
        if (plan->role_count == AWS_ROLES_MAX)
            return error_set(e, ERR_CONFIG,
                             "the roles of profile %.60s lead too far or in a circle",
                             *profile);
        put_role_first(f, *profile, plan);
        if (follow(f, profile, plan, &ended, e) != ERR_NONE || ended)
            return e->code;
    }
}

enum error_code aws_profile_plan(struct aws_plan *plan, const char *config,
                                 const char *credentials, const char *profile, struct error *e)
{
    const struct files f = {config, credentials};
    *plan = (struct aws_plan){0};
    *e = (struct error){0};
    if (strcmp(profile, "default") == 0 && !exists(&f, profile))
        return ERR_NONE;
    char *at = mem_strdup(profile);
    walk(&f, &at, plan, e);
    if (e->code == ERR_NONE && plan->base == AWS_BASE_NONE && plan->role_count > 0)
        error_set(e, ERR_CONFIG,
                  "profile %.60s, which a role's keys are to come from, has none", at);
    free(at);
    if (e->code != ERR_NONE)
        aws_plan_clear(plan);
    return e->code;
}

/* ---- the files */

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

const char *aws_profile_name(void)
{
    const char *name = variable("AWS_PROFILE");
    if (!name)
        name = variable("AWS_DEFAULT_PROFILE");
    return name ? name : "default";
}

static char *read_shared(const char *name, const char *in_home)
{
    const char *path = variable(name), *home = variable("HOME");
    bool below_home = !path || strncmp(path, "~/", 2) == 0;
    if (below_home && !home)
        return mem_strdup("");
    char *whole =
        below_home ? mem_printf("%s/%s", home, path ? path + 2 : in_home) : mem_strdup(path);
    char *text = file_read(whole, FILE_MAX);
    free(whole);
    return text ? text : mem_strdup("");
}

char *aws_profile_config(void)
{
    return read_shared("AWS_CONFIG_FILE", ".aws/config");
}

char *aws_profile_credentials(void)
{
    return read_shared("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
}

char *aws_profile_region(void)
{
    char *config = aws_profile_config(), *credentials = aws_profile_credentials();
    char *region = aws_profile_value(config, credentials, aws_profile_name(), "region");
    mem_wipe(credentials, strlen(credentials));
    free(credentials);
    free(config);
    return region;
}
