/* Whose the target groups are. A target group belongs to the owner that its tag names. One
 * without the tag is claimed before the first target is put there: the tag is written, and
 * after a moment read back, so that of two coordinators that claim at once the one whose tag
 * was overwritten sees it. The tags are read again from time to time. */
#include <string.h>
#include "base/backoff.h"
#include "base/log.h"
#include "base/mem.h"
#include "driver/alb_group.h"

#define SETTLE_MS                                                                              \
    1000 /* between writing our tag and reading it back, and as much again at random */
#define FRESH_MS                                                                               \
    800 /* a tag that was read so lately need not be read again before it is written: less     \
           than SETTLE_MS, after which another may have seen his own there */
#define WRITE_MS 3000
#define INVISIBLE_MAX 5
#define AGAIN_MS 300000
#define RETRY_BASE_MS 1000
#define RETRY_CAP_MS 60000

static void pump(void *arg);

static int64_t now(const struct alb_owners *o)
{
    return loop_now_ms(o->env->loop);
}

/* ---- answers ---- */

static struct alb_group *asked_group(struct alb_owners *o, const char *arn)
{
    for (size_t i = 0; i < o->asked_count; i++)
        if (strcmp(o->asked[i]->arn, arn) == 0)
            return o->asked[i];
    return NULL;
}

static void set_owner(struct alb_group *g, enum alb_owner owner, const char *name)
{
    bool changed = g->owner != owner || strcmp(g->owner_name, name) != 0;
    if (changed && owner == ALB_OWNER_OTHER)
        log_error("alb.other_owner", KV("target_group", g->name), KV("owner", name),
                  KV("meaning", "no target is put there"));
    else if (changed && owner == ALB_OWNER_OURS)
        log_info("alb.owner", KV("target_group", g->name), KV("owner", name));
    g->owner = owner;
    mem_copy_string(g->owner_name, sizeof(g->owner_name), name);
}

static void read_back_later(struct alb_owners *o, struct alb_group *g)
{
    uint16_t random;
    loop_random(o->env->loop, &random, sizeof(random));
    g->tag_step = ALB_TAG_READ;
    g->tag_due_ms = now(o) + SETTLE_MS + random % SETTLE_MS;
}

static void failed(struct alb_owners *o, struct alb_group *g, const struct error *e)
{
    g->tag_problem = *e;
    g->tag_failures++;
    g->tag_step = ALB_TAG_READ;
    g->tag_due_ms = now(o) + backoff_ms(RETRY_BASE_MS, g->tag_failures, RETRY_CAP_MS);
    alb_group_failed(g, o->asked_for == ALB_TAG_ADD ? "AddTags" : "DescribeTags", e);
}

/* Written, and not to be seen: for a while that is how a distributed system answers. */
static void miss_tag(struct alb_owners *o, struct alb_group *g)
{
    struct error e;
    if (++g->tag_failures < INVISIBLE_MAX) {
        read_back_later(o, g);
        return;
    }
    error_set(&e, ERR_REGISTER, "target group %s does not show the tag %s that was written",
              g->name, ALB_OWNER_TAG);
    g->tagged = false;
    failed(o, g, &e);
}

static void take_tag(void *arg, const char *arn, const char *value)
{
    struct alb_owners *o = arg;
    struct alb_group *g = asked_group(o, arn);
    if (g == NULL)
        return;
    g->tag_step = ALB_TAG_REST;
    g->tag_read_ms = now(o);
    if (value != NULL || !g->claimed) {
        g->tag_failures = 0;
        g->tag_problem = (struct error){.code = ERR_NONE};
    }
    if (value != NULL && strcmp(value, o->env->owner) == 0) {
        set_owner(g, ALB_OWNER_OURS, value);
    } else if (value != NULL) {
        set_owner(g, ALB_OWNER_OTHER, value);
    } else {
        set_owner(g, ALB_OWNER_NONE, "");
        if (g->claimed && g->tagged)
            miss_tag(o, g);
        else if (g->claimed)
            g->tag_step = ALB_TAG_ADD;
    }
}

/* One that does not exist must not hide what the others say. */
static void take_failure(struct alb_owners *o, const struct aws_answer *answer)
{
    bool together = o->asked_count > 1 && answer->class == AWS_PERMANENT;
    for (size_t i = 0; i < o->asked_count; i++) {
        if (together)
            o->asked[i]->alone = true;
        else
            failed(o, o->asked[i], &answer->error);
    }
}

static void take_tags(struct alb_owners *o, const struct aws_answer *answer)
{
    struct error e = {.code = ERR_NONE};
    if (alb_read_tags(answer->body, answer->body_len, ALB_OWNER_TAG, take_tag, o, &e))
        error_set(&e, ERR_PROTOCOL,
                  "DescribeTags: the answer does not speak of the target group");
    for (size_t i = 0; i < o->asked_count; i++)
        if (o->asked[i]->tag_step == ALB_TAG_READ && o->asked[i]->tag_due_ms <= now(o))
            failed(o, o->asked[i], &e);
}

static void answered(void *arg, const struct aws_answer *answer)
{
    struct alb_owners *o = arg;
    o->call = NULL;
    if (answer->error.code != ERR_NONE) {
        take_failure(o, answer);
    } else if (o->asked_for == ALB_TAG_READ) {
        take_tags(o, answer);
    } else {
        for (size_t i = 0; i < o->asked_count; i++) {
            o->asked[i]->tagged = true;
            read_back_later(o, o->asked[i]);
        }
    }
    o->asked_count = 0;
    o->env->owned(o->env->arg);
    pump(o);
}

/* ---- calls ---- */

static void choose(struct alb_owners *o, enum alb_tag_step step)
{
    o->asked_for = step;
    for (size_t i = 0; i < o->count && o->asked_count < ALB_ARNS_PER_CALL; i++) {
        struct alb_group *g = &o->groups[i];
        if (g->tag_step != step || (step == ALB_TAG_READ && g->tag_due_ms > now(o)) ||
            (g->alone && o->asked_count > 0))
            continue;
        o->asked[o->asked_count++] = g;
        if (g->alone)
            return;
    }
}

static void call(struct alb_owners *o)
{
    const char *arns[ALB_ARNS_PER_CALL];
    bool add = o->asked_for == ALB_TAG_ADD;
    struct buf form = {0};
    for (size_t i = 0; i < o->asked_count; i++)
        arns[i] = o->asked[i]->arn;
    alb_form_list(&form, "ResourceArns", arns, o->asked_count);
    if (add)
        alb_form_tag(&form, 1, ALB_OWNER_TAG, o->env->owner);
    struct aws_request request = {.service = AWS_ELB,
                                  .action = add ? "AddTags" : "DescribeTags",
                                  .body = form.data,
                                  .body_len = form.len,
                                  .tries = add ? 1 : 0, /* the tag is read before another */
                                  .timeout_ms = add ? WRITE_MS : 0};
    o->call = aws_start(o->env->aws, &request, answered, o);
    buf_free(&form);
}

static bool is_of_interest(const struct alb_group *g)
{
    return g->owner == ALB_OWNER_OURS || g->claimed;
}

/* When the next reading is due; without one, the time for another look at all. */
static void sleep_until_due(struct alb_owners *o)
{
    int64_t due = INT64_MAX, again = INT64_MAX;
    for (size_t i = 0; i < o->count; i++) {
        const struct alb_group *g = &o->groups[i];
        if (g->tag_step == ALB_TAG_READ && g->tag_due_ms < due)
            due = g->tag_due_ms;
        if (is_of_interest(g) && g->tag_read_ms + AGAIN_MS < again)
            again = g->tag_read_ms + AGAIN_MS;
    }
    due = again < due ? again : due;
    if (due != INT64_MAX)
        timer_arm(&o->timer, due - now(o));
}

static void pump(void *arg)
{
    struct alb_owners *o = arg;
    if (o->call != NULL)
        return;
    for (size_t i = 0; i < o->count; i++) {
        struct alb_group *g = &o->groups[i];
        if (g->tag_step == ALB_TAG_REST && is_of_interest(g) &&
            now(o) >= g->tag_read_ms + AGAIN_MS) {
            g->tag_step = ALB_TAG_READ;
            g->tag_due_ms = now(o);
        }
    }
    choose(o, ALB_TAG_ADD);
    if (o->asked_count == 0)
        choose(o, ALB_TAG_READ);
    if (o->asked_count > 0)
        call(o);
    else
        sleep_until_due(o);
}

/* ---- what is asked of us ---- */

static void pump_soon(struct alb_owners *o)
{
    if (o->call == NULL)
        timer_arm(&o->timer, 0);
}

void alb_owners_read(struct alb_owners *o)
{
    for (size_t i = 0; i < o->count; i++) {
        struct alb_group *g = &o->groups[i];
        if (g->tag_step != ALB_TAG_REST)
            continue;
        g->tag_step = ALB_TAG_READ;
        g->tag_due_ms = now(o);
    }
    pump_soon(o);
}

void alb_owners_claim(struct alb_owners *o)
{
    for (size_t i = 0; i < o->count; i++) {
        struct alb_group *g = &o->groups[i];
        if (g->owner != ALB_OWNER_NONE || (g->claimed && g->tag_step != ALB_TAG_REST))
            continue;
        g->claimed = true;
        g->tagged = false;
        g->tag_step = now(o) < g->tag_read_ms + FRESH_MS ? ALB_TAG_ADD : ALB_TAG_READ;
        g->tag_due_ms = now(o);
    }
    pump_soon(o);
}

bool alb_owners_claiming(const struct alb_owners *o)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct alb_group *g = &o->groups[i];
        if (g->owner == ALB_OWNER_NONE && g->claimed && g->tag_problem.code == ERR_NONE)
            return true;
    }
    return false;
}

void alb_owners_init(struct alb_owners *o, const struct alb_env *env, struct alb_group *groups,
                     size_t count)
{
    *o = (struct alb_owners){.env = env, .groups = groups, .count = count};
    timer_init(&o->timer, env->loop, pump, o);
}

void alb_owners_release(struct alb_owners *o)
{
    timer_stop(&o->timer);
    if (o->call != NULL)
        aws_cancel(o->call);
}
