#include "self_test.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "scenario.h"

#define OCCASIONS 40

static const struct {
    const char *name, *invariant, *scenario;
} sabotages[SABOTAGE_COUNT] = {
    [SABOTAGE_SHARED_CONNECTION] = {"shared-connection", "I1", "64"},
    [SABOTAGE_SWAPPED_COOKIE] = {"swapped-cookie", "I2", "liar"},
    [SABOTAGE_FORGED_RESULT] = {"forged-result", "I2", "liar"},
    [SABOTAGE_SAME_ADDRESS] = {"same-address", "I3", "liar"},
    [SABOTAGE_FALSE_UPLOAD] = {"false-upload", "I4", "liar"},
    [SABOTAGE_IMMORTAL] = {"immortal", "I5", "liar"},
    [SABOTAGE_STALE_TARGET] = {"stale-target", "I5", "liar"},
    [SABOTAGE_RUNS_TWICE] = {"runs-twice", "I6", "doubles"},
    [SABOTAGE_AMNESIA] = {"amnesia", "I7", "blocked"},
    [SABOTAGE_SILENCE] = {"silence", "I8", "liar"},
    [SABOTAGE_OPEN_WALL] = {"open-wall", "I9", "64"},
    [SABOTAGE_SPIN] = {"spin", "I10", "quiet"},
    [SABOTAGE_FORGOTTEN_TOKEN] = {"forgotten-token", "I6", "ecs-each-commit"},
    [SABOTAGE_LASTING_TASK] = {"lasting-task", "I5", "ecs"},
    [SABOTAGE_LISTED_TARGET] = {"listed-target", "I5", "ecs-shared"},
    [SABOTAGE_LATE_REMOVAL] = {"late-removal", "I3", "ecs-reused"},
    [SABOTAGE_UNSIGNED] = {"unsigned", "AWS", "ecs"},
    [SABOTAGE_LASTING_BOX] = {"lasting-box", "I5", "docker"},
    [SABOTAGE_LASTING_LEASE] = {"lasting-lease", "I5", "crash-static"},
    [SABOTAGE_LOST_INPUT] = {"lost-input", "INPUT", "input"},
    [SABOTAGE_STRANGERS_KEYS] = {"strangers-keys", "I2", "ecs-keys"},
    [SABOTAGE_LOST_PLACE] = {"lost-place", "PLACES", "quiet"},
    [SABOTAGE_BLIND_LISTING] = {"blind-listing", "I5", "orphans"},
};

bool self_test_find(const char *name, enum sabotage *out)
{
    for (int i = 1; i < SABOTAGE_COUNT; i++) {
        if (strcmp(sabotages[i].name, name) == 0) {
            *out = (enum sabotage)i;
            return true;
        }
    }
    return false;
}

/* Some plants need an occasion: a crash between a call and its answer, for instance. */
static bool is_caught(enum sabotage sabotage, uint64_t seed)
{
    struct scenario_result result = {0};
    const char *invariant = sabotages[sabotage].invariant;
    const struct scenario *scenario = scenario_find(sabotages[sabotage].scenario);
    size_t len = strlen(invariant);
    for (uint64_t i = 0; i < OCCASIONS && !result.violation[0]; i++)
        scenario_run(scenario, seed + i, &(struct scenario_order){.sabotage = sabotage},
                     &result);
    bool caught =
        strncmp(result.violation, invariant, len) == 0 && result.violation[len] == ':';
    printf("%s sabotage %s: %s\n", caught ? "ok    " : "FAILED", sabotages[sabotage].name,
           result.violation[0] ? result.violation : "not noticed");
    return caught;
}

/* The second time with other addresses of everything. */
static bool is_repeatable(const struct scenario *scenario, uint64_t seed)
{
    struct scenario_result first, second;
    void *ballast[64];
    scenario_run(scenario, seed, &(struct scenario_order){0}, &first);
    for (size_t i = 0; i < 64; i++)
        ballast[i] = mem_alloc(37 + i * 113);
    scenario_run(scenario, seed, &(struct scenario_order){0}, &second);
    for (size_t i = 0; i < 64; i++)
        free(ballast[i]);
    bool same = first.log_hash == second.log_hash && first.turns == second.turns;
    printf("%s %s, seed %" PRIu64 ", twice: %" PRIu64 " turns, log %016" PRIx64
           " and %016" PRIx64 "\n",
           same ? "ok    " : "FAILED", scenario->name, seed, first.turns, first.log_hash,
           second.log_hash);
    return same;
}

int self_test(uint64_t seed)
{
    int passed = 0, failed = 0;
    for (int i = 1; i < SABOTAGE_COUNT; i++)
        *(is_caught((enum sabotage)i, seed) ? &passed : &failed) += 1;
    for (const struct scenario *s = scenario_next(NULL); s; s = scenario_next(s))
        *(is_repeatable(s, seed) ? &passed : &failed) += 1;
    for (uint64_t i = 0; i < 20; i++)
        *(is_repeatable(&scenario_random, seed + i) ? &passed : &failed) += 1;
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
