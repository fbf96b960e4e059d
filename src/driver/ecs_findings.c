#include "driver/ecs_findings.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/mem.h"
#include "driver/ecs_fields.h"
#include "driver/s3_url.h"
#include "http/aws.h"
#include "http/xml.h"

#define FEW_ADDRESSES 50
#define STOP_TIMEOUT_S 30 /* where the task definition says nothing */
#define STOP_TIMEOUT_MAX_S 120

static const char *text_of(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

static void say(const struct ecs_found *f, enum finding_level level, const char *cure,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static void say(const struct ecs_found *f, enum finding_level level, const char *cure,
                const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    error_make_printable(text);
    f->tell(f->arg, level, text, cure);
}

static bool uses_s3(const struct class *c)
{
    return strncmp(c->artifacts, S3_SCHEME, strlen(S3_SCHEME)) == 0;
}

/* ---- the request ---- */

void ecs_find_request(const struct ecs_found *f, const char *owner, const char *region)
{
    static const char session[] = "00000000-0000-7000-8000-000000000000";
    static const char secret[] =
        "0000000000000000000000000000000000000000000000000000000000000000";
    struct error e = {0};
    char *key = mem_printf("%s.%s.1", owner, session);
    char *text = ecs_run_request(f->template, f->class,
                                 &(struct launch){.key = key,
                                                  .owner = owner,
                                                  .session = session,
                                                  .attempt = 1,
                                                  .secret = secret,
                                                  .idle_timeout_s = f->class->idle_timeout_s,
                                                  .lifetime_s = f->class->max_lifetime_s},
                                 region, &e);
    if (text == NULL)
        say(f, FINDING_ERROR, "change ecs_task or owner", "%s", e.message);
    free(text);
    free(key);
}

/* ---- cluster ---- */

static bool holds(const json_t *list, const char *text)
{
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one)
        if (json_is_string(one) && strcmp(json_string_value(one), text) == 0)
            return true;
    return false;
}

static void find_providers(const struct ecs_found *f, const json_t *cluster)
{
    size_t i;
    const json_t *one;
    json_array_foreach (json_object_get(f->template, "capacityProviderStrategy"), i, one) {
        const char *name = text_of(one, "capacityProvider");
        if (!holds(json_object_get(cluster, "capacityProviders"), name))
            say(f, FINDING_ERROR, "aws ecs put-cluster-capacity-providers",
                "the cluster has no capacity provider %.80s, which ecs_task asks for", name);
    }
}

void ecs_find_cluster(const struct ecs_found *f, const char *text, size_t len)
{
    json_t *o = json_loadb(text, len, 0, NULL);
    const json_t *cluster = json_array_get(json_object_get(o, "clusters"), 0);
    const char *name = ecs_cluster(f->template, f->class), *status = text_of(cluster, "status");
    if (cluster == NULL)
        say(f, FINDING_ERROR, "set ecs_cluster (and AWS_REGION) to one that exists",
            "cluster %.100s does not exist", name);
    else if (strcmp(status, "ACTIVE") != 0)
        say(f, FINDING_ERROR, "wait until it is ACTIVE, or use another",
            "cluster %.100s is %.40s", name, status);
    else
        find_providers(f, cluster);
    json_decref(o);
}

/* ---- task definition ---- */

static bool on_fargate(const struct ecs_found *f, const json_t *definition)
{
    return strcmp(text_of(f->template, "launchType"), "FARGATE") == 0 ||
           holds(json_object_get(definition, "requiresCompatibilities"), "FARGATE");
}

static void find_port(const struct ecs_found *f, const json_t *container)
{
    size_t i;
    const json_t *m;
    json_array_foreach (json_object_get(container, "portMappings"), i, m)
        if (json_integer_value(json_object_get(m, "containerPort")) == f->class->port)
            return;
    say(f, FINDING_WARNING, "add a port mapping, or set the class's port",
        "container %.60s maps no port %" PRId64, f->class->ecs_container, f->class->port);
}

static void find_environment(const struct ecs_found *f, const json_t *container)
{
    size_t i;
    const json_t *v;
    json_array_foreach (json_object_get(container, "environment"), i, v)
        if (strcmp(text_of(v, "name"), "CLEAT_SECRET") == 0)
            say(f, FINDING_ERROR, "remove it: each session gets a secret of its own",
                "the task definition sets CLEAT_SECRET, where everybody can read it");
}

static void find_stop_timeout(const struct ecs_found *f, const json_t *container)
{
    const json_t *value = json_object_get(container, "stopTimeout");
    json_int_t s = value != NULL ? json_integer_value(value) : STOP_TIMEOUT_S;
    if (*f->class->artifacts != '\0' && s < STOP_TIMEOUT_MAX_S)
        say(f, FINDING_WARNING, "set stopTimeout of the container to 120, the most there is",
            "a task that ECS stops by itself (Spot, maintenance) has %" JSON_INTEGER_FORMAT
            " s for its upload, then it is killed",
            s);
}

static void find_container(const struct ecs_found *f, const json_t *container)
{
    find_port(f, container);
    find_environment(f, container);
    find_stop_timeout(f, container);
    if (json_is_false(json_object_get(container, "essential")))
        say(f, FINDING_ERROR, "set essential to true",
            "container %.60s is not essential: when it ends its task goes on",
            f->class->ecs_container);
    if (json_is_true(json_object_get(container, "readonlyRootFilesystem")) &&
        json_array_size(json_object_get(container, "mountPoints")) == 0)
        say(f, FINDING_WARNING, "mount a volume where CLEAT_WORKSPACE points",
            "container %.60s has a read-only root and no volume: there is no place for a "
            "workspace",
            f->class->ecs_container);
}

static const json_t *container_in(const json_t *definition, const char *name)
{
    size_t i;
    const json_t *c;
    json_array_foreach (json_object_get(definition, "containerDefinitions"), i, c)
        if (strcmp(text_of(c, "name"), name) == 0)
            return c;
    return NULL;
}

static void find_role(const struct ecs_found *f, const json_t *definition)
{
    const json_t *overrides = json_object_get(f->template, "overrides");
    if (uses_s3(f->class) && *f->class->s3_role == '\0' &&
        *text_of(definition, "taskRoleArn") == '\0' &&
        *text_of(overrides, "taskRoleArn") == '\0')
        say(f, FINDING_ERROR, "set s3_role, or taskRoleArn in the task definition",
            "nothing gives the container credentials for %.100s", f->class->artifacts);
}

void ecs_find_definition(const struct ecs_found *f, const char *text, size_t len)
{
    json_t *o = json_loadb(text, len, 0, NULL);
    const json_t *d = json_object_get(o, "taskDefinition");
    const char *name = text_of(f->template, "taskDefinition");
    const json_t *container = container_in(d, f->class->ecs_container);
    if (*text_of(d, "status") != '\0' && strcmp(text_of(d, "status"), "ACTIVE") != 0)
        say(f, FINDING_ERROR, "register it again and name the new revision in ecs_task",
            "task definition %.100s is %.40s", name, text_of(d, "status"));
    if (strcmp(text_of(d, "networkMode"), "awsvpc") != 0)
        say(f, FINDING_ERROR, "register it with networkMode awsvpc",
            "task definition %.100s gives its tasks no address of their own", name);
    if (f->class->sandbox == SANDBOX_BWRAP && on_fargate(f, d))
        say(f, FINDING_ERROR, "set sandbox to none: each task has a machine of its own",
            "sandbox = bwrap cannot work on Fargate, which has no user namespaces");
    find_role(f, d);
    if (container == NULL)
        say(f, FINDING_ERROR, "set ecs_container to the container that serves the session",
            "task definition %.100s has no container %.60s", name, f->class->ecs_container);
    else
        find_container(f, container);
    json_decref(o);
}

/* ---- subnets ---- */

static const json_t *subnets_of(const json_t *template)
{
    const json_t *network = json_object_get(template, "networkConfiguration");
    return json_object_get(json_object_get(network, "awsvpcConfiguration"), "subnets");
}

char *ecs_subnets_request(const json_t *template)
{
    struct buf form = {0};
    size_t i;
    const json_t *name;
    json_array_foreach (subnets_of(template), i, name) {
        char *value = aws_encode(json_string_value(name), false);
        buf_printf(&form, "%sSubnetId.%zu=%s", i > 0 ? "&" : "", i + 1, value);
        free(value);
    }
    return buf_take(&form);
}

/* A subnet has no more than 65,536. */
static long long addresses(const char *count)
{
    long long n = strtoll(count, NULL, 10);
    return n < 0 ? 0 : n > 65536 ? 65536 : n;
}

void ecs_find_subnets(const struct ecs_found *f, const char *text, size_t len)
{
    struct error e;
    struct xml *root = xml_parse(text, len, &e);
    const struct xml *set = xml_child(root, "subnetSet"), *first = NULL;
    long long available = 0;
    bool other_vpc = false, other_zone = false;
    for (const struct xml *s = set != NULL ? set->children : NULL; s != NULL; s = s->next) {
        first = first != NULL ? first : s;
        available += addresses(xml_text(s, "availableIpAddressCount"));
        other_vpc = other_vpc || strcmp(xml_text(s, "vpcId"), xml_text(first, "vpcId")) != 0;
        other_zone = other_zone || strcmp(xml_text(s, "availabilityZone"),
                                          xml_text(first, "availabilityZone")) != 0;
    }
    if (first == NULL)
        say(f, FINDING_ERROR, "name subnets of this region in ecs_task",
            "none of the subnets exists");
    else if (available < FEW_ADDRESSES)
        say(f, available == 0 ? FINDING_ERROR : FINDING_WARNING, "add subnets to ecs_task",
            "the subnets have %lld free addresses, and each session takes one", available);
    if (other_vpc)
        say(f, FINDING_ERROR, "name subnets of one VPC", "the subnets are of several VPCs");
    if (first != NULL && !other_zone)
        say(f, FINDING_WARNING, "add a subnet in another zone",
            "all subnets are in zone %.40s: without capacity there no session starts",
            xml_text(first, "availabilityZone"));
    xml_free(root);
}
