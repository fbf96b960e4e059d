/* The whole coordinator in the simulated world, whose containers answer with our bytes. Without
 * a right proof none of it may have any effect: the world's own books judge. With one, or from
 * containers that prove nothing, it may lie, but neither crash the coordinator nor keep it
 * waiting.
 *
 * Bytes: what kind of world, its seed, where it crashes, then for each answer of a container
 * one byte that says what becomes of it, and a line for its new body where it gets one. When
 * they are used up everybody is honest. */
#include <stdlib.h>
#include <string.h>
#include "../simulation/container.h"
#include "../simulation/scenario.h"
#include "fuzz.h"
#include "http/proof.h"

void __real_container_receive(struct container *, struct sim_request *);
void __wrap_container_receive(struct container *, struct sim_request *);

enum fate { AS_IT_IS, NEW_STATUS, NO_PROOF, OTHER_PROOF, OLD_PROOF, COOKIES, PROVEN, FATES };

static struct fuzz bytes;
static bool may_lie; /* with a right proof, or without any */

/* Who waits for the answer to a request. */
struct asked {
    struct sim_request *request;
    void (*answered)(struct sim_request *, struct sim_answer *);
    struct asked *next;
};
static struct asked *asked;
static const char *old_nonce_proof; /* of an earlier answer */

static void drop_header(struct sim_answer *a, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < a->header_count; i++)
        if (strcmp(a->headers[i].name, name) != 0)
            a->headers[kept++] = a->headers[i];
    a->header_count = kept;
}

static const char *take_header(struct sim_answer *a, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < a->header_count; i++)
        if (strcmp(a->headers[i].name, name) == 0)
            value = a->headers[i].value;
    drop_header(a, name);
    return value;
}

static void set_body(struct sim_answer *a)
{
    char *line = fuzz_line(&bytes);
    a->body = world_strdup(line);
    free(line);
}

/* The status is part of the proof: another one leaves it wrong. */
static int other_status(int status)
{
    static const int statuses[] = {200, 202, 400, 403, 404, 409, 500, 503};
    int other = statuses[fuzz_number(&bytes, 8)];
    return other != status ? other : other + 1;
}

static void spoil(struct sim_answer *a, enum fate fate)
{
    static const char made_up[] =
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const char *proof = take_header(a, PROOF_HEADER_PROOF);
    if (fate == NEW_STATUS || fate == COOKIES)
        a->status = other_status(a->status);
    if (fate == OTHER_PROOF)
        answer_add_header(a, PROOF_HEADER_PROOF, made_up);
    else if (fate == OLD_PROOF && old_nonce_proof)
        answer_add_header(a, PROOF_HEADER_PROOF, old_nonce_proof);
    else if (fate != NO_PROOF && fate != OLD_PROOF && proof)
        answer_add_header(a, PROOF_HEADER_PROOF, proof);
    if (fate == COOKIES && a->header_count < ANSWER_HEADERS)
        answer_add_header(a, "Set-Cookie", "AWSALB=stranger; Max-Age=5");
    old_nonce_proof = proof ? proof : old_nonce_proof;
}

static void change(struct sim_answer *a)
{
    enum fate fate = fuzz_number(&bytes, FATES);
    if (fate == AS_IT_IS || bytes.left == 0)
        return;
    a->honest = a->honest && may_lie && (fate == PROVEN || settings.plain);
    if (fate != PROVEN)
        spoil(a, fate);
    else if (!may_lie)
        drop_header(a, PROOF_HEADER_PROOF);
    set_body(a);
}

static void answered(struct sim_request *request, struct sim_answer *a)
{
    struct asked **at = &asked;
    while ((*at)->request != request)
        at = &(*at)->next;
    request->answered = (*at)->answered;
    *at = (*at)->next;
    change(a);
    request->answered(request, a);
}

void __wrap_container_receive(struct container *c, struct sim_request *request)
{
    struct asked *waits = world_alloc(sizeof *waits);
    *waits = (struct asked){request, request->answered, asked};
    asked = waits;
    request->answered = answered;
    __real_container_receive(c, request);
}

/* ---- the world */

static unsigned kind;

static void set_world(struct settings_of_world *s)
{
    s->lives = 2;
    s->max_executions = 3;
    s->nodes = kind & 2 ? 1 : 0;
    s->plain = kind & 4;
    s->direct_never = kind & 8;
    s->input = kind & 16;
    s->own_role = kind & 32;
    s->ecs = kind & 32;
    s->closes_at_random = kind & 64;
    s->salvage_limit_s = 120;
}

static void set_plan(void)
{
    for (unsigned i = 0; i < settings.lives; i++) {
        struct plan p = {.tenant = "tenant-a",
                         .close_ms = kind & 64 ? 5000 * (int64_t)i : -1,
                         .env = !settings.plain,
                         .inputs = settings.input ? 2 : 0,
                         .executions = 2};
        for (unsigned e = 0; e < p.executions; e++)
            p.execution[e] = (struct planned_execution){.after_ready_ms = 100,
                                                        .takes_ms = 500,
                                                        .artifact = true,
                                                        .named = e,
                                                        .retries = e};
        life_new(&p);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scenario scenario = {
        .name = "fuzz", .help = "", .set = set_world, .begin = set_plan};
    struct scenario_result result;
    bytes = (struct fuzz){data, size};
    kind = fuzz_byte(&bytes);
    may_lie = kind & 1 || kind & 4;
    asked = NULL;
    old_nonce_proof = NULL;
    unsigned seed = 1 + fuzz_number(&bytes, 16);
    struct scenario_order order = {.crash_at = fuzz_byte(&bytes)};
    scenario_run(&scenario, seed, &order, &result);
    if (result.violation[0])
        fprintf(stderr, "%s\n", result.violation);
    must(may_lie || !result.violation[0]);
    return 0;
}
