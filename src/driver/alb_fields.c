#include "driver/alb_fields.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "http/aws.h"
#include "http/xml.h"

/* ---- forms ---- */

void alb_form_add(struct buf *form, const char *member, const char *value)
{
    char *encoded = aws_encode(value, false);
    buf_printf(form, "%s%s=%s", form->len > 0 ? "&" : "", member, encoded);
    free(encoded);
}

void alb_form_list(struct buf *form, const char *member, const char *const *values,
                   size_t count)
{
    char name[64];
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "%s.member.%zu", member, i + 1);
        alb_form_add(form, name, values[i]);
    }
}

void alb_form_target(struct buf *form, size_t n, const char *ip, uint16_t port)
{
    char name[64], number[8];
    snprintf(name, sizeof(name), "Targets.member.%zu.Id", n);
    alb_form_add(form, name, ip);
    snprintf(name, sizeof(name), "Targets.member.%zu.Port", n);
    snprintf(number, sizeof(number), "%u", port);
    alb_form_add(form, name, number);
}

void alb_form_tag(struct buf *form, size_t n, const char *key, const char *value)
{
    char name[64];
    snprintf(name, sizeof(name), "Tags.member.%zu.Key", n);
    alb_form_add(form, name, key);
    snprintf(name, sizeof(name), "Tags.member.%zu.Value", n);
    alb_form_add(form, name, value);
}

/* ---- health ---- */

static const struct {
    const char *name;
    enum alb_health health;
} states[] = {
    {"initial", ALB_INITIAL}, {"healthy", ALB_HEALTHY},   {"unhealthy", ALB_UNHEALTHY},
    {"unused", ALB_UNUSED},   {"draining", ALB_DRAINING}, {"unavailable", ALB_UNAVAILABLE},
};

static const struct {
    const char *code, *meaning;
} reasons[] = {
    {"Elb.RegistrationInProgress", "is being registered"},
    {"Elb.InitialHealthChecking", "first health checks"},
    {"Elb.InternalError", "internal error of the load balancer"},
    {"Target.ResponseCodeMismatch", "health check: unexpected status"},
    {"Target.Timeout", "health check: no answer in time"},
    {"Target.FailedHealthChecks", "health check: no connection or a bad answer"},
    {"Target.NotRegistered", "not registered"},
    {"Target.NotInUse", "no listener or zone uses its target group"},
    {"Target.DeregistrationInProgress", "draining"},
    {"Target.InvalidState", "its machine is stopped"},
    {"Target.IpUnusable", "the load balancer itself has its address"},
    {"Target.HealthCheckDisabled", "health checks are switched off"},
};

const char *alb_health_name(enum alb_health health)
{
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (states[i].health == health)
            return states[i].name;
    return "unknown";
}

static enum alb_health health_of(const char *name)
{
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(states[i].name, name) == 0)
            return states[i].health;
    return ALB_ODD;
}

static const char *meaning_of(const char *code)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (strcmp(reasons[i].code, code) == 0)
            return reasons[i].meaning;
    return code;
}

/* For people: one line, whatever the API wrote. */
static void copy_line(char *to, size_t size, const char *from)
{
    mem_copy_string(to, size, from);
    for (char *c = to; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            *c = ' ';
}

static bool read_seen(const struct xml *member, struct alb_seen *s)
{
    const char *id = xml_text(member, "Target/Id"), *port = xml_text(member, "Target/Port");
    const char *state = xml_text(member, "TargetHealth/State");
    const char *code = xml_text(member, "TargetHealth/Reason");
    char *end;
    unsigned long number = strtoul(port, &end, 10);
    if (*id == '\0' || strlen(id) >= sizeof(s->ip) || *port < '0' || *port > '9' ||
        *end != '\0' || number == 0 || number > UINT16_MAX || *state == '\0')
        return false;
    mem_copy_string(s->ip, sizeof(s->ip), id);
    s->port = (uint16_t)number;
    s->health = health_of(state);
    copy_line(s->reason, sizeof(s->reason), *code == '\0' ? state : meaning_of(code));
    return true;
}

static const struct xml *members_of(const struct xml *root, const char *path, struct error *e)
{
    const struct xml *list = xml_find(root, path);
    if (list == NULL)
        error_set(e, ERR_PROTOCOL, "the load balancer's answer has no %s", path);
    return list;
}

static bool read_members(const struct xml *list, struct alb_listing *out, struct error *e)
{
    size_t count = 0;
    for (const struct xml *m = list->children; m != NULL; m = m->next)
        count++;
    out->list = mem_array(count, sizeof(*out->list));
    for (const struct xml *m = list->children; m != NULL; m = m->next) {
        if (read_seen(m, &out->list[out->count++]))
            continue;
        error_set(e, ERR_PROTOCOL, "the load balancer lists a target without address or state");
        alb_listing_free(out);
        return false;
    }
    return true;
}

bool alb_read_health(const char *body, size_t len, struct alb_listing *out, struct error *e)
{
    *out = (struct alb_listing){0};
    struct xml *root = xml_parse(body, len, e);
    if (root == NULL)
        return false;
    const struct xml *list =
        members_of(root, "DescribeTargetHealthResult/TargetHealthDescriptions", e);
    bool fine = list != NULL && read_members(list, out, e);
    xml_free(root);
    return fine;
}

void alb_listing_free(struct alb_listing *l)
{
    free(l->list);
    *l = (struct alb_listing){0};
}

enum target_state alb_state(enum alb_health health, enum target_state before)
{
    if (health == ALB_HEALTHY)
        return TARGET_HEALTHY;
    bool was_in = before == TARGET_HEALTHY || before == TARGET_UNHEALTHY;
    if (before == TARGET_UNKNOWN && health != ALB_INITIAL) /* of an earlier life */
        return TARGET_UNHEALTHY;
    return was_in ? TARGET_UNHEALTHY : TARGET_CHECKING;
}

/* ---- tags ---- */

static const char *tag_of(const struct xml *description, const char *key)
{
    const struct xml *tags = xml_child(description, "Tags");
    for (const struct xml *t = tags != NULL ? tags->children : NULL; t != NULL; t = t->next)
        if (strcmp(xml_text(t, "Key"), key) == 0)
            return xml_text(t, "Value");
    return NULL;
}

bool alb_read_tags(const char *body, size_t len, const char *key, alb_tag_fn *fn, void *arg,
                   struct error *e)
{
    struct xml *root = xml_parse(body, len, e);
    if (root == NULL)
        return false;
    const struct xml *list = members_of(root, "DescribeTagsResult/TagDescriptions", e);
    for (const struct xml *m = list != NULL ? list->children : NULL; m != NULL; m = m->next)
        fn(arg, xml_text(m, "ResourceArn"), tag_of(m, key));
    xml_free(root);
    return list != NULL;
}

/* ---- ARNs ---- */

#define KIND ":targetgroup/"

bool alb_is_target_group(const char *arn)
{
    const char *kind = strstr(arn, KIND);
    if (strncmp(arn, "arn:", 4) != 0 || kind == NULL)
        return false;
    const char *name = kind + strlen(KIND), *slash = strchr(name, '/');
    return slash != NULL && slash > name && slash[1] != '\0';
}

void alb_name(const char *arn, char *out, size_t size)
{
    const char *kind = strstr(arn, KIND);
    const char *name = kind != NULL ? kind + strlen(KIND) : arn;
    snprintf(out, size, "%.*s", (int)strcspn(name, "/"), name);
}
