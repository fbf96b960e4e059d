#include "scenario.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "files.h"
#include "service.h"
#include "sim_aws.h"
#include "sim_stage.h"
#include "sim_store.h"

#define LIVES_END_MS (INT64_C(6) * 3600 * 1000)
#define SETTLE_MS (INT64_C(3600) * 1000)
#define STEP_MS 1000
#define ROLE "arn:aws:iam::123456789012:role/session"
#define TASK                                                                                   \
    "{\"taskDefinition\":\"executor\",\"launchType\":\"FARGATE\",\"networkConfiguration\":{"   \
    "\"awsvpcConfiguration\":{\"subnets\":[\"subnet-1\"]}}}"

void sim_client_begin(void);

struct settings_of_world settings;
static unsigned crashes;
static int64_t coordinator_since_ms;

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

static void take_core_log(void *arg, int level, const char *line)
{
    (void)arg, (void)level;
    if (!world.frozen) {
        world_log("core: %s", line);
        note_end(line);
    }
    if (strstr(line, "event=session.stuck"))
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
    if (!settings.docker)
        return;
    set_option(config, "default", "runtime", "docker");
    set_option(config, "default", "docker_socket", DOCKER_SOCKET);
    set_option(config, "default", "image", "simulated:1");
}

static struct cleat_config *make_config(void)
{
    struct cleat_config *config = cleat_config_new();
    set_option(config, NULL, "state_dir", "/simulated/state");
    set_option(config, NULL, "executor", "/simulated/cleat-executor");
    set_option(config, NULL, "max_sessions", world_printf("%u", settings.max_sessions));
    set_option(config, NULL, "retention_s", world_printf("%" PRId64, settings.retention_s));
    set_option(config, "default", "artifacts", "file:///simulated/artifacts");
    set_option(config, "default", "proof", settings.plain ? "none" : "required");
    set_option(config, "default", "direct_path", settings.direct_never ? "never" : "auto");
    set_option(config, "default", "sandbox", "none");
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
    if (settings.address_range)
        set_option(config, "default", "address_range", settings.address_range);
    set_option(config, "default", "input_sources",
               settings.input ? world_printf("*=%s{tenant}", stage_sources()) : "");
    set_runtime(config);
    set_balancer(config);
    return config;
}

static void start_coordinator(void *arg)
{
    char why[512] = "";
    struct cleat_config *config = make_config();
    (void)arg;
    world.life++;
    world_log("---- the coordinator starts ----");
    coordinator = cleat_new(NULL, config, why, sizeof why); /* takes config */
    coordinator_since_ms = world.now_ms;
    if (coordinator)
        lives_resume();
    else if (world.now_ms < world.faults.until_ms)
        world_at(1000, start_coordinator, NULL);
    else
        world_violate("SIM", "the coordinator does not start: %s", why);
}

static void stop_coordinator(bool as_a_crash)
{
    if (!coordinator)
        return;
    world_log("---- the coordinator %s ----", as_a_crash ? "crashes" : "stops");
    world.frozen = as_a_crash;
    cleat_free(coordinator);
    stages_orphaned();
    world.frozen = world.crash_due = false;
    coordinator = NULL;
    lives_forget_calls();
}

static void crash_and_restart(void)
{
    crashes++;
    stop_coordinator(world.crash_due && !world_chance(2500));
    world_at(world_pick(1, world_chance(2000) ? 60000 : 1500), start_coordinator, NULL);
}

static void crash_now(void *arg)
{
    world.crash_due = coordinator != NULL;
    if (world.now_ms < world.faults.until_ms)
        world_at(world_pick(1, 2 * settings.crash_every_ms), crash_now, arg);
}

static void spin(void *arg)
{
    world_at(0, spin, arg);
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
    lives_check_deaths(coordinator_since_ms);
    if (world_chance(7500))
        return;
    json_t *status = read_document(cleat_status(coordinator));
    json_t *isolation = read_document(cleat_isolation(coordinator, NULL));
    /* An engine gives the address of a container out again before cleat knows of its death. */
    if (!settings.docker && !settings.ecs &&
        json_integer_value(json_object_get(isolation, "address_conflicts")) != 0)
        world_violate("I3", "cleat itself reports address conflicts");
    if (json_integer_value(json_object_get(isolation, "shared_connections")) != 0)
        world_violate("I1", "cleat itself reports shared connections");
    json_decref(status);
    json_decref(isolation);
}

static void restart_engine(void *arg)
{
    (void)arg;
    docker_restart(world_pick(50, 10000));
}

static void restart_node(void *arg)
{
    haproxy_restart(arg, world_pick(50, 3000));
}

/* ---- the world ---- */

static void forget_tables(void)
{
    network_begin();
    service_begin();
    docker_begin();
    aws_begin();
    haproxy_begin();
    files_begin();
    books_begin();
    sim_store_begin();
    sim_client_begin();
    containers_begin();
    stages_begin();
    lives_begin();
    crashes = 0;
}

static void set_defaults(void)
{
    memset(&settings, 0, sizeof settings);
    settings.lives = 4;
    settings.max_executions = 3;
    settings.max_sessions = 1000;
    settings.linger_ms = 2000;
    settings.check_interval_ms = 1000;
    settings.salvage_limit_s = 300;
    settings.retention_s = 86400;
    settings.idle_timeout_s = 1800;
    settings.max_lifetime_s = 900;
}

static void build_world(void)
{
    world.faults = settings.faults;
    sim_store_crash_at(settings.crash_at_commit);
    container_habits.plain = settings.plain;
    books_limits.salvage_limit_ms = settings.salvage_limit_s * 1000;
    books_limits.probes_in_flight = 32;
    life_limits.execute_ms = (settings.max_lifetime_s + 300) * 1000;
    life_limits.close_ms = (settings.salvage_limit_s + 1800) * 1000;
    for (unsigned i = 0; i < settings.nodes; i++) {
        struct node *node = haproxy_start(i);
        node->random_picks = settings.random_picks;
        node->rehomes_cookies = settings.rehomes_cookies;
        node->own_cookies = settings.own_cookies;
        node->cookie_age_s = settings.cookie_age_s;
        node->mute_from_ms = settings.mute_from_ms;
        node->mute_to_ms = settings.mute_to_ms;
        if (settings.node_restart_ms)
            world_at(settings.node_restart_ms, restart_node, node);
    }
    if (settings.ecs || settings.groups)
        aws_listen();
    files_put("/simulated/ecs-task.json", TASK);
    for (unsigned i = 0; i < settings.groups; i++) {
        struct node *node = alb_add_group(i, settings.slots);
        node->random_picks = settings.random_picks;
        node->rehomes_cookies = settings.rehomes_cookies;
    }
    if (settings.docker)
        docker_start();
    if (settings.docker && settings.engine_restart_ms)
        world_at(settings.engine_restart_ms, restart_engine, NULL);
    if (settings.crash_every_ms)
        world_at(world_pick(1, 2 * settings.crash_every_ms), crash_now, NULL);
    look_around(NULL);
    if (world.sabotage == SABOTAGE_SPIN)
        world_at(1000, spin, NULL);
    start_coordinator(NULL);
}

static void random_lives(void)
{
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan plan;
        plan_draw(&plan);
        life_new(&plan);
    }
}

static bool step_until(int64_t at_ms)
{
    world_run_until(at_ms);
    if (!world.violation[0] && world.crash_due)
        crash_and_restart();
    return !world.violation[0];
}

/* Checks after a grace: drivers may be in the middle of telling. */
static void run_to_the_end(void)
{
    while (!lives_all_closed() && world.now_ms < LIVES_END_MS)
        if (!step_until(world.now_ms + STEP_MS))
            return;
    int64_t end_ms = world.now_ms + SETTLE_MS;
    while ((containers_alive() > 0 || haproxy_targets() > 0 || !calls_all_answered()) &&
           world.now_ms < end_ms)
        if (!step_until(world.now_ms + STEP_MS))
            return;
    for (int i = 0; i < 10; i++)
        if (!step_until(world.now_ms + STEP_MS))
            return;
    while (!coordinator)
        if (!step_until(world.now_ms + STEP_MS))
            return;
    books_check_end();
    stages_check_end();
    lives_check_end();
}

void scenario_run(const struct scenario *scenario, uint64_t seed, enum sabotage sabotage,
                  FILE *log_file, struct scenario_result *out)
{
    world.log_file = log_file;
    world_begin(seed);
    forget_tables();
    cleat_set_log(take_core_log, NULL, 2);
    world.sabotage = sabotage;
    world_log("scenario %s seed %" PRIu64, scenario->name, seed);
    set_defaults();
    scenario->set(&settings);
    build_world();
    if (scenario->begin)
        scenario->begin();
    else
        random_lives();
    run_to_the_end();
    if (!world.violation[0] && scenario->judge)
        scenario->judge();
    unsigned count = 0;
    for (const struct life *life = lives; life; life = life->next)
        count++;
    stop_coordinator(world.violation[0] != '\0');
    *out = (struct scenario_result){.lives = count,
                                    .crashes = crashes,
                                    .turns = world.turns,
                                    .log_hash = world.log_hash,
                                    .probes = network_books.probes,
                                    .confirms = network_books.confirms,
                                    .requests = network_books.requests,
                                    .virtual_ms = world.now_ms};
    memcpy(out->violation, world.violation, sizeof out->violation);
    forget_tables();
    world_end();
}
