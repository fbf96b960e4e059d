#include "executor/config.h"

#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"

#define TEXT(key_, longest, fallback_, field, help_)                                           \
    {                                                                                          \
        .key = (key_), .type = OPTION_STRING, .max = (longest), .fallback = (fallback_),       \
        .help = (help_), .offset = offsetof(struct config, field)                              \
    }
#define NUMBER(key_, least, most, fallback_, field, help_)                                     \
    {                                                                                          \
        .key = (key_), .type = OPTION_INT, .min = (least), .max = (most),                      \
        .fallback = (fallback_), .help = (help_), .offset = offsetof(struct config, field)     \
    }
#define CHOICE(key_, choices_, fallback_, field, help_)                                        \
    {                                                                                          \
        .key = (key_), .type = OPTION_CHOICE, .choices = (choices_), .fallback = (fallback_),  \
        .help = (help_), .offset = offsetof(struct config, field)                              \
    }

#define LONGEST_PATH (PATH_MAX - 512) /* room for what we append */

const struct option config_options[] = {
    TEXT("SESSION_ID", 64, "", session, "The session that this container serves."),
    NUMBER("CLEAT_ATTEMPT", 1, INT32_MAX, "1", attempt, "The session's attempt."),
    TEXT("CLEAT_OWNER", 256, "", owner, "Label of the installation that started us."),
    TEXT("CLEAT_LISTEN", 64, "127.0.0.1:8080", listen, "Address and port to serve."),
    TEXT("CLEAT_WORKSPACE", LONGEST_PATH, "", workspace, "The container's directory."),
    TEXT("CLEAT_LEASE_KEY_FILE", LONGEST_PATH, "", lease_key_file,
         "File with the claim key of a static host, which is leased to one session after the "
         "other; empty: one session."),
    TEXT("CLEAT_ARTIFACTS", LONGEST_PATH, "", artifacts,
         "Where artifacts go, file:///DIR or s3://BUCKET/PREFIX; empty: nowhere."),
    CHOICE("CLEAT_SANDBOX", "auto|bwrap|none", "auto", sandbox, "How user code is confined."),
    CHOICE("CLEAT_NETWORK", "none|host", "none", network, "The network of user code."),
    NUMBER("CLEAT_SANDBOX_UID", 0, INT32_MAX, "0", sandbox_uid,
           "User and group id of user code when we are root; 0: ours."),
    NUMBER("CLEAT_MEMORY_MB", 0, 1 << 24, "0", memory_mb, "Address space per process."),
    NUMBER("CLEAT_CPU_S", 0, INT32_MAX, "0", cpu_s, "CPU time per process."),
    NUMBER("CLEAT_OPEN_FILES", 0, 1 << 20, "0", open_files, "Open files per process."),
    NUMBER("CLEAT_FILE_SIZE_MB", 0, 1 << 24, "0", file_size_mb, "Size of a file."),
    NUMBER("CLEAT_PROCESSES", 0, 1 << 22, "0", processes, "Processes of the user id."),
    NUMBER("CLEAT_IDLE_TIMEOUT_S", 0, INT32_MAX, "0", idle_s,
           "Ends after that long without a request."),
    NUMBER("CLEAT_LIFETIME_S", 0, INT32_MAX, "0", lifetime_s, "Ends after that long."),
    NUMBER("CLEAT_UPLOAD_MAX_MB", 0, INT32_MAX, "0", upload_max_mb,
           "Size of an upload; files beyond it are skipped."),
    TEXT("PATH", 32768, "/usr/local/bin:/usr/bin:/bin", path,
         "Where user code finds programs."),
    TEXT("LANG", 256, "C.UTF-8", lang, "Language of user code."),
    {0},
};

static enum error_code take_secret(struct config *c, struct error *e)
{
    char *hex = getenv("CLEAT_SECRET");
    if (!hex)
        return error_set(e, ERR_CONFIG, "CLEAT_SECRET is not set");
    bool ok = hex_decode(c->secret, sizeof c->secret, hex);
    mem_wipe(hex, strlen(hex)); /* /proc/PID/environ shows these very bytes */
    unsetenv("CLEAT_SECRET");
    return ok ? ERR_NONE
              : error_set(e, ERR_CONFIG, "CLEAT_SECRET is not 64 hexadecimal digits");
}

static bool for_helpers(const char *variable)
{
    return strncmp(variable, "AWS_", 4) == 0 || strncmp(variable, "HOME=", 5) == 0;
}

/* Credentials, and the ways to more of them, are for the processes that upload. */
static void take_helper_env(struct config *c)
{
    c->helper_env = json_object();
    for (char **s = environ; *s;) {
        char *equals = strchr(*s, '=');
        if (!equals || !for_helpers(*s)) {
            s++;
            continue;
        }
        char *name = mem_strndup(*s, (size_t)(equals - *s));
        json_object_set_new(c->helper_env, name, json_string(equals + 1));
        mem_wipe(equals + 1, strlen(equals + 1));
        unsetenv(name); /* the others move up */
        free(name);
    }
}

static enum error_code read_options(struct config *c, struct error *e)
{
    option_defaults(config_options, c);
    for (const struct option *o = config_options; o->key; o++) {
        const char *value = getenv(o->key);
        if (value && option_set(config_options, c, o->key, value, e))
            return e->code;
    }
    return ERR_NONE;
}

static enum error_code split_listen(struct config *c, struct error *e)
{
    char *colon = strrchr(c->listen, ':'), *end;
    unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || colon == c->listen || colon[1] < '0' || colon[1] > '9' || *end ||
        port > 65535)
        return error_set(e, ERR_CONFIG, "CLEAT_LISTEN is not IP:PORT");
    bool bracketed = c->listen[0] == '[' && colon[-1] == ']';
    c->ip = mem_strndup(c->listen + bracketed, (size_t)(colon - c->listen) - 2 * bracketed);
    c->port = (uint16_t)port;
    return ERR_NONE;
}

/* It becomes a directory's name in the artifact store. */
static bool session_valid(const char *s)
{
    return *s && *s != '.' &&
           s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] ==
               '\0';
}

enum error_code config_check_session(const struct config *c, struct error *e)
{
    return session_valid(c->session)
               ? ERR_NONE
               : error_set(e, ERR_CONFIG,
                           "SESSION_ID must be 1 to 64 of A-Za-z0-9._-, without a leading '.'");
}

enum error_code config_settle_artifacts(struct config *c, struct error *e)
{
    if (s3_is_url(c->artifacts))
        return s3_place_read(&c->artifact_s3, c->artifacts, e);
    if (c->artifacts[0] && strncmp(c->artifacts, "file:///", 8) != 0)
        return error_set(
            e, ERR_CONFIG,
            "CLEAT_ARTIFACTS must be file:///DIRECTORY, s3://BUCKET/PREFIX or empty");
    c->artifact_dir = c->artifacts[0] ? c->artifacts + strlen("file://") : NULL;
    return ERR_NONE;
}

bool config_is_static(const struct config *c)
{
    return c->lease_key_file[0] != '\0';
}

/* The session's own directory is below that of the host, which outlives it. */
static void move_workspace(struct config *c)
{
    c->host_dir = c->workspace;
    c->workspace = mem_printf("%s/lease", c->host_dir);
}

static enum error_code check(struct config *c, struct error *e)
{
    if (!config_is_static(c) && config_check_session(c, e))
        return e->code;
    if (config_is_static(c) && c->session[0])
        return error_set(e, ERR_CONFIG,
                         "SESSION_ID is for one session, CLEAT_LEASE_KEY_FILE for many");
    if (c->workspace[0] != '/')
        return error_set(e, ERR_CONFIG, "CLEAT_WORKSPACE must be an absolute path");
    if (config_is_static(c))
        move_workspace(c);
    else if (config_settle_artifacts(c, e))
        return e->code;
    c->home = mem_printf("%s/home", c->workspace);
    c->executions = mem_printf("%s/debug/executions", c->workspace);
    return split_listen(c, e);
}

enum error_code config_read(struct config *c, struct error *e)
{
    *c = (struct config){0};
    *e = (struct error){0};
    const char *lease = getenv("CLEAT_LEASE_KEY_FILE");
    bool has_secret = getenv("CLEAT_SECRET") || !lease || !*lease; /* or should have */
    enum error_code secret = has_secret ? take_secret(c, e) : ERR_NONE;
    take_helper_env(c);
    if (secret || read_options(c, e))
        return e->code;
    return check(c, e);
}

void config_release(struct config *c)
{
    option_release(config_options, c);
    free(c->ip);
    free(c->host_dir);
    free(c->home);
    free(c->executions);
    s3_place_release(&c->artifact_s3);
    json_decref(c->helper_env);
    mem_wipe(c, sizeof *c);
}

bool config_has_store(const struct config *c)
{
    return c->artifact_dir || c->artifact_s3.bucket;
}

uid_t config_user(const struct config *c)
{
    return geteuid() == 0 ? (uid_t)c->sandbox_uid : geteuid();
}

uid_t config_own_user(const struct config *c)
{
    bool own = config_is_static(c) || c->lock_fd >= 0 || getpid() == 1;
    return own && geteuid() == 0 ? config_user(c) : 0;
}
