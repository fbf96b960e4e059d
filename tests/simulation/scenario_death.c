/* Containers that die, hang and refuse: what of it is death, and what it does to sessions. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "books.h"
#include "container.h"
#include "scenario.h"
#include "service.h"
#include "sim_aws.h"

#define POLL_MS 50
#define HANG_MS 60000
#define LAUNCH_ATTEMPTS 5
#define KNOWN_MS 150   /* for what is told at once, and a look at it */
#define ENGINE_MS 1000 /* from a launch to the start of its container */

static int64_t killed_ms;
static unsigned first_asked, again_refused;

static void draw_runtime(struct settings_of_world *s)
{
    s->docker = world_chance(3000);
    s->ecs = !s->docker && world_chance(4000);
    ecs_habits.state_ms = 100;
}

static void set_death(struct settings_of_world *s)
{
    draw_runtime(s);
    if (s->ecs)
        s->groups = (unsigned)world_pick(0, 1);
    else
        s->nodes = (unsigned)world_pick(0, 1);
    s->replace = world_chance(5000);
    s->input = true;
    s->direct_never = world_chance(2000);
    killed_ms = 0;
    first_asked = again_refused = 0;
}

static void set_refused(struct settings_of_world *s)
{
    draw_runtime(s);
    s->nodes = s->ecs ? 0 : (unsigned)world_pick(0, 1);
    s->replace = world_chance(5000);
}

/* When nobody asks anything of it: the engine says so, or is asked every now and then. */
static int64_t known_within_ms(void)
{
    return KNOWN_MS + (settings.ecs ? 10000 : 0);
}

static struct life *life_number(unsigned index)
{
    struct life *life = lives;
    while (life && life->index != index)
        life = life->next;
    return life;
}

static struct plan plan_until(int64_t close_ms)
{
    return (struct plan){
        .tenant = "tenant-a", .close_ms = close_ms, .stays = true, .env = true, .inputs = 3};
}

static void add_execution(struct plan *p, int64_t after_ready_ms, int64_t takes_ms)
{
    p->execution[p->executions++] = (struct planned_execution){.after_ready_ms = after_ready_ms,
                                                               .takes_ms = takes_ms,
                                                               .artifact = true,
                                                               .named = true};
}

static void no_input(struct plan *p)
{
    p->inputs = settings.input ? p->inputs : 0;
}

/* So long after a life is ready. */
struct appointment {
    unsigned life;
    int64_t after_ms;
    void (*fn)(struct life *);
};

static void keep_appointment(void *arg)
{
    const struct appointment *a = arg;
    struct life *life = life_number(a->life);
    if (life->ready_ms < 0 || world.now_ms < life->ready_ms + a->after_ms)
        world_at(life->ready_ms < 0 ? POLL_MS : life->ready_ms + a->after_ms - world.now_ms,
                 keep_appointment, arg);
    else
        a->fn(life);
}

static void after_ready(unsigned life, int64_t after_ms, void (*fn)(struct life *))
{
    struct appointment *a = world_alloc(sizeof *a);
    *a = (struct appointment){life, after_ms, fn};
    world_at(0, keep_appointment, a);
}

static bool is_said(const struct life *life, const char *key, const char *value)
{
    char *text = cleat_session(coordinator, NULL, life->session);
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    const char *said = json_string_value(json_object_get(o, key));
    bool same = said && strcmp(said, value) == 0;
    json_decref(o);
    free(text);
    return same;
}

/* ---- busy: user code hogs for a minute, with an execution under way ---- */

static void wake(void *arg)
{
    container_hang(arg, false);
}

static void hang(struct life *life)
{
    struct container *c = container_of_session(life->session);
    if (!c)
        return;
    container_hang(c, true);
    world_at(HANG_MS, wake, c);
}

static void begin_busy(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct plan p = plan_until(300000);
        no_input(&p);
        add_execution(&p, 10000, 20000);
        add_execution(&p, 20000, 100);
        add_execution(&p, 150000, 100);
        life_new(&p);
    }
    after_ready(0, 15000, hang);
}

/* Behind a balancer requests may meet the wrong container meanwhile. */
static void judge_busy(void)
{
    const struct life *life = life_number(0);
    bool direct = settings.nodes == 0 && settings.groups == 0;
    if (books_containers(life->session) != 1)
        world_violate("BUSY", "a busy container was replaced");
    for (unsigned i = 0; i < 3; i++)
        if ((direct || i == 2) && life->execution[i].outcome != OUTCOME_RECORD)
            world_violate("BUSY", "execution %u of a busy container: %s", i,
                          life->execution[i].error ? life->execution[i].error : "none");
    for (unsigned i = 0; i < 3; i++)
        if (life_number(1)->execution[i].outcome != OUTCOME_RECORD)
            world_violate("BUSY", "another session was touched");
}

/* ---- refused: for less than dead_after_s, and for more ---- */

static void listen_again(void *arg)
{
    container_refuse(arg, false);
}

static void refuse_for(struct life *life, int64_t ms)
{
    struct container *c = container_of_session(life->session);
    if (!c)
        return;
    container_refuse(c, true);
    world_at(ms, listen_again, c);
}

static void refuse_short(struct life *life)
{
    refuse_for(life, 9500);
}

static void refuse_long(struct life *life)
{
    refuse_for(life, 11500);
}

static void begin_refused(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct plan p = plan_until(200000);
        no_input(&p);
        add_execution(&p, 100, 50);
        add_execution(&p, 20000, 50);
        add_execution(&p, 80000, 50);
        life_new(&p);
    }
    after_ready(0, 19990, refuse_short);
    after_ready(1, 19990, refuse_long);
}

/* What never was sent waits for the replacement. Nothing is lost: the container comes back
 * within the salvage limit. */
static void judge_refused(void)
{
    const struct life *brief = life_number(0), *dead = life_number(1);
    const struct life_execution *e = &dead->execution[1];
    bool died = e->outcome == OUTCOME_ERROR && e->said_not_run &&
                strcmp(e->error, "container_died") == 0;
    for (unsigned i = 0; i < 3; i++)
        if (brief->execution[i].outcome != OUTCOME_RECORD)
            world_violate("REFUSED", "execution %u of a session refused for 9.5 s: %s", i,
                          brief->execution[i].error ? brief->execution[i].error : "none");
    if (books_containers(brief->session) != 1 ||
        books_containers(dead->session) != (settings.replace ? 2 : 1))
        world_violate("REFUSED", "%u and %u containers", books_containers(brief->session),
                      books_containers(dead->session));
    if (settings.replace ? e->outcome != OUTCOME_RECORD : !died)
        world_violate("REFUSED", "the execution of a session refused for 11.5 s: %s",
                      e->error ? e->error : "none");
    if (settings.replace && dead->execution[2].outcome != OUTCOME_RECORD)
        world_violate("REFUSED", "the replacement does not work");
    if (books_session_lost_files(dead->session))
        world_violate("REFUSED", "the container came back, and its files are lost");
}

/* ---- refused for longer than another container takes, while nothing runs in a plain one ----
 */

static void set_refused_plain(struct settings_of_world *s)
{
    draw_runtime(s);
    s->plain = s->replace = true;
}

static void refuse_on(struct life *life)
{
    refuse_for(life, 150000);
}

static void begin_refused_plain(void)
{
    struct plan p = plan_until(300000);
    no_input(&p);
    p.env = false;
    add_execution(&p, 100, 50);
    add_execution(&p, 80000, 50);
    life_new(&p);
    after_ready(0, 20000, refuse_on);
}

/* Its files are waited for meanwhile, for it comes back. */
static void judge_refused_plain(void)
{
    const struct life *life = life_number(0);
    const struct life_execution *e = &life->execution[1];
    if (e->outcome != OUTCOME_RECORD)
        world_violate("REFUSED", "the replacement does not work: %s",
                      e->error ? e->error : "none");
    else if (e->answered_ms > life->ready_ms + 100000)
        world_violate("REFUSED", "the replacement waited for what its container has left");
    if (books_containers(life->session) != 2 || books_session_lost_files(life->session))
        world_violate("REFUSED", "%u containers, or files are lost",
                      books_containers(life->session));
}

/* ---- prompt: death in the middle of an execution, with others in the queue ---- */

static void kill_container(struct life *life)
{
    struct container *c = container_of_session(life->session);
    if (!c)
        return;
    killed_ms = world.now_ms;
    container_end(c, 9);
}

static void asked_again(void *arg, const struct cleat_error *error, const char *document)
{
    (void)arg;
    if (document || strcmp(error->code, "container_died") != 0 ||
        strcmp(error->ran, "unknown") != 0)
        world_violate("ONCE", "an execution id of a dead container: %s, ran %s",
                      error ? error->code : "a record", error && error->ran ? error->ran : "-");
    else
        again_refused++;
}

static void ask_again(struct life *life, const char *id)
{
    const char *request =
        world_printf("{\"code\":\"%s ms=10\",\"execution_id\":\"%s\"}", life->name, id);
    struct call *call = call_new("ask again", 60000, asked_again, life);
    first_asked++;
    call_keep(call, cleat_execute(coordinator, NULL, life->session, request, strlen(request),
                                  call_done, call));
}

static void ask_for_lost(struct life *life)
{
    if (!settings.replace || !coordinator)
        return;
    ask_again(life, life->execution[0].id);
    ask_again(life, life->execution[1].id);
}

static void begin_prompt(void)
{
    struct plan p = plan_until(250000);
    no_input(&p);
    add_execution(&p, 100, 50);
    add_execution(&p, 10000, 55000);
    add_execution(&p, 11000, 50);
    add_execution(&p, 12000, 50);
    add_execution(&p, 200000, 50);
    life_new(&p);
    after_ready(0, 20000, kill_container);
    after_ready(0, 180000, ask_for_lost);
}

/* Whatever ran ran where the session's environment and input are. */
static void judge_staging(void)
{
    for (const struct life *life = lives; life; life = life->next)
        for (const struct container *c = containers; c; c = c->next) {
            if (!books_is_of(c, life->session) || !c->executions)
                continue;
            if (c->inputs < life->plan.inputs || (life->plan.env && !c->claim))
                world_violate("INPUT", "container %u of %s ran without its input or env",
                              c->index, life->name);
        }
}

static void judge_prompt(void)
{
    const struct life *life = life_number(0);
    const struct life_execution *e = life->execution;
    int64_t limit_ms = settings.ecs ? 2000 : 100; /* it was in doubt */
    if (e[0].outcome != OUTCOME_RECORD || e[1].outcome != OUTCOME_ERROR ||
        strcmp(e[1].error, "container_died") != 0 || e[1].said_not_run)
        world_violate("DEATH", "the execution under way: %s", e[1].error ? e[1].error : "none");
    else if (e[1].answered_ms > killed_ms + limit_ms)
        world_violate("DEATH", "it failed %" PRId64 " ms after its container",
                      e[1].answered_ms - killed_ms);
    for (unsigned i = 2; i < 5; i++) {
        bool failed = e[i].said_not_run && strcmp(e[i].error, "container_died") == 0;
        bool fine = settings.replace ? e[i].outcome == OUTCOME_RECORD
                    : i == 4         ? e[i].outcome == OUTCOME_ERROR
                                     : failed;
        if (!fine)
            world_violate("DEATH", "execution %u: %s", i, e[i].error ? e[i].error : "a record");
    }
    if (settings.replace && (e[2].answered_ms > e[3].answered_ms || again_refused != 2))
        world_violate("DEATH", "out of order, or asked again and not refused: %u of %u",
                      again_refused, first_asked);
    if (books_containers(life->session) != (settings.replace ? 2 : 1))
        world_violate("DEATH", "%u containers", books_containers(life->session));
    judge_staging();
}

/* ---- any moment: every state of the attempt, every phase of an execution, restarts ---- */

static void strike(void *arg)
{
    struct life *life = arg;
    struct container *c = container_of_session(life->session);
    if (c)
        container_end(c, 9);
    if (world_chance(2500) && coordinator)
        world.crash_due = true;
}

static void begin_any_moment(void)
{
    for (unsigned i = 0; i < 3; i++) {
        struct plan p = plan_until(400000);
        no_input(&p);
        add_execution(&p, 0, 100);
        add_execution(&p, 1, 5000);
        add_execution(&p, 2, 100);
        add_execution(&p, 300000, 50);
        for (unsigned e = 0; e < 4; e++)
            p.execution[e].retries = world_chance(5000);
        struct life *life = life_new(&p);
        for (int64_t n = world_pick(1, 3), at_ms = 0; n > 0; n--)
            world_at(at_ms += world_pick(1, n == 1 ? 30000 : 3000), strike, life);
    }
}

/* ---- storm: each container dies soon after it is ready ---- */

static void set_storm(struct settings_of_world *s)
{
    draw_runtime(s);
    s->nodes = s->ecs ? 0 : (unsigned)world_pick(0, 1);
    s->replace = true;
}

static void kill_when_ready(void *arg)
{
    struct life *life = arg;
    if (world.now_ms > 600000)
        return;
    if (coordinator && life->session[0] && is_said(life, "state", "READY"))
        kill_container(life);
    world_at(world_pick(100, 5000), kill_when_ready, life);
}

static void check_given_up(void *arg)
{
    const struct life *life = arg;
    if (!is_said(life, "stop_reason", "container_died"))
        world_violate("STORM", "a row of deaths does not end the session");
    if (books_containers(life->session) != LAUNCH_ATTEMPTS)
        world_violate("STORM", "%u containers", books_containers(life->session));
}

static void begin_storm(void)
{
    struct plan p = plan_until(700000);
    no_input(&p);
    struct life *life = life_new(&p);
    world_at(0, kill_when_ready, life);
    world_at(650000, check_given_up, life);
}

/* From a container's death to the start of the one after it. */
static void judge_gaps(void)
{
    int64_t wait_ms = 3000, late_ms = known_within_ms() + ENGINE_MS;
    for (const struct container *c = containers; c && c->next; c = c->next) {
        int64_t gap_ms = c->next->spawned_ms - c->ended_ms;
        if (gap_ms < wait_ms || gap_ms > wait_ms + late_ms)
            world_violate("STORM", "container %u comes after %" PRId64 " ms", c->next->index,
                          gap_ms);
        wait_ms *= 3;
    }
}

static void judge_storm(void)
{
    if (!life_number(0)->was_ready)
        world_violate("READY", "the session was never ready");
    judge_gaps();
}

/* ---- idle: nobody asks anything of a container that dies ---- */

#define STEADY_MS 70000
#define UNSTEADY_MS 20000
#define MANY 201

static struct {
    unsigned deaths;
    int64_t ready_ms, killed_ms, known_ms[2];
} idle;

static void set_idle(struct settings_of_world *s)
{
    memset(&idle, 0, sizeof idle);
    draw_runtime(s);
    s->nodes = s->ecs ? 0 : (unsigned)world_pick(0, 1);
    s->groups = s->ecs ? (unsigned)world_pick(0, 1) : 0;
    s->replace = true;
    s->max_lifetime_s = 3600;
}

/* Twice: one that served for a minute, and its successor soon after. */
static void watch_idle(void *arg)
{
    struct life *life = arg;
    int64_t wait_ms = idle.deaths == 0 ? STEADY_MS : UNSTEADY_MS;
    bool is_ready = life->session[0] && is_said(life, "state", "READY");
    if (!is_ready && idle.killed_ms > 0) {
        idle.known_ms[idle.deaths++] = world.now_ms;
        idle.killed_ms = 0;
    } else if (is_ready && idle.killed_ms == 0 && idle.ready_ms == 0) {
        idle.ready_ms = world.now_ms;
    } else if (is_ready && idle.killed_ms == 0 && world.now_ms >= idle.ready_ms + wait_ms) {
        idle.ready_ms = 0;
        kill_container(life);
        idle.killed_ms = killed_ms;
    }
    if (idle.deaths < 2)
        world_at(POLL_MS, watch_idle, life);
}

static void begin_idle(void)
{
    struct plan p = plan_until(400000);
    no_input(&p);
    p.env = false;
    world_at(0, watch_idle, life_new(&p));
}

/* ECS is asked less often about many. */
static void set_idle_many(struct settings_of_world *s)
{
    memset(&idle, 0, sizeof idle);
    s->ecs = true;
    s->groups = 1;
    s->lives = MANY;
    ecs_habits.state_ms = 100;
}

static void begin_idle_many(void)
{
    struct plan p = plan_until(150000);
    no_input(&p);
    p.env = false;
    for (unsigned i = 0; i < MANY; i++)
        life_new(&p);
    world_at(0, watch_idle, life_number(0));
}

static void judge_idle_many(void)
{
    int64_t after_ms = idle.known_ms[0] - killed_ms;
    if (idle.deaths == 0 || after_ms > known_within_ms() + 10000)
        world_violate("DEATH", "it is known after %" PRId64 " ms", after_ms);
}

static void judge_idle(void)
{
    const struct container *c = containers;
    if (idle.deaths < 2 || books_containers(life_number(0)->session) != 3) {
        world_violate("DEATH", "%u deaths were seen", idle.deaths);
        return;
    }
    for (unsigned i = 0; i < 2; i++, c = c->next) {
        int64_t after_ms = idle.known_ms[i] - c->ended_ms;
        int64_t gap_ms = c->next->spawned_ms - idle.known_ms[i], wait_ms = i == 0 ? 0 : 3000;
        if (after_ms > known_within_ms())
            world_violate("DEATH", "it is known after %" PRId64 " ms", after_ms);
        if (gap_ms < wait_ms - POLL_MS || gap_ms > wait_ms + ENGINE_MS)
            world_violate("DEATH", "another one starts %" PRId64 " ms after that", gap_ms);
    }
}

/* ---- lonely: a route that is sought for longer than a container waits to hear of its session
 * ---- */

static void set_lonely(struct settings_of_world *s)
{
    s->nodes = 1;
    s->idle_timeout_s = 60;
    s->max_lifetime_s = 3600;
}

static void kept(void *arg, const struct cleat_error *error, const char *document)
{
    (void)document;
    const struct life *life = arg;
    if (error && life->phase == LIFE_READY)
        world_violate("LONELY", "keepalive: %s", error->code);
}

static void keep_and_check(void *arg)
{
    struct life *life = arg;
    const struct container *c = container_of_session(life->session);
    if (life->phase != LIFE_READY || !c)
        return;
    struct call *call = call_new("keepalive", 60000, kept, life);
    call_keep(call, cleat_keepalive(coordinator, NULL, life->session, call_done, call));
    if (world.now_ms - c->heard_ms > (settings.idle_timeout_s + 600) * 1000)
        world_violate("LONELY", "container %u hears nothing of its session", c->index);
    world_at(20000, keep_and_check, life);
}

static void look_ill(struct life *life)
{
    struct container *c = container_of_session(life->session);
    c->looks_ill = true;
    keep_and_check(life);
}

static void look_well(struct life *life)
{
    container_of_session(life->session)->looks_ill = false;
}

static void begin_lonely(void)
{
    struct plan p = plan_until(2500000);
    no_input(&p);
    add_execution(&p, 100, 50);
    add_execution(&p, 2300000, 50);
    life_new(&p);
    after_ready(0, 10000, look_ill);
    after_ready(0, 2200000, look_well);
}

static void judge_lonely(void)
{
    for (unsigned i = 0; i < 2; i++)
        if (life_number(0)->execution[i].outcome != OUTCOME_RECORD)
            world_violate("LONELY", "execution %u: %s", i, life_number(0)->execution[i].error);
}

/* ---- a crash at each point of a replacement ---- */

static void set_replaced(struct settings_of_world *s)
{
    s->replace = true;
    s->input = true;
}

static void set_replaced_ecs(struct settings_of_world *s)
{
    set_replaced(s);
    s->ecs = true;
    s->groups = 1;
    ecs_habits.state_ms = 100;
}

static void strike_once(void *arg)
{
    struct container *c = container_of_session(((struct life *)arg)->session);
    if (c)
        container_end(c, 9);
}

static void begin_replaced(void)
{
    struct plan p = plan_until(60000);
    add_execution(&p, 0, 50);
    add_execution(&p, 1000, 30000);
    add_execution(&p, 1010, 50);
    for (unsigned e = 0; e < 3; e++)
        p.execution[e].retries = true;
    world_at(4000, strike_once, life_new(&p));
}

const struct scenario death_scenarios[] = {
    {"busy", "user code hogs a container for a minute", set_death, begin_busy, judge_busy, 12},
    {"refused", "connections are refused for 9.5 s and for 11.5 s", set_refused, begin_refused,
     judge_refused, 12},
    {"refused-plain", "a plain container refuses connections for longer", set_refused_plain,
     begin_refused_plain, judge_refused_plain, 6},
    {"death-prompt", "a container dies in the middle of an execution", set_death, begin_prompt,
     judge_prompt, 24},
    {"death-any-moment", "containers die in every state, some while cleat is down", set_death,
     begin_any_moment, judge_staging, 100},
    {"replace-storm", "each container dies soon after it is ready", set_storm, begin_storm,
     judge_storm, 3},
    {"death-idle", "containers die while nobody asks anything of them", set_idle, begin_idle,
     judge_idle, 12},
    {"death-idle-many", "the same, one of many tasks", set_idle_many, begin_idle_many,
     judge_idle_many, 1},
    {"lonely", "a route is sought for longer than a container waits", set_lonely, begin_lonely,
     judge_lonely, 2},
    {"crash-replaced", "a crash at each point of a replacement", set_replaced, begin_replaced,
     judge_staging, EACH_POINT},
    {"crash-replaced-ecs", "the same with tasks", set_replaced_ecs, begin_replaced,
     judge_staging, EACH_POINT},
    {NULL, NULL, NULL, NULL, NULL, 0}};
