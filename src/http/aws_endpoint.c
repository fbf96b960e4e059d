#include "http/aws_endpoint.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/buf.h"
#include "base/mem.h"

static const struct {
    const char *name, *variable, *version;
} services[AWS_SERVICES] = {
    [AWS_ECS] = {"ecs", "AWS_ENDPOINT_URL_ECS", NULL},
    [AWS_ELB] = {"elasticloadbalancing", "AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2",
                 "2015-12-01"},
    [AWS_S3] = {"s3", "AWS_ENDPOINT_URL_S3", NULL},
    [AWS_STS] = {"sts", "AWS_ENDPOINT_URL_STS", "2011-06-15"},
    [AWS_EC2] = {"ec2", "AWS_ENDPOINT_URL_EC2", "2016-11-15"},
};

/* The partitions of AWS that have another domain; botocore's data/endpoints.json. */
static const struct {
    const char *prefix, *domain;
} partitions[] = {
    {"cn-", "amazonaws.com.cn"},
    {"us-isob-", "sc2s.sgov.gov"},
    {"us-iso-", "c2s.ic.gov"},
    {"", "amazonaws.com"},
};

bool aws_region_valid(const char *region)
{
    size_t len = strlen(region);
    return len > 0 && len <= 40 && isalpha((unsigned char)region[0]) &&
           strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == len &&
           region[len - 1] != '-';
}

const char *aws_service_name(enum aws_service service)
{
    return services[service].name;
}

const char *aws_service_version(enum aws_service service)
{
    return services[service].version;
}

static const char *domain_of(const char *region)
{
    size_t i = 0;
    while (strncmp(region, partitions[i].prefix, strlen(partitions[i].prefix)) != 0)
        i++;
    return partitions[i].domain;
}

static const char *configured(enum aws_service service, const char **variable)
{
    const char *ignore = getenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    if (ignore && strcasecmp(ignore, "true") == 0)
        return NULL;
    const char *const variables[] = {services[service].variable, "AWS_ENDPOINT_URL"};
    for (size_t i = 0; i < 2; i++) {
        const char *url = getenv(variables[i]);
        *variable = variables[i];
        if (url && *url)
            return url;
    }
    return NULL;
}

static char *without_slashes(const char *url)
{
    size_t len = strlen(url);
    while (len > 0 && url[len - 1] == '/')
        len--;
    return mem_strndup(url, len);
}

/* STS is also there for those who know no region. */
static char *regional(enum aws_service service, const char *region, const char *bucket)
{
    if (!*region)
        return mem_printf("https://%s.amazonaws.com", services[service].name);
    return mem_printf("https://%s%s%s.%s.%s", bucket ? bucket : "", bucket ? "." : "",
                      services[service].name, region, domain_of(region));
}

char *aws_endpoint(enum aws_service service, const char *region, const char *bucket,
                   struct error *e)
{
    const char *variable, *url = configured(service, &variable);
    bool in_path = bucket && (url || strchr(bucket, '.'));
    if (url && strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) {
        error_set(e, ERR_CONFIG, "%s is no http or https URL", variable);
        return NULL;
    }
    char *base =
        url ? without_slashes(url) : regional(service, region, in_path ? NULL : bucket);
    if (!in_path)
        return base;
    char *with_bucket = mem_printf("%s/%s", base, bucket);
    free(base);
    return with_bucket;
}

/* Amazon S3 User Guide, "General purpose bucket naming rules". */
static bool bucket_valid(const char *bucket)
{
    size_t len = strlen(bucket);
    return len >= 3 && len <= 63 && !strstr(bucket, "..") &&
           isalnum((unsigned char)bucket[0]) && isalnum((unsigned char)bucket[len - 1]) &&
           strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len;
}

char *aws_url(const struct aws_request *r, const char *region, struct error *e)
{
    if (r->bucket && !bucket_valid(r->bucket)) {
        error_set(e, ERR_INVALID, "\"%.80s\" is no bucket's name", r->bucket);
        return NULL;
    }
    char *base = aws_endpoint(r->service, region, r->bucket, e);
    if (!base)
        return NULL;
    char *key = aws_encode(r->key ? r->key : "", true);
    char *url =
        mem_printf("%s/%s%s%s", base, key, r->query ? "?" : "", r->query ? r->query : "");
    free(key);
    free(base);
    return url;
}

char *aws_encode(const char *text, bool keep_slash)
{
    struct buf out = {0};
    for (const char *c = text; *c; c++) {
        if (isalnum((unsigned char)*c) || strchr("-_.~", *c) || (*c == '/' && keep_slash))
            buf_add(&out, c, 1);
        else
            buf_printf(&out, "%%%02X", (unsigned)(unsigned char)*c);
    }
    return buf_take(&out);
}
