/* The whole coordinator in the simulated world, whose containers answer with our bytes. Without
 * a right proof none of it may have any effect: the world's own books judge. With one, or from
 * containers that prove nothing, it may lie, but neither crash the coordinator nor keep it
 * waiting.
 *
 * Bytes: what kind of world, its seed, where it crashes, then rules, a line each: about which
 * request (the letter in kinds), what becomes of its answer, the new status where it gets one,
 * and the new body. Each rule holds once; when they are used up everybody is honest. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../simulation/container.h"
#include "../simulation/scenario.h"
#include "fuzz.h"
#include "http/proof.h"

void __real_world_violate(const char *, const char *, ...);
void __wrap_world_violate(const char *, const char *, ...)
    __attribute__((format(printf, 2, 3)));
void __real_container_receive(struct container *, struct sim_request *);
void __wrap_container_receive(struct container *, struct sim_request *);

enum fate { AS_IT_IS, NEW_STATUS, NO_PROOF, OTHER_PROOF, OLD_PROOF, COOKIES, PROVEN, FATES };

enum { RULES_MAX = 64 };

static struct rule {
    char about;
    enum fate fate;
    unsigned status;
    char *body;
    bool used;
} rules[RULES_MAX];
static size_t rule_count;
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

static const struct {
    char letter;
    const char *method, *path;
} kinds[] = {{'i', "GET", "/container-info"},    {'h', "GET", "/health"},
             {'x', "POST", "/execute"},          {'r', "GET", "/executions/"},
             {'c', "POST", "/session/complete"}, {'p', "GET", "/session/complete"},
             {'b', "POST", "/session/claim"},    {'k', "POST", "/session/credentials"},
             {'s', "POST", "/file-sync"}};

/* The next rule for a request. NULL: there is none. */
static struct rule *next_rule(const struct sim_request *r)
{
    char letter = '\0';
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(r->method, kinds[i].method) == 0 &&
            strncmp(r->path, kinds[i].path, strlen(kinds[i].path)) == 0)
            letter = kinds[i].letter;
    for (size_t i = 0; i < rule_count; i++)
        if (!rules[i].used && rules[i].about == letter)
            return &rules[i];
    return NULL;
}

static void read_rules(struct fuzz *f)
{
    for (rule_count = 0; f->left > 0 && rule_count < RULES_MAX; rule_count++) {
        struct rule *r = &rules[rule_count];
        r->about = (char)fuzz_byte(f);
        r->fate = fuzz_number(f, FATES);
        r->status = fuzz_number(f, 8);
        r->body = fuzz_line(f);
        r->used = false;
    }
}

static void free_rules(void)
{
    while (rule_count > 0)
        free(rules[--rule_count].body);
}

/* '@' stands for the session, which a container may always name. */
static void set_body(struct sim_answer *a, const char *body)
{
    const char *at = strchr(body, '@'), *session = a->from ? a->from->session : "nobody";
    a->body = at ? world_printf("%.*s%s%s", (int)(at - body), body, session, at + 1)
                 : world_strdup(body);
}

/* The status is part of the proof: another one leaves it wrong. */
static int other_status(int status, unsigned choice)
{
    static const int statuses[] = {200, 202, 400, 403, 404, 409, 500, 503};
    return statuses[choice] != status ? statuses[choice] : status + 1;
}

static void spoil(struct sim_answer *a, enum fate fate, unsigned status)
{
    static const char made_up[] =
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const char *proof = take_header(a, PROOF_HEADER_PROOF);
    if (fate == NEW_STATUS || fate == COOKIES)
        a->status = other_status(a->status, status);
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

static void change(struct sim_answer *a, struct rule *rule)
{
    rule->used = true;
    if (rule->fate == AS_IT_IS)
        return;
    a->honest = a->honest && may_lie && (rule->fate == PROVEN || settings.plain);
    if (rule->fate != PROVEN)
        spoil(a, rule->fate, rule->status);
    else if (!may_lie)
        drop_header(a, PROOF_HEADER_PROOF);
    set_body(a, rule->body);
}

static void answered(struct sim_request *request, struct sim_answer *a)
{
    struct asked **at = &asked;
    while ((*at)->request != request)
        at = &(*at)->next;
    request->answered = (*at)->answered;
    *at = (*at)->next;
    struct rule *rule = next_rule(request);
    if (rule)
        change(a, rule);
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
    s->own_role = (kind & 32) && !s->plain;
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

/* A container that may lie can make up its results, its uploads and its inputs: callers and the
 * books see it. All else holds. */
void __wrap_world_violate(const char *invariant, const char *fmt, ...)
{
    static const char *const about_lies[] = {"I2", "I4", "I6", "API", "INPUT"};
    char text[512];
    va_list args;
    for (size_t i = 0; may_lie && i < sizeof about_lies / sizeof *about_lies; i++)
        if (strcmp(invariant, about_lies[i]) == 0)
            return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    __real_world_violate(invariant, "%s", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scenario scenario = {
        .name = "fuzz", .help = "", .set = set_world, .begin = set_plan};
    struct scenario_result result;
    struct fuzz f = {data, size};
    kind = fuzz_byte(&f);
    unsigned seed = 1 + fuzz_number(&f, 16);
    struct scenario_order order = {.crash_at = fuzz_byte(&f)};
    may_lie = kind & 1 || kind & 4;
    asked = NULL;
    old_nonce_proof = NULL;
    read_rules(&f);
    scenario_run(&scenario, seed, &order, &result);
    free_rules();
    if (result.violation[0])
        fprintf(stderr, "%s\n", result.violation);
    must(!result.violation[0]);
    return 0;
}
