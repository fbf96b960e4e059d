/* Orphans: sessions that the journal has lost while their containers run, containers that come
 * late or twice, and others' containers beside them. What was ours is closed with all that it
 * holds; what is not, or may not be, is never touched. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "container.h"
#include "files.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"
#include "sim_store.h"

#define LOST_AT_MS 30000
#define LOOK_MS 500
#define PLANTED_AT_MS 20000
#define CLOSING_BEGINS_MS 360000 /* reap_interval_s and reap_grace_s */
#define CLOSING_MAX 10
#define ANSWER_MS 90000
#define ADDRESS "127.64.0.20"

static struct {
    unsigned lost; /* lives, the first ones */
    bool each_commit, torn;
    bool older;            /* held: nothing of the journal is left */
    unsigned most_closing; /* orphans at a time */
} orphans;

static struct life *life_number(unsigned index)
{
    struct life *life = lives;
    while (life && life->index != index)
        life = life->next;
    return life;
}

static bool is_lost(const struct container *c)
{
    for (unsigned i = 0; i < orphans.lost; i++)
        if (strcmp(life_number(i)->session, c->session) == 0)
            return true;
    return false;
}

static bool is_strangers(const struct container *c)
{
    return c->planted && (strncmp(c->key, "other.", 6) == 0 || strstr(c->key, ".thing."));
}

static void add_lives(unsigned count, int64_t born_ms, int64_t close_ms)
{
    struct plan p = {.tenant = "tenant-a", .born_ms = born_ms, .stays = true};
    p.close_ms = close_ms;
    p.execution[p.executions++] = (struct planned_execution){
        .after_ready_ms = 100, .takes_ms = 50, .artifact = true, .named = true};
    p.execution[p.executions++] = (struct planned_execution){
        .after_ready_ms = 200000, .takes_ms = 50, .artifact = true, .named = true};
    for (unsigned i = 0; i < count; i++, p.born_ms += 5) /* their ids are in this order */
        life_new(&p);
}

/* ---- the journal loses them ---- */

static void forget_rows(void)
{
    for (unsigned i = 0; i < orphans.lost; i++)
        if (*life_number(i)->session)
            sim_store_forget(life_number(i)->session);
    if (orphans.each_commit)
        store_habits.crash_at_commit = sim_store_commits + 1 + world.seed % 30;
}

static void abandon_lost(void)
{
    for (unsigned i = 0; i < orphans.lost; i++)
        life_abandon(life_number(i));
}

static void lose_rows(void *arg)
{
    (void)arg;
    abandon_lost();
    store_habits.happens = forget_rows;
    world.crash_due = true;
    if (orphans.torn)
        world.faults = (struct faults){.until_ms = world.now_ms + 150000,
                                       .http_truncated = 1500,
                                       .http_cut_body = 1500,
                                       .http_5xx = 500,
                                       .ask_truncated = 1500,
                                       .ask_nonsense = 1500,
                                       .ask_lost = 500};
}

static void set_orphans(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    int64_t kind = world_pick(0, 3);
    s->docker = kind == 1;
    s->ecs = kind == 2;
    s->nodes = s->ecs ? 0 : (unsigned)world_pick(0, 2);
    s->groups = s->ecs ? (unsigned)world_pick(0, 3) : 0;
    s->plain = world_chance(2000);
    s->direct_never = (s->nodes > 0 || s->groups > 0) && world_chance(3000);
    s->own_role = s->ecs && !s->plain && world_chance(3000);
}

static void begin_orphans(void)
{
    orphans.lost = 4;
    add_lives(6, 0, 500000);
    world_at(LOST_AT_MS, lose_rows, NULL);
}

static void set_orphans_each_commit(struct settings_of_world *s)
{
    set_orphans(s);
    orphans.each_commit = true;
}

/* It is their end that is to be disturbed, and not the execution of who is left. */
static void crash_no_more(void *arg)
{
    (void)arg;
    store_habits.crash_at_commit = 0;
}

static void begin_orphans_each_commit(void)
{
    orphans.lost = 2;
    add_lives(3, 0, 300000);
    world_at(LOST_AT_MS, lose_rows, NULL);
    world_at(190000, crash_no_more, NULL);
}

static void set_orphans_torn(struct settings_of_world *s)
{
    set_orphans(s);
    s->plain = false; /* half an answer of its only upload, and its target is gone */
    orphans.torn = true;
}

/* ---- what must not be touched, and what an operator says ---- */

static int64_t held_by_status(void)
{
    char *text = cleat_status(coordinator);
    json_t *o = json_loads(text, 0, NULL);
    int64_t held = json_integer_value(json_object_get(json_object_get(o, "orphans"), "held"));
    json_decref(o);
    free(text);
    return held;
}

static void check_untouched(const char *why)
{
    for (const struct container *c = containers; c; c = c->next) {
        if (!is_lost(c))
            continue;
        if (!c->alive || c->stop_asked || c->complete_begun)
            world_violate("ORPHANS", "container %u was touched: %s", c->index, why);
        for (struct node *node = nodes; node; node = node->next)
            if (!haproxy_find(node, c->key))
                world_violate("ORPHANS", "node %u lists %s no longer: %s", node->index, c->key,
                              why);
    }
}

static void ordered(void *arg, const struct cleat_error *error, const char *document);

static void order(void *request)
{
    if (!coordinator) {
        world_at(LOOK_MS, order, request);
        return;
    }
    struct call *call = call_new("reap", ANSWER_MS, ordered, request);
    call_keep(call, cleat_reap(coordinator, request, strlen(request), call_done, call));
}

static void ordered(void *arg, const struct cleat_error *error, const char *document)
{
    json_t *o = document ? json_loads(document, 0, NULL) : NULL;
    size_t i, count = 0;
    const json_t *orphan;
    if (error)
        world_violate("ORPHANS", "reap is refused: %s", error->message);
    json_array_foreach (json_object_get(o, "orphans"), i, orphan)
        count += strcmp(json_string_value(json_object_get(orphan, "action")), "close") == 0;
    if (document && count != orphans.lost)
        world_violate("ORPHANS", "%s closes %zu of %u", (const char *)arg, count, orphans.lost);
    json_decref(o);
}

static void look_at_held(void *then)
{
    check_untouched("the journal cannot speak for it");
    if (coordinator && held_by_status() != orphans.lost)
        world_violate("ORPHANS", "%d of %u are held", (int)held_by_status(), orphans.lost);
    world.crash_due = then != NULL && coordinator != NULL;
}

static void look_at_reported(void *arg)
{
    (void)arg;
    check_untouched("orphans are reported only");
}

static void spoil_label(const struct container *c)
{
    files_put(world_printf("%s/label", c->workspace), "spoilt");
}

static void lose_all(void *arg)
{
    (void)arg;
    abandon_lost();
    for (const struct container *c = containers; c; c = c->next)
        if (is_lost(c))
            spoil_label(c);
    store_habits.happens = orphans.older ? sim_store_lose : sim_store_restore;
    world.crash_due = true;
}

static void back_up(void *arg)
{
    (void)arg;
    sim_store_back_up();
}

static void set_orphans_held(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    s->nodes = (unsigned)world_pick(0, 2);
    s->max_lifetime_s = 7200;
    orphans.older = world_chance(5000);
}

static void begin_orphans_held(void)
{
    static char again[] = "again", dry[] = "{\"adopt\":true,\"dry_run\":true}",
                adopt[] = "{\"adopt\":true}";
    orphans.lost = 3;
    add_lives(3, 15000, 3000000);
    if (!orphans.older)
        add_lives(2, 0, 3000000); /* of the backup */
    world_at(10000, back_up, NULL);
    world_at(2 * LOST_AT_MS, lose_all, NULL);
    world_at(800000, look_at_held, again); /* and a start later as well */
    world_at(1600000, look_at_held, NULL);
    world_at(1610000, order, dry);
    world_at(1700000, look_at_reported, NULL);
    world_at(1710000, order, adopt);
}

static void set_orphans_dry_run(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    s->nodes = (unsigned)world_pick(0, 1);
    s->max_lifetime_s = 7200;
    s->reap_dry_run = true;
}

static void begin_orphans_dry_run(void)
{
    static char close[] = "{}";
    orphans.lost = 3;
    add_lives(4, 0, 1500000);
    world_at(LOST_AT_MS, lose_rows, NULL);
    world_at(1000000, look_at_reported, NULL);
    world_at(1010000, order, close);
}

/* ---- a few at a time ---- */

static void count_closing(void *arg)
{
    unsigned closing = 0;
    for (const struct container *c = containers; c; c = c->next)
        closing += is_lost(c) && c->alive && c->complete_begun;
    if (closing > orphans.most_closing)
        orphans.most_closing = closing;
    if (closing > CLOSING_MAX)
        world_violate("ORPHANS", "%u are closed at a time", closing);
    world_at(LOOK_MS, count_closing, arg);
}

static void set_orphans_many(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    s->nodes = 1;
    container_habits.upload_min_ms = 20000;
    container_habits.upload_max_ms = 40000;
}

static void begin_orphans_many(void)
{
    orphans.lost = 25;
    add_lives(26, 0, 700000);
    world_at(LOST_AT_MS, lose_rows, NULL);
    world_at(LOST_AT_MS + 1, count_closing, NULL);
}

/* ---- most are out of reach ---- */

#define REACHED 10 /* beside this one all hang, ten before it and ten behind it */
#define GRACE_MS 60000

static void hang_all_but_one(void *hung)
{
    for (struct container *c = containers; c; c = c->next)
        if (is_lost(c) && strcmp(life_number(REACHED)->session, c->session) != 0)
            container_hang(c, hung != NULL);
}

static void look_for_the_reached(void *arg)
{
    (void)arg;
    for (const struct container *c = containers; c; c = c->next)
        if (is_lost(c) && c->alive == (strcmp(life_number(REACHED)->session, c->session) == 0))
            world_violate("ORPHANS", "container %u %s", c->index,
                          c->alive ? "waits for those out of reach" : "was out of reach");
    hang_all_but_one(NULL);
}

static void await_the_start(void *arg)
{
    if (coordinator)
        world_at(GRACE_MS + 60000, look_for_the_reached, arg);
    else
        world_at(LOOK_MS, await_the_start, arg);
}

static void set_orphans_unreached(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    s->nodes = (unsigned)world_pick(0, 1);
}

static void begin_orphans_unreached(void)
{
    static char hung[] = "hung";
    orphans.lost = 2 * REACHED + 1;
    add_lives(orphans.lost + 1, 0, 700000);
    world_at(LOST_AT_MS - 1, hang_all_but_one, hung);
    world_at(LOST_AT_MS, lose_rows, NULL);
    world_at(LOST_AT_MS + 1, await_the_start, NULL);
}

/* ---- planted ones ---- */

static const char *near(const char *session)
{
    char *other = world_strdup(session);
    size_t last = strlen(other) - 1;
    other[last] = other[last] == '0' ? '1' : '0';
    return other;
}

static void plant(void *arg)
{
    const char *over = life_number(0)->session;
    (void)arg;
    container_plant("cleat", over, 1, ADDRESS "1:8080", true);
    container_plant("cleat", over, 7, ADDRESS "2:8080", false);
    container_plant("cleat", near(over), 1, ADDRESS "3:8080", true);
    container_plant("other", over, 1, ADDRESS "4:8080", true);
    container_plant("other", near(over), 1, ADDRESS "5:8080", false);
    container_plant("cleat", "thing", 1, ADDRESS "6:8080", true);
}

static void end_strangers(void *arg)
{
    (void)arg;
    for (struct container *c = containers; c; c = c->next) {
        if (!is_strangers(c))
            continue;
        if (!c->alive || c->stop_asked || c->complete_begun)
            world_violate("ORPHANS", "a stranger's container, %s, was touched", c->key);
        bool listed = strcmp(c->key, world_printf("other.%s.1", c->session)) != 0 ||
                      strcmp(c->session, life_number(0)->session) == 0;
        for (struct node *node = listed ? nodes : NULL; node; node = node->next) {
            if (!haproxy_find(node, c->key))
                world_violate("ORPHANS", "a stranger's target, %s, was touched", c->key);
            else
                haproxy_delete(haproxy_find(node, c->key));
        }
        container_end(c, 0);
    }
}

/* At the end of an interval they are listed, and after the grace their turn comes. */
static void check_closing(void *arg)
{
    (void)arg;
    for (const struct container *c = containers; c; c = c->next)
        if (c->planted && !is_strangers(c) && c->alive && !c->complete_begun && !c->stop_asked)
            world_violate("ORPHANS", "container %u is still there after %d s", c->index,
                          CLOSING_BEGINS_MS / 1000);
}

static void set_orphans_planted(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    s->nodes = (unsigned)world_pick(1, 2);
    s->max_lifetime_s = 7200;
}

static void begin_orphans_planted(void)
{
    add_lives(1, 0, 5000);
    add_lives(1, 1000, 1700000);
    world_at(PLANTED_AT_MS, plant, NULL); /* after the first listing */
    world_at(PLANTED_AT_MS + CLOSING_BEGINS_MS, check_closing, NULL);
    world_at(1500000, end_strangers, NULL);
}

/* ---- one without a target, which is reached through the balancer alone ---- */

static struct container *busy;

static void wake_busy(void *arg)
{
    container_hang(arg, false);
}

static void look_for_its_target(void *arg)
{
    for (struct node *node = busy->alive ? NULL : nodes; node; node = node->next) {
        const struct server *s = haproxy_find(node, busy->key);
        if (s && !s->maint)
            world_violate("I5", "the target of %s outlived its container", busy->key);
    }
    world_at(LOOK_MS, look_for_its_target, arg);
}

static void plant_busy(void *arg)
{
    (void)arg;
    busy = container_plant("cleat", life_number(0)->session, 7, ADDRESS "2:8080", false);
    container_hang(busy, true);
    world_at(450000, wake_busy, busy); /* it was asked in vain on its own address */
    world_at(LOOK_MS, look_for_its_target, NULL);
}

static void set_orphans_busy(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    s->nodes = (unsigned)world_pick(1, 2);
    s->max_lifetime_s = 7200;
}

static void begin_orphans_busy(void)
{
    add_lives(1, 0, 5000);
    add_lives(1, 1000, 900000);
    world_at(60000, plant_busy, NULL);
}

/* ---- two for one ---- */

static void plant_twin(void *arg)
{
    if (!ecs_plant_twin(life_number(0)->session, settings.slots))
        world_at(LOOK_MS, plant_twin, arg);
}

static void look_for_twin(void *arg)
{
    (void)arg;
    for (const struct container *c = containers; c; c = c->next) {
        if (c->planted && c->alive)
            world_violate("ORPHANS", "the second container of an attempt is left");
        if (!c->planted && (!c->alive || c->stop_asked))
            world_violate("ORPHANS", "the attempt's own container was touched");
    }
}

static void set_orphans_twin(struct settings_of_world *s)
{
    memset(&orphans, 0, sizeof orphans);
    s->ecs = true;
    s->slots = world_chance(5000);
    s->groups = s->slots ? 4 : 0;
}

static void begin_orphans_twin(void)
{
    add_lives(2, 0, 850000);
    world_at(20000, plant_twin, NULL);
    world_at(800000, look_for_twin, NULL);
}

/* ---- the end ---- */

static void judge_orphans(void)
{
    for (const struct container *c = containers; c; c = c->next)
        if (!is_strangers(c) && c->uploaded < c->artifacts)
            world_violate("I4", "container %u of %s lost files", c->index, c->key);
    for (const struct life *life = lives; life; life = life->next)
        for (unsigned i = 0; life->index >= orphans.lost && i < life->plan.executions; i++)
            if (life->close_asked && life->plan.close_ms > 250000 &&
                life->execution[i].outcome != OUTCOME_RECORD)
                world_violate("ORPHANS", "%s was disturbed", life->name);
    if (docker_left() > 0)
        world_violate("I5", "%u containers are left in the engine", docker_left());
}

static void judge_orphans_many(void)
{
    judge_orphans();
    if (orphans.most_closing < 2)
        world_violate("ORPHANS", "they were closed one by one");
}

const struct scenario orphan_scenarios[] = {
    {"orphans", "the journal has lost sessions, whose containers are closed", set_orphans,
     begin_orphans, judge_orphans, 16},
    {"orphans-each-commit", "the same, with a crash at the n-th commit of their end",
     set_orphans_each_commit, begin_orphans_each_commit, judge_orphans, 80},
    {"orphans-torn", "the same, while listings fail or come in half", set_orphans_torn,
     begin_orphans, judge_orphans, 20},
    {"orphans-held", "the journal cannot speak for them, until an operator does",
     set_orphans_held, begin_orphans_held, judge_orphans, 8},
    {"orphans-dry-run", "reported only, until an operator closes them", set_orphans_dry_run,
     begin_orphans_dry_run, judge_orphans, 4},
    {"orphans-many", "twenty-five at once, ten at a time", set_orphans_many, begin_orphans_many,
     judge_orphans_many, 2},
    {"orphans-unreached", "one that answers among twenty that do not", set_orphans_unreached,
     begin_orphans_unreached, judge_orphans, 4},
    {"orphans-planted", "late containers of sessions that are over, and others' containers",
     set_orphans_planted, begin_orphans_planted, judge_orphans, 4},
    {"orphans-busy", "one that has no target and does not answer for a while", set_orphans_busy,
     begin_orphans_busy, judge_orphans, 2},
    {"orphans-twin", "the engine started two for one attempt", set_orphans_twin,
     begin_orphans_twin, judge_orphans, 6},
    {NULL, NULL, NULL, NULL, NULL, 0}};
