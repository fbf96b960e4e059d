/* A cleat of this world: its configuration, starts, stops and crashes, and who looks at it. */
#include "instance.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "places.h"
#include "scenario.h"
#include "service.h"
#include "static.h"
#include "sim_aws.h"
#include "sim_stage.h"
#include "sim_store.h"
#include "trap.h"
#include "witness.h"

#define ROLE "arn:aws:iam::123456789012:role/session"
#define SECOND_CRASH_WITHIN 100 /* points */

unsigned instances_crashes;

/* ---- the coordinator ---- */

/* Which session ends by itself, and when, is cleat's to say. */
static void note_end(const char *line)
{
    static const char name[] = " session=";
    char id[ID_SIZE];
    const char *at = strstr(line, name);
    if (!at || !strstr(line, "event=session.state") || !strstr(line, " to=CLOSING"))
        return;
    snprintf(id, sizeof id, "%s", at + strlen(name));
    struct session_facts *facts = books_session(id);
    if (facts && facts->closing_ms < 0)
        facts->closing_ms = world.now_ms;
}

void instance_take_log(void *arg, int level, const char *line)
{
    (void)arg, (void)level;
    if (!world.frozen) {
        world_log("core: %s", line);
        note_end(line);
        trap_core_line(line);
        places_core_line(line);
    }
    if (!world.frozen && strstr(line, "event=session.stuck"))
        world_violate("I8", "a session waits for nothing");
    for (const struct container *c = containers; c; c = c->next)
        if (strstr(line, c->secret_hex))
            world_violate("I2", "a secret is logged");
}

static void set_option(struct cleat_config *config, const char *class_name, const char *key,
                       const char *value)
{
    char why[256];
    if (!cleat_config_set(config, class_name, key, value, why, sizeof why))
        world_violate("SIM", "option %s: %s", key, why);
}

static void set_number(struct cleat_config *config, const char *key, int64_t value)
{
    set_option(config, "default", key, world_printf("%" PRId64, value));
}

static void set_alb(struct cleat_config *config)
{
    const char *arns = "", *urls = "";
    for (unsigned i = 0; i < settings.groups; i++) {
        const char *comma = i + 1 < settings.groups ? "," : "";
        arns = world_printf("%s%s%s", arns, alb_arn(i), comma);
        urls = world_printf("%shttp://alb%u.test%s", urls, i, comma);
    }
    set_option(config, "default", "balancer", "alb");
    set_option(config, "default", "alb_mode", settings.slots ? "slot" : "shared");
    set_option(config, "default", "alb_target_groups", arns);
    set_option(config, "default", "alb_urls", settings.slots ? "http://alb.test" : urls);
    if (settings.slots)
        set_option(config, "default", "alb_header", "X-Cleat-Slot");
}

static void set_balancer(struct cleat_config *config)
{
    if (settings.groups) {
        set_alb(config);
        return;
    }
    const char *sockets = "", *urls = "";
    for (const struct node *node = nodes; node; node = node->next) {
        const char *comma = node->next ? "," : "";
        sockets = world_printf("%s%s%s", sockets, node->socket, comma);
        urls = world_printf("%shttp://%s:%u%s", urls, node->ip, node->port, comma);
    }
    set_option(config, "default", "balancer", nodes ? "haproxy" : "direct");
    if (!nodes)
        return;
    set_option(config, "default", "haproxy_sockets", sockets);
    set_option(config, "default", "haproxy_urls", urls);
    set_option(config, "default", "haproxy_backend", "be");
    set_number(config, "check_interval_ms", settings.check_interval_ms);
}

static void set_runtime(struct cleat_config *config)
{
    if (settings.ecs) {
        set_option(config, "default", "runtime", "ecs");
        set_option(config, "default", "ecs_task", "/simulated/ecs-task.json");
        set_option(config, "default", "artifacts", "s3://simulated/sessions");
        set_option(config, "default", "s3_role", settings.own_role ? ROLE : "");
    }
    if (settings.static_hosts) {
        set_option(config, "default", "runtime", "static");
        set_option(config, "default", "static_hosts", static_names());
        set_option(config, "default", "static_key_file", STATIC_KEY_FILE);
    }
    if (!settings.docker)
        return;
    set_option(config, "default", "runtime", "docker");
    set_option(config, "default", "docker_socket", DOCKER_SOCKET);
    set_option(config, "default", "image", "simulated:1");
}

static void set_warm(struct cleat_config *config)
{
    set_number(config, "warm_min", settings.warm_min);
    set_number(config, "warm_max", settings.warm_max);
    set_number(config, "warm_ttl_s", settings.warm_ttl_s);
    if (settings.command)
        set_option(config, "default", "command", settings.command);
}

static void set_limits(struct cleat_config *config)
{
    const struct {
        const char *class_name, *key;
        unsigned value; /* 0: the default */
    } limits[] = {{NULL, "max_queued", settings.max_queued},
                  {NULL, "tenant_max_sessions", settings.tenant_max_sessions},
                  {NULL, "user_max_sessions", settings.user_max_sessions},
                  {NULL, "queue_timeout_s", settings.queue_timeout_s},
                  {"default", "max_parallel", settings.max_parallel}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].value > 0)
            set_option(config, limits[i].class_name, limits[i].key,
                       world_printf("%u", limits[i].value));
}

static struct cleat_config *make_config(void)
{
    struct cleat_config *config = cleat_config_new();
    set_option(config, NULL, "owner", world.me->owner);
    set_option(config, NULL, "state_dir", world.me->state_dir);
    set_option(config, NULL, "executor", "/simulated/cleat-executor");
    set_option(config, NULL, "max_sessions", world_printf("%u", settings.max_sessions));
    set_limits(config);
    set_option(config, NULL, "retention_s", world_printf("%" PRId64, settings.retention_s));
    set_option(config, NULL, "reap_dry_run", settings.reap_dry_run ? "true" : "false");
    set_option(config, "default", "artifacts", "file:///simulated/artifacts");
    set_option(config, "default", "proof", settings.plain ? "none" : "required");
    set_option(config, "default", "direct_path", settings.direct_never ? "never" : "auto");
    set_option(config, "default", "sandbox", "none");
    set_option(config, "default", "on_death", settings.replace ? "replace" : "fail");
    set_number(config, "start_timeout_s", 60);
    set_number(config, "exec_timeout_s", 60);
    set_number(config, "idle_timeout_s", settings.idle_timeout_s);
    set_number(config, "max_lifetime_s", settings.max_lifetime_s);
    set_number(config, "upload_timeout_s", 60);
    set_number(config, "salvage_limit_s", settings.salvage_limit_s);
    if (settings.gather_ms)
        set_option(config, "default", "gather_ms", settings.gather_ms);
    if (settings.gather_max_ms)
        set_option(config, "default", "gather_max_ms", settings.gather_max_ms);
    if (world.me->address_range)
        set_option(config, "default", "address_range", world.me->address_range);
    else if (settings.address_range)
        set_option(config, "default", "address_range", settings.address_range);
    set_option(config, "default", "input_sources",
               settings.input ? world_printf("*=%s{tenant}", stage_sources()) : "");
    set_warm(config);
    set_runtime(config);
    set_balancer(config);
    return config;
}

/* A crash in the middle of a start leaves whatever the core has made: it is thrown away at the
 * end of the turn as any other. */
void instance_start(void *arg)
{
    char why[512] = "";
    struct cleat_config *config = make_config();
    unsigned load_fails = store_habits.load_fails;
    (void)arg;
    world.me->life = ++world.starts;
    world.me->since_ms = world.now_ms;
    world_log("---- coordinator %u starts ----", world.me->index);
    coordinator = cleat_new(NULL, config, why, sizeof why); /* takes config */
    if (world.frozen)
        return;
    if (coordinator) {
        witness_attach();
        lives_resume();
    } else if (world.now_ms < world.faults.until_ms || load_fails > 0)
        world_at(1000, instance_start, NULL);
    else
        world_violate("SIM", "the coordinator does not start: %s", why);
}

static void note_change(void *arg, const char *class_name, const char *key, const char *from,
                        const char *to, bool live)
{
    (void)arg, (void)class_name, (void)from;
    world_log("option %s: %s%s", key ? key : "class", to ? to : "gone",
              live ? "" : ", after a restart");
}

void instance_reload(void)
{
    char why[512] = "";
    if (coordinator &&
        !cleat_reload(coordinator, make_config(), note_change, NULL, why, sizeof why))
        world_violate("SIM", "the configuration is refused: %s", why);
}

void instance_stop(bool as_a_crash)
{
    world.crash_due = false;
    if (!coordinator) {
        world.frozen = false;
        return;
    }
    world_log("---- coordinator %u %s ----", world.me->index, as_a_crash ? "crashes" : "stops");
    world.frozen = as_a_crash;
    cleat_free(coordinator);
    stages_orphaned();
    world.frozen = false;
    coordinator = NULL;
    lives_forget_calls();
}

void instance_crash_and_restart(void)
{
    bool hard = world.frozen || !world_chance(2500);
    if (!coordinator && !world.frozen) { /* it is down already */
        world.crash_due = false;
        return;
    }
    instances_crashes++;
    instance_stop(hard);
    if (scenario_order.crash_again && instances_crashes == 1)
        world.crash_point = world.points + (uint64_t)world_pick(1, SECOND_CRASH_WITHIN);
    world_at(world_pick(1, world_chance(2000) ? 60000 : 1500), instance_start, NULL);
}

static void crash_now(void *arg)
{
    world.crash_due = coordinator != NULL;
    if (world.now_ms < world.faults.until_ms)
        world_at(world_pick(1, 2 * settings.crash_every_ms), crash_now, arg);
}

static json_t *read_document(char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    if (!o)
        world_violate("API", "a document that is no JSON: %.200s", text);
    free(text);
    return o;
}

/* An operator looks now and then. */
static void look_around(void *arg)
{
    world_at(world_pick(1000, 30000), look_around, arg);
    if (!coordinator)
        return;
    lives_check_deaths();
    if (world_chance(7500))
        return;
    free(cleat_status(coordinator));
    json_t *isolation = read_document(cleat_isolation(coordinator, NULL));
    /* An engine gives the address of a container out again before cleat knows of its death. */
    if (!settings.docker && !settings.ecs &&
        json_integer_value(json_object_get(isolation, "address_conflicts")) != 0)
        world_violate("I3", "cleat itself reports address conflicts");
    if (json_integer_value(json_object_get(isolation, "shared_connections")) != 0)
        world_violate("I1", "cleat itself reports shared connections");
    json_decref(isolation);
}

/* ---- its machine's wall clock ---- */

/* Set by hand, or by a time server that was away for long. */
static void jump(void *arg)
{
    static const int64_t spans_ms[] = {90 * 1000, 3600 * 1000, 86400 * 1000,
                                       30 * INT64_C(86400000)};
    int64_t most_ms = spans_ms[world_pick(0, 3)];
    world.me->wall_shift_ms = world_pick(-most_ms, most_ms);
    world_log("the wall clock of %u is wrong by %" PRId64 " ms", world.me->index,
              world.me->wall_shift_ms);
    if (world.now_ms < world.faults.until_ms)
        world_at(world_pick(1, 2 * settings.clock_jump_every_ms), jump, arg);
}

void instance_begin(void)
{
    if (settings.crash_every_ms)
        world_at(world_pick(1, 2 * settings.crash_every_ms), crash_now, NULL);
    if (settings.clock_jump_every_ms)
        world_at(world_pick(1, 2 * settings.clock_jump_every_ms), jump, NULL);
    look_around(NULL);
    instance_start(NULL);
}
