/* Forms and answers of Elastic Load Balancing version 2 (API Reference, version 2015-12-01,
 * query protocol): pure. Forms are without Action and Version; the caller frees them. Readers
 * of answers give false and *e (ERR_PROTOCOL) when the answer makes no sense. */
#ifndef CLEAT_DRIVER_ALB_FIELDS_H
#define CLEAT_DRIVER_ALB_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/error.h"
#include "driver/balancer.h"

#define ALB_OWNER_TAG "cleat:owner"
#define ALB_TARGETS_PER_CALL 100
#define ALB_ARNS_PER_CALL 20 /* DescribeTags, AddTags */

/* ---- forms ---- */

/* "member=value", with '&' in front when something is there already; value is encoded. */
void alb_form_add(struct buf *, const char *member, const char *value);
/* "member.1", "member.2" … for the n-th of a list. */
void alb_form_list(struct buf *, const char *member, const char *const *values, size_t count);
void alb_form_target(struct buf *, size_t n, const char *ip, uint16_t port); /* n from 1 */
void alb_form_tag(struct buf *, size_t n, const char *key, const char *value);

/* ---- health ---- */

enum alb_health {
    ALB_INITIAL,
    ALB_HEALTHY,
    ALB_UNHEALTHY,
    ALB_UNUSED,
    ALB_DRAINING,
    ALB_UNAVAILABLE,
    ALB_ODD, /* a state that this program does not know */
};

struct alb_seen {
    char ip[46];
    uint16_t port;
    enum alb_health health;
    char reason[48]; /* for people: what the reason code means */
};

struct alb_listing {
    struct alb_seen *list;
    size_t count;
};

bool alb_read_health(const char *body, size_t len, struct alb_listing *out, struct error *e);
void alb_listing_free(struct alb_listing *);
const char *alb_health_name(enum alb_health);
/* The state of a registered target, by the state that it had. */
enum target_state alb_state(enum alb_health, enum target_state before);

/* ---- tags ---- */

/* value NULL: the resource has no such tag. */
typedef void alb_tag_fn(void *arg, const char *arn, const char *value);
bool alb_read_tags(const char *body, size_t len, const char *key, alb_tag_fn *, void *arg,
                   struct error *e);

/* ---- ARNs ---- */

bool alb_is_target_group(const char *arn); /* "arn:…:targetgroup/NAME/ID" */
/* The name in it; size > 0. */
void alb_name(const char *arn, char *out, size_t size);

#endif
