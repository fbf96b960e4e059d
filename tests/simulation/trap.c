#include "trap.h"
#include <signal.h>
#include <string.h>
#include "container.h"
#include "haproxy.h"
#include "http/lease.h"
#include "world.h"

#define BALANCER_RESTART_MS 500

const char *const moment_names[MOMENTS] = {"end",    "complete",   "progress",
                                           "upload", "deregister", "drain",
                                           "stop",   "remove",     "release"};
const char *const mishap_names[MISHAPS] = {
    "none", "error", "refused", "answer-lost", "late", "death", "balancer", "crash", "away"};

static struct {
    const struct trap *list;
    size_t count, struck;
    bool armed; /* from the close on */
    bool killed_unconfirmed, drains;
    int64_t away_until_ms, uploaded_ms;
} traps;

void traps_begin(void)
{
    memset(&traps, 0, sizeof traps);
}

void traps_set(const struct trap *list, size_t count)
{
    traps.list = list;
    traps.count = count;
}

size_t traps_struck(void)
{
    return traps.struck;
}

bool traps_killed_unconfirmed(void)
{
    return traps.killed_unconfirmed;
}

int64_t traps_uploaded_ms(void)
{
    return traps.uploaded_ms;
}

bool trap_engine_is_away(void)
{
    return world.now_ms < traps.away_until_ms;
}

/* ---- what happens ---- */

static void kill_one(void *arg)
{
    container_end(arg, SIGKILL);
}

static void kill_containers(void)
{
    for (struct container *c = containers; c; c = c->next) {
        traps.killed_unconfirmed |= c->alive && !c->confirmed_to_cleat;
        world_at(0, kill_one, c);
    }
}

static void restart_one(void *arg)
{
    haproxy_restart(arg, BALANCER_RESTART_MS);
}

static void go_away(enum moment moment)
{
    bool stores = moment >= MOMENT_END && moment <= MOMENT_UPLOAD;
    traps.away_until_ms = stores ? 0 : world.now_ms + TRAP_AWAY_MS;
    if (stores)
        container_habits.artifacts_down_until_ms = world.now_ms + TRAP_AWAY_MS;
    for (struct node *node = nodes; node && !stores; node = node->next) {
        node->mute_from_ms = world.now_ms;
        node->mute_to_ms = world.now_ms + TRAP_AWAY_MS;
    }
}

static void strike(const struct trap *t)
{
    if (t->mishap == MISHAP_DEATH)
        kill_containers();
    if (t->mishap == MISHAP_CRASH)
        world.crash_due = world.me->cleat != NULL;
    if (t->mishap == MISHAP_AWAY)
        go_away(t->moment);
    for (struct node *node = nodes; node && t->mishap == MISHAP_BALANCER; node = node->next)
        world_at(0, restart_one, node);
}

enum mishap trap_strike(enum moment moment)
{
    const struct trap *t = traps.struck < traps.count ? &traps.list[traps.struck] : NULL;
    if (!t || !traps.armed || t->moment != moment || world.frozen)
        return MISHAP_NONE;
    traps.struck++;
    world_log("trap: %s at %s", mishap_names[t->mishap], moment_names[moment]);
    strike(t);
    return t->mishap;
}

/* ---- which moment it is ---- */

static bool says(const struct sim_request *r, const char *action)
{
    const char *target = request_header(r, "X-Amz-Target");
    return (target && strstr(target, action)) || (r->body && strstr(r->body, action));
}

static enum mishap at_service(const struct sim_request *r)
{
    bool deregisters = says(r, "Action=DeregisterTargets");
    traps.drains |= deregisters;
    if (deregisters)
        return trap_strike(MOMENT_DEREGISTER);
    if (says(r, ".StopTask") || strstr(r->path, "/stop?") ||
        strcmp(r->path, LEASE_RELEASE_PATH) == 0)
        return trap_strike(MOMENT_STOP);
    if (strcmp(r->method, "DELETE") == 0)
        return trap_strike(MOMENT_REMOVE);
    if (traps.drains && says(r, "Action=DescribeTargetHealth"))
        return trap_strike(MOMENT_DRAIN);
    return MISHAP_NONE;
}

enum mishap trap_request(const struct sim_request *r, bool service)
{
    if (!traps.count)
        return MISHAP_NONE;
    if (service)
        return at_service(r);
    if (strcmp(r->path, "/session/complete") == 0)
        return trap_strike(strcmp(r->method, "POST") == 0 ? MOMENT_COMPLETE : MOMENT_PROGRESS);
    return strcmp(r->path, "/health") == 0 ? trap_strike(MOMENT_PROGRESS) : MISHAP_NONE;
}

enum mishap trap_question(const char *question)
{
    if (!traps.count)
        return MISHAP_NONE;
    if (strstr(question, "state maint"))
        return trap_strike(MOMENT_DEREGISTER);
    return strstr(question, "del server") ? trap_strike(MOMENT_DRAIN) : MISHAP_NONE;
}

void trap_core_line(const char *line)
{
    if (!traps.count)
        return;
    if (strstr(line, "event=session.state") && strstr(line, "to=CLOSING")) {
        traps.armed = true;
        trap_strike(MOMENT_END);
    }
    if (strstr(line, "event=cleanup.step") && strstr(line, "step=upload result=ok"))
        traps.uploaded_ms = world.now_ms;
    if (strstr(line, "event=attempt.state") && strstr(line, "to=ENDED"))
        trap_strike(MOMENT_RELEASE);
}
