/* Answers of Elastic Load Balancing as XML, and the judgement of a group's settings. Bytes: a
 * choice, then documents with a NUL in between. */
#include <stdlib.h>
#include <string.h>
#include "driver/alb_fields.h"
#include "driver/alb_judge.h"
#include "fuzz.h"
#include "http/xml.h"

#define ARN "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/tg/1"

static size_t check_tree(const struct xml *x, unsigned depth)
{
    size_t bytes = 0;
    must(depth <= 32);
    for (; x; x = x->next) {
        must(x->name && x->text);
        bytes += strlen(x->name) + strlen(x->text) + check_tree(x->children, depth + 1);
    }
    return bytes;
}

static struct xml *parse(const char *text, size_t len)
{
    struct error e = {0};
    struct xml *root = xml_parse(text, len, &e);
    if (!root)
        fuzz_check_error(ERR_PROTOCOL, &e);
    else
        must(!root->next && *root->name && check_tree(root, 1) <= 2 * len);
    return root;
}

static void try_health(const char *text, size_t len)
{
    struct alb_listing listing;
    struct error e = {0};
    if (!alb_read_health(text, len, &listing, &e)) {
        fuzz_check_error(ERR_PROTOCOL, &e);
        must(!listing.list && listing.count == 0);
    }
    for (size_t i = 0; i < listing.count; i++) {
        const struct alb_seen *s = &listing.list[i];
        must(s->ip[0] && s->port > 0 && fuzz_is_printable(s->reason));
        must(s->health == ALB_HEALTHY ||
             alb_state(s->health, TARGET_HEALTHY) != TARGET_HEALTHY);
        must(*alb_health_name(s->health));
    }
    alb_listing_free(&listing);
}

static void each_tag(void *arg, const char *arn, const char *value)
{
    char name[16];
    (void)arg, (void)value;
    alb_name(arn, name, sizeof name);
    must(strlen(name) < sizeof name && !strchr(name, '/'));
    must(!alb_is_target_group(arn) || *name);
}

static void try_tags(const char *text, size_t len)
{
    struct error e = {0};
    if (!alb_read_tags(text, len, ALB_OWNER_TAG, each_tag, NULL, &e))
        fuzz_check_error(ERR_PROTOCOL, &e);
}

static void on_finding(void *arg, enum finding_level level, const char *problem,
                       const char *cure)
{
    (void)arg;
    must(level == FINDING_ERROR || level == FINDING_WARNING);
    must(*problem && cure && fuzz_is_printable(problem) && fuzz_is_printable(cure));
}

static void try_judge(struct xml *documents[7])
{
    struct class class = {.idle_timeout_s = 60,
                          .alb_header = (char[]){"x-slot"},
                          .alb_mode = ALB_SLOT,
                          .cookies = (char *[]){(char[]){"AWSALB*"}, NULL},
                          .exec_timeout_s = 100,
                          .port = 8080};
    struct alb_page listeners = {.root = documents[5]};
    struct alb_page rules = {.root = documents[6], .listener = (char[]){"arn:l"}};
    struct alb_documents all = {.group = documents[0],
                                .tags = documents[1],
                                .attributes = documents[2],
                                .balancer = documents[3],
                                .balancer_attributes = documents[4],
                                .listeners = documents[5] ? &listeners : NULL,
                                .rules = documents[6] ? &rules : NULL};
    struct alb_judge judge = {.class = &class,
                              .owner = "cleat",
                              .arn = ARN,
                              .name = "tg",
                              .number = 1,
                              .url = "http://balancer",
                              .documents = &all,
                              .finding = on_finding};
    must(alb_balancer_of(&all));
    for (class.alb_mode = ALB_SHARED; class.alb_mode <= ALB_SLOT; class.alb_mode++) {
        alb_judge_group(&judge);
        alb_judge_balancer(&judge);
    }
}

static void try_documents(const char *text, size_t len)
{
    struct xml *documents[7] = {NULL};
    const char *end = text + len;
    for (size_t i = 0; i < 7 && text < end; i++) {
        const char *stop = memchr(text, '\0', (size_t)(end - text));
        size_t size = (size_t)((stop ? stop : end) - text);
        documents[i] = parse(text, size);
        text += size + (stop ? 1 : 0);
    }
    if (documents[0] || documents[3])
        try_judge(documents);
    for (size_t i = 0; i < 7; i++)
        xml_free(documents[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(const char *, size_t) = {try_health, try_tags,
                                                            try_documents};
    struct fuzz f = {data, size};
    size_t len;
    unsigned choice = fuzz_number(&f, 3);
    char *text = fuzz_bytes(&f, &len);
    readers[choice](text, len);
    free(text);
    return 0;
}
