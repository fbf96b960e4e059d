/* What one option of a class alone cannot show. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "driver/addresses.h"
#include "driver/class.h"
#include "driver/s3_url.h"
#include "driver/static_name.h"

#define STATIC_HOSTS_MAX 1024

static size_t list_length(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

static bool is_url(const char *text)
{
    const char *host = strncmp(text, "http://", 7) == 0    ? text + 7
                       : strncmp(text, "https://", 8) == 0 ? text + 8
                                                           : "";
    size_t len = strcspn(host, "/");
    return len > 0 && strspn(host + len, "/") == strlen(host + len);
}

static bool is_word(const char *text)
{
    return *text && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789._:-")] == '\0';
}

/* "" is fine; else a token of RFC 9110, in what ALB rules take. */
static bool is_header_name(const char *text)
{
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "0123456789_-")] == '\0';
}

static const char *haproxy_problem(const struct class *c)
{
    if (list_length(c->haproxy_sockets) == 0)
        return "haproxy_sockets names no Runtime API socket";
    if (list_length(c->haproxy_sockets) != list_length(c->haproxy_urls))
        return "haproxy_urls needs one URL for each of haproxy_sockets";
    for (size_t i = 0; c->haproxy_urls[i]; i++)
        if (!is_url(c->haproxy_urls[i]))
            return "haproxy_urls takes http://HOST:PORT or https://HOST:PORT, without a path";
    if (!*c->haproxy_backend)
        return "haproxy_backend is not set";
    if (!is_word(c->haproxy_backend))
        return "haproxy_backend has a character that HAProxy does not allow in a name";
    if (list_length(c->cookies) == 0)
        return "cookies names no cookie";
    return NULL;
}

/* "UID" or "UID:GID": a name means nothing outside its image. */
static bool is_numeric_user(const char *s)
{
    static const char digits[] = "0123456789";
    size_t uid = strspn(s, digits), gid = s[uid] == ':' ? strspn(s + uid + 1, digits) : 1;
    return uid > 0 && uid <= 9 && gid > 0 && gid <= 9 &&
           s[uid + (s[uid] == ':' ? gid + 1 : 0)] == '\0';
}

static const char *labels_problem(const struct class *c)
{
    for (size_t i = 0; i < list_length(c->labels); i++)
        if (!strchr(c->labels[i], '=') || c->labels[i][0] == '=')
            return "labels takes KEY=VALUE";
    return NULL;
}

static const char *docker_problem(const struct class *c)
{
    if (!*c->image)
        return "image is not set";
    if (c->docker_socket[0] != '/')
        return "docker_socket is not an absolute path";
    if (*c->docker_user && !is_numeric_user(c->docker_user))
        return "docker_user is UID or UID:GID, in numbers";
    return NULL;
}

static bool is_in_s3(const char *url)
{
    return strncmp(url, S3_SCHEME, strlen(S3_SCHEME)) == 0;
}

static bool is_directory_url(const char *url)
{
    return strncmp(url, "file:///", 8) == 0 && url[8];
}

bool class_uses_aws(const struct class *c)
{
    return c->runtime == RUNTIME_ECS || c->balancer == BALANCER_ALB || is_in_s3(c->artifacts);
}

static const char *artifacts_problem(const struct class *c)
{
    struct s3_url url;
    bool in_s3 = s3_url_parse(&url, c->artifacts);
    if (*c->artifacts && !in_s3 && !is_directory_url(c->artifacts))
        return "artifacts is \"file:///DIRECTORY\", \"s3://BUCKET/PREFIX\" or empty";
    if (*c->artifacts && !in_s3 && c->runtime == RUNTIME_ECS)
        return "artifacts of runtime ecs are in S3: a task sees no directory of this machine";
    if (!*c->s3_role)
        return NULL;
    if (strncmp(c->s3_role, "arn:", 4) != 0 || !strstr(c->s3_role, ":role/"))
        return "s3_role is the ARN of a role";
    if (!in_s3)
        return "s3_role needs artifacts in S3";
    return c->proof == PROOF_NONE
               ? "s3_role needs proof: a container without it takes no credentials"
               : NULL;
}

/* "TENANT=URL" */
static bool is_source(const char *text)
{
    struct s3_url url;
    size_t name = strcspn(text, "=");
    if (name == 0 || !text[name])
        return false;
    const char *from = text + name + 1;
    return is_directory_url(from) || s3_url_parse(&url, from);
}

static const char *input_problem(const struct class *c)
{
    size_t count = list_length(c->input_sources);
    for (size_t i = 0; i < count; i++) {
        if (!is_source(c->input_sources[i]))
            return "input_sources takes TENANT=file:///DIRECTORY or TENANT=s3://BUCKET/PREFIX";
        if (!is_in_s3(c->artifacts) && strstr(c->input_sources[i], "=" S3_SCHEME))
            return "input_sources in S3 need artifacts in S3";
    }
    if (count > 0 && !*c->artifacts)
        return "input_sources need artifacts: input reaches its container through them";
    if (*c->workspace_dir && c->workspace_dir[0] != '/')
        return "workspace_dir is not an absolute path";
    if (c->input_path[0] != '/' || strstr(c->input_path, ".."))
        return "input_path is not an absolute path without \"..\"";
    return NULL;
}

static const char *ecs_problem(const struct class *c)
{
    if (c->ecs_task[0] != '/')
        return "ecs_task is not the absolute path of a RunTask template";
    if (!*c->ecs_cluster)
        return "ecs_cluster is not set";
    return *c->ecs_container ? NULL : "ecs_container is not set";
}

static bool names_host_twice(char *const *hosts, size_t n)
{
    char ip[46], other[46];
    uint16_t port, other_port;
    static_name_read(hosts[n], ip, &port);
    for (size_t i = 0; i < n; i++)
        if (static_name_read(hosts[i], other, &other_port) && port == other_port &&
            strcmp(ip, other) == 0)
            return true;
    return false;
}

static const char *static_problem(const struct class *c)
{
    char ip[46];
    uint16_t port;
    size_t count = list_length(c->static_hosts);
    if (count == 0)
        return "static_hosts names no host";
    if (count > STATIC_HOSTS_MAX)
        return "static_hosts names more than 1024 hosts";
    for (size_t i = 0; i < count; i++) {
        if (!static_name_read(c->static_hosts[i], ip, &port))
            return "static_hosts takes IP:PORT or [IPV6]:PORT";
        if (names_host_twice(c->static_hosts, i))
            return "static_hosts names a host twice";
    }
    if (c->static_key_file[0] != '/')
        return "static_key_file is not an absolute path";
    return c->proof == PROOF_NONE ? "runtime static needs proof: a host is nobody's container"
                                  : NULL;
}

static size_t length_without_slashes(const char *url)
{
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        len--;
    return len;
}

static bool names_url_twice(char *const *urls)
{
    for (size_t i = 0; i < list_length(urls); i++)
        for (size_t j = 0; j < i; j++) {
            size_t len = length_without_slashes(urls[i]);
            if (len == length_without_slashes(urls[j]) &&
                strncasecmp(urls[i], urls[j], len) == 0)
                return true;
        }
    return false;
}

static const char *alb_problem(const struct class *c)
{
    size_t groups = list_length(c->alb_target_groups), urls = list_length(c->alb_urls);
    if (groups == 0)
        return "alb_target_groups names no target group";
    for (size_t i = 0; i < groups; i++) {
        if (strncmp(c->alb_target_groups[i], "arn:", 4) != 0 ||
            !strstr(c->alb_target_groups[i], ":targetgroup/"))
            return "alb_target_groups takes ARNs of target groups";
        for (size_t j = 0; j < i; j++)
            if (strcmp(c->alb_target_groups[i], c->alb_target_groups[j]) == 0)
                return "alb_target_groups names a target group twice";
    }
    if (urls != 1 && urls != groups)
        return "alb_urls needs one URL, or one for each of alb_target_groups";
    for (size_t i = 0; i < urls; i++)
        if (!is_url(c->alb_urls[i]))
            return "alb_urls takes http://HOST:PORT or https://HOST:PORT, without a path";
    if ((urls < groups || names_url_twice(c->alb_urls)) && !*c->alb_header)
        return "several alb_target_groups behind one URL need alb_header";
    if (!is_header_name(c->alb_header))
        return "alb_header is no name of a header";
    if (c->alb_mode == ALB_SHARED && list_length(c->cookies) == 0)
        return "cookies names no cookie";
    return NULL;
}

static const char *problem(const struct class *c)
{
    if (artifacts_problem(c))
        return artifacts_problem(c);
    if (input_problem(c))
        return input_problem(c);
    if (c->runtime == RUNTIME_ECS && ecs_problem(c))
        return ecs_problem(c);
    if (c->runtime == RUNTIME_STATIC && static_problem(c))
        return static_problem(c);
    if (c->balancer == BALANCER_ALB && alb_problem(c))
        return alb_problem(c);
    if (labels_problem(c))
        return labels_problem(c);
    if (c->gather_max_ms < c->gather_ms)
        return "gather_max_ms is below gather_ms";
    if (c->warm_max < c->warm_min)
        return "warm_max is below warm_min";
    if (c->runtime == RUNTIME_DOCKER && docker_problem(c))
        return docker_problem(c);
    return c->balancer == BALANCER_HAPROXY ? haproxy_problem(c) : NULL;
}

/* All ranges held at once show whether two of them overlap. */
static bool check_ranges(const struct class *classes, size_t count, struct error *e)
{
    struct addresses **held = mem_array(count, sizeof(*held));
    struct error why = {0};
    size_t n = 0;
    for (; n < count; n++)
        if (!(held[n] = addresses_open(classes[n].address_range, &why)))
            break;
    if (n < count)
        error_set(e, ERR_CONFIG, "class %s: %.200s", classes[n].name, why.message);
    bool fine = n == count;
    while (n-- > 0)
        addresses_close(held[n]);
    free(held);
    return fine;
}

static bool names_target_group(const struct class *c, const char *arn)
{
    for (size_t i = 0; i < list_length(c->alb_target_groups); i++)
        if (strcmp(c->alb_target_groups[i], arn) == 0)
            return true;
    return false;
}

/* Targets carry no names: two classes could not tell theirs apart. */
static bool check_target_groups(const struct class *a, const struct class *b, struct error *e)
{
    if (a->balancer != BALANCER_ALB || b->balancer != BALANCER_ALB)
        return true;
    for (size_t i = 0; i < list_length(a->alb_target_groups); i++) {
        if (!names_target_group(b, a->alb_target_groups[i]))
            continue;
        error_set(e, ERR_CONFIG, "classes %s and %s name the same target group, %.140s",
                  a->name, b->name, a->alb_target_groups[i]);
        return false;
    }
    return true;
}

bool class_check(const struct class *classes, size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        const char *what = problem(&classes[i]);
        if (what) {
            error_set(e, ERR_CONFIG, "class %s: %s", classes[i].name, what);
            return false;
        }
        for (size_t k = 0; k < i; k++)
            if (!check_target_groups(&classes[k], &classes[i], e))
                return false;
    }
    return check_ranges(classes, count, e);
}

static bool share_host(const struct class *a, const struct class *b)
{
    for (char **x = a->static_hosts; *x; x++)
        for (char **y = b->static_hosts; *y; y++)
            if (strcmp(*x, *y) == 0)
                return true;
    return false;
}

bool class_shares_engine(const struct class *a, const struct class *b)
{
    if (a->runtime != b->runtime)
        return false;
    switch (a->runtime) {
    case RUNTIME_PROCESS:
        return strcmp(a->address_range, b->address_range) == 0;
    case RUNTIME_DOCKER:
        return strcmp(a->docker_socket, b->docker_socket) == 0;
    case RUNTIME_ECS:
        return strcmp(a->ecs_cluster, b->ecs_cluster) == 0;
    default:
        return share_host(a, b);
    }
}

/* A cluster has a name as well as an ARN, which ends with it. */
static const char *cluster_name(const struct class *c)
{
    const char *slash = strrchr(c->ecs_cluster, '/');
    return slash ? slash + 1 : c->ecs_cluster;
}

char *class_engine(const struct class *c, const char *region)
{
    switch (c->runtime) {
    case RUNTIME_PROCESS:
        return *c->workspace_dir ? mem_printf("process in %s", c->workspace_dir)
                                 : mem_strdup("process");
    case RUNTIME_DOCKER:
        return mem_printf("docker at %s", c->docker_socket);
    case RUNTIME_ECS:
        return mem_printf("ecs in %s, cluster %s", region, cluster_name(c));
    default:
        return mem_strdup("static"); /* each of its hosts tells what it holds */
    }
}
