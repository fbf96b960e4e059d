#include "driver/docker_fields.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"

#define FILE_SCHEME "file://"
#define S3_SCHEME "s3://"
#define USER_UID 200000 /* of user code, when the executor is root; unknown to images */
#define TMP_MB 1024     /* of /tmp without a memory limit */
#define MIB (1 << 20)

/* ---- the body of a create */

static void set(json_t *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void set(json_t *env, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    json_array_append_new(env, json_vsprintf(fmt, args));
    va_end(args);
}

static bool is_directory(const char *artifacts)
{
    return strncmp(artifacts, FILE_SCHEME, strlen(FILE_SCHEME)) == 0;
}

/* A bucket is used with credentials of the container's own, or those that it is handed; where
 * it is, this process knows. */
static void set_store(json_t *env, const struct class *c, const char *region)
{
    static const char *const names[] = {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"};
    const char *bucket = c->artifacts + strlen(S3_SCHEME);
    if (!*c->artifacts || is_directory(c->artifacts)) {
        set(env, "CLEAT_ARTIFACTS=%s", *c->artifacts ? FILE_SCHEME DOCKER_ARTIFACTS : "");
        return;
    }
    set(env, "CLEAT_ARTIFACTS=%s", c->artifacts);
    set(env, "S3_BUCKET_NAME=%.*s", (int)strcspn(bucket, "/"), bucket);
    if (*region)
        set(env, "AWS_REGION=%s", region);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (getenv(names[i]) != NULL)
            set(env, "%s=%s", names[i], getenv(names[i]));
}

/* Memory and processes are limited by the container's cgroup, not for each process. */
static json_t *environment(const struct class *c, const struct launch *l, const char *region)
{
    static const char *const sandboxes[] = {"auto", "bwrap", "none"};
    static const char *const networks[] = {"none", "host"};
    json_t *env = json_array();
    set(env, "SESSION_ID=%s", l->session);
    set(env, "CLEAT_ATTEMPT=%u", l->attempt);
    set(env, "CLEAT_OWNER=%s", l->owner);
    set(env, "CLEAT_SECRET=%s", l->secret);
    set(env, "CLEAT_LISTEN=0.0.0.0:%" PRId64, c->port);
    set(env, "CLEAT_WORKSPACE=" DOCKER_WORKSPACE);
    set_store(env, c, region);
    set(env, "CLEAT_SANDBOX=%s", sandboxes[c->sandbox]);
    set(env, "CLEAT_NETWORK=%s", networks[c->network]);
    set(env, "CLEAT_SANDBOX_UID=%d", *c->docker_user ? 0 : USER_UID);
    set(env, "CLEAT_CPU_S=%" PRId64, c->cpu_s);
    set(env, "CLEAT_OPEN_FILES=%" PRId64, c->open_files);
    set(env, "CLEAT_FILE_SIZE_MB=%" PRId64, c->file_size_mb);
    set(env, "CLEAT_IDLE_TIMEOUT_S=%" PRId64, l->idle_timeout_s);
    set(env, "CLEAT_LIFETIME_S=%" PRId64, l->lifetime_s);
    return env;
}

char *docker_artifacts_of(const struct class *c, const char *session)
{
    if (!is_directory(c->artifacts))
        return NULL;
    return mem_printf("%s/%s", c->artifacts + strlen(FILE_SCHEME), session);
}

static json_t *tmpfs(const struct class *c)
{
    json_t *mounts = json_object();
    json_object_set_new(mounts, "/tmp",
                        json_sprintf("rw,exec,nosuid,nodev,mode=1777,size=%" PRId64 "m",
                                     c->memory_mb ? c->memory_mb : TMP_MB));
    if (c->docker_tmpfs_mb > 0) {
        unsigned uid = 0, gid = 0;
        sscanf(c->docker_user, "%9u:%9u", &uid, &gid);
        json_object_set_new(
            mounts, DOCKER_WORKSPACE,
            json_sprintf("rw,exec,nosuid,nodev,mode=0711,uid=%u,gid=%u,size=%" PRId64 "m", uid,
                         gid, c->docker_tmpfs_mb));
    }
    return mounts;
}

/* As root the executor gives files to the uid of user code, becomes it, reads what it left and
 * ends its processes. */
static json_t *capabilities(const struct class *c)
{
    static const char *const names[] = {"CHOWN", "DAC_OVERRIDE", "FOWNER",
                                        "KILL",  "SETGID",       "SETUID"};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !*c->docker_user; i++)
        json_array_append_new(list, json_string(names[i]));
    return list;
}

static void set_limits(json_t *host, const struct class *c)
{
    if (c->memory_mb > 0) {
        json_object_set_new(host, "Memory", json_integer(c->memory_mb * MIB));
        json_object_set_new(host, "MemorySwap", json_integer(c->memory_mb * MIB)); /* none */
    }
    if (c->cpu_milli > 0)
        json_object_set_new(host, "NanoCpus", json_integer(c->cpu_milli * 1000000));
    if (c->processes > 0)
        json_object_set_new(host, "PidsLimit", json_integer(c->processes));
}

static json_t *host_config(const struct class *c, const struct launch *l, const char *port)
{
    json_t *host =
        json_pack("{s:b, s:o, s:[s], s:[s], s:o, s:s, s:{s:[{s:s, s:s}]}}", "ReadonlyRootfs", 1,
                  "Tmpfs", tmpfs(c), "SecurityOpt", "no-new-privileges", "CapDrop", "ALL",
                  "CapAdd", capabilities(c), "NetworkMode", c->docker_network, "PortBindings",
                  port, "HostIp", "127.0.0.1", "HostPort", "");
    char *artifacts = docker_artifacts_of(c, l->session);
    if (artifacts != NULL)
        json_object_set_new(host, "Mounts",
                            json_pack("[{s:s, s:s, s:s+}]", "Type", "bind", "Source", artifacts,
                                      "Target", DOCKER_ARTIFACTS "/", l->session));
    free(artifacts);
    set_limits(host, c);
    return host;
}

/* As the entry point, so that the image's own is not put before it. */
static void set_command(json_t *body, const struct class *c)
{
    char *text = mem_strdup(c->command), *rest;
    json_t *words = json_array();
    for (char *w = strtok_r(text, " \t", &rest); w != NULL; w = strtok_r(NULL, " \t", &rest))
        json_array_append_new(words, json_string(w));
    if (json_array_size(words) > 0)
        json_object_set(body, "Entrypoint", words);
    json_decref(words);
    free(text);
}

json_t *docker_create_body(const struct class *c, const struct launch *l, const char *region)
{
    char port[16];
    snprintf(port, sizeof(port), "%" PRId64 "/tcp", c->port);
    json_t *labels = json_pack("{s:s, s:s, s:o}", "cleat.owner", l->owner, "cleat.session",
                               l->session, "cleat.attempt", json_sprintf("%u", l->attempt));
    if (l->label != NULL)
        json_object_set_new(labels, "cleat.label", json_string(l->label));
    json_t *body = json_pack("{s:s, s:o, s:o, s:{s:{}}, s:o}", "Image", c->image, "Env",
                             environment(c, l, region), "Labels", labels, "ExposedPorts", port,
                             "HostConfig", host_config(c, l, port));
    if (*c->docker_user)
        json_object_set_new(body, "User", json_string(c->docker_user));
    if (c->docker_tmpfs_mb == 0)
        json_object_set_new(body, "Volumes", json_pack("{s:{}}", DOCKER_WORKSPACE));
    set_command(body, c);
    return body;
}

/* ---- paths */

/* RFC 3986: everything but the unreserved characters. */
static void add_encoded(struct buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char ch = (unsigned char)text[i];
        if (isalnum(ch) || (ch != '\0' && strchr("-._~", ch) != NULL))
            buf_add(out, &text[i], 1);
        else
            buf_printf(out, "%%%02X", ch);
    }
}

static char *filtered(const char *path, json_t *filters)
{
    struct buf out = {0};
    char *text = json_dumps(filters, JSON_COMPACT);
    buf_puts(&out, path);
    add_encoded(&out, text, strlen(text));
    free(text);
    json_decref(filters);
    return buf_take(&out);
}

char *docker_list_path(const char *owner)
{
    return filtered("/containers/json?all=1&filters=",
                    json_pack("{s:[s+]}", "label", "cleat.owner=", owner));
}

char *docker_events_path(const char *owner, int64_t since_s)
{
    char *path = mem_printf("/events?since=%" PRId64 "&filters=", since_s);
    char *whole = filtered(path, json_pack("{s:[s], s:[s+]}", "type", "container", "label",
                                           "cleat.owner=", owner));
    free(path);
    return whole;
}

char *docker_pull_path(const char *image)
{
    const char *slash = strrchr(image, '/');
    const char *digest = strchr(image, '@');
    const char *colon = digest != NULL ? NULL : strchr(slash != NULL ? slash : image, ':');
    struct buf out = {0};
    buf_puts(&out, "/images/create?fromImage=");
    add_encoded(&out, image, colon != NULL ? (size_t)(colon - image) : strlen(image));
    if (digest == NULL) {
        const char *tag = colon != NULL ? colon + 1 : "latest";
        buf_puts(&out, "&tag=");
        add_encoded(&out, tag, strlen(tag));
    }
    return buf_take(&out);
}
