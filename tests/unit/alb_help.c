#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alb_help.h"
#include "base/buf.h"
#include "base/mem.h"

#define ARN "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/g%d/%d"
#define REQUEST_MAX 65536

/* ---- what a request asks ---- */

static void decode(char *text)
{
    char *to = text;
    for (const char *p = text; *p != '\0'; to++) {
        unsigned byte;
        if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1) {
            *to = (char)byte;
            p += 3;
        } else {
            *to = *p++;
        }
    }
    *to = '\0';
}

/* The decoded value of a member of the form; "" when it is not there. */
static void member(const char *form, const char *name, char *out, size_t size)
{
    size_t len = strlen(name);
    *out = '\0';
    for (const char *p = form; p != NULL; p = strchr(p, '&')) {
        p += *p == '&';
        if (strncmp(p, name, len) != 0 || p[len] != '=')
            continue;
        snprintf(out, size, "%.*s", (int)strcspn(p + len + 1, "&"), p + len + 1);
        decode(out);
        return;
    }
}

static int group_in(const char *form, const char *name)
{
    char arn[256];
    int n;
    member(form, name, arn, sizeof(arn));
    const char *kind = strstr(arn, ":targetgroup/g");
    return kind != NULL && sscanf(kind, ":targetgroup/g%d/", &n) == 1 && n < ELB_GROUPS ? n
                                                                                        : -1;
}

static bool target_in(const char *form, int n, char *ip, size_t size, int *port)
{
    char name[64], number[16];
    snprintf(name, sizeof(name), "Targets.member.%d.Id", n);
    member(form, name, ip, size);
    snprintf(name, sizeof(name), "Targets.member.%d.Port", n);
    member(form, name, number, sizeof(number));
    *port = atoi(number);
    return *ip != '\0';
}

/* ---- books ---- */

static struct elb_target *find(struct elb_group *g, const char *ip, int port)
{
    for (int i = 0; i < ELB_TARGETS; i++)
        if (g->targets[i].port == port && strcmp(g->targets[i].ip, ip) == 0)
            return &g->targets[i];
    return NULL;
}

static struct elb_target *room(struct elb_group *g)
{
    int i = 0;
    while (g->targets[i].port != 0)
        i++;
    return &g->targets[i];
}

static void refuse(struct buf *out, const char *code)
{
    buf_printf(out,
               "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>because of "
               "the test</Message></Error></ErrorResponse>",
               code);
}

static bool change(struct elb *elb, struct elb_group *g, const char *form, bool add)
{
    char ip[64];
    int port;
    for (int n = 1; target_in(form, n, ip, sizeof(ip), &port); n++)
        if (strcmp(ip, elb->refused) == 0)
            return false;
    for (int n = 1; target_in(form, n, ip, sizeof(ip), &port); n++) {
        struct elb_target *t = find(g, ip, port);
        if (add && (t == NULL || strcmp(t->state, "draining") == 0)) {
            t = t != NULL ? t : room(g);
            t->port = port;
            mem_copy_string(t->ip, sizeof(t->ip), ip);
            mem_copy_string(t->state, sizeof(t->state), elb->register_as);
        } else if (!add && t != NULL && elb->drains) {
            strcpy(t->state, "draining");
        } else if (!add && t != NULL) {
            t->port = 0;
        }
    }
    return true;
}

static void describe_health(const struct elb_group *g, struct buf *out)
{
    for (int i = 0; i < ELB_TARGETS; i++) {
        const struct elb_target *t = &g->targets[i];
        if (t->port != 0)
            buf_printf(out,
                       "<member><Target><Id>%s</Id><Port>%d</Port></Target><TargetHealth>"
                       "<State>%s</State></TargetHealth></member>",
                       t->ip, t->port, t->state);
    }
}

/* False: some group is not there. */
static bool describe_tags(struct elb *elb, const char *form, struct buf *out)
{
    char name[64], arn[256];
    for (int n = 1;; n++) {
        snprintf(name, sizeof(name), "ResourceArns.member.%d", n);
        member(form, name, arn, sizeof(arn));
        int g = group_in(form, name);
        if (*arn == '\0')
            return true;
        if (g < 0 || elb->groups[g].missing)
            return false;
        buf_printf(out, "<member><ResourceArn>%s</ResourceArn><Tags>", arn);
        if (*elb->groups[g].owner != '\0')
            buf_printf(out, "<member><Key>cleat:owner</Key><Value>%s</Value></member>",
                       elb->groups[g].owner);
        buf_puts(out, "</Tags></member>");
    }
}

static bool add_tags(struct elb *elb, const char *form)
{
    char name[64], owner[32];
    member(form, "Tags.member.1.Value", owner, sizeof(owner));
    for (int n = 1;; n++) {
        snprintf(name, sizeof(name), "ResourceArns.member.%d", n);
        int g = group_in(form, name);
        if (g < 0)
            return true;
        mem_copy_string(elb->groups[g].owner, sizeof(elb->groups[g].owner),
                        *elb->thief != '\0' ? elb->thief : owner);
    }
}

/* The status; out gets the body. */
static int serve(struct elb *elb, const char *action, const char *form, int group,
                 struct buf *out)
{
    struct elb_group *g = group >= 0 ? &elb->groups[group] : NULL;
    bool add = strcmp(action, "RegisterTargets") == 0;
    const char *list =
        strcmp(action, "DescribeTags") == 0 ? "TagDescriptions" : "TargetHealthDescriptions";
    const char *code = NULL;
    buf_printf(out, "<%sResponse><%sResult><%s>", action, action, list);
    if (g != NULL && g->missing)
        code = "TargetGroupNotFound";
    else if (add || strcmp(action, "DeregisterTargets") == 0)
        code = change(elb, g, form, add) ? NULL : "InvalidTarget";
    else if (strcmp(action, "DescribeTargetHealth") == 0)
        describe_health(g, out);
    else if (strcmp(action, "DescribeTags") == 0)
        code = describe_tags(elb, form, out) ? NULL : "TargetGroupNotFound";
    else
        add_tags(elb, form);
    buf_printf(out, "</%s></%sResult></%sResponse>", list, action, action);
    if (code == NULL)
        return 200;
    out->len = 0;
    refuse(out, code);
    return 400;
}

static struct elb_fault *fault_of(struct elb *elb, const char *action)
{
    for (int i = 0; i < ELB_FAULTS; i++) {
        struct elb_fault *f = &elb->faults[i];
        if (f->times > 0 && (*f->action == '\0' || strcmp(f->action, action) == 0)) {
            f->times--;
            return f;
        }
    }
    return NULL;
}

/* ---- the server ---- */

struct connection {
    struct elb *elb;
    int fd;
};

/* False: the connection is to be reset. */
static bool handle(struct elb *elb, const char *form, struct buf *out, int *status)
{
    char action[40], ip[64];
    int port, targets = 0;
    member(form, "Action", action, sizeof(action));
    while (target_in(form, targets + 1, ip, sizeof(ip), &port))
        targets++;
    pthread_mutex_lock(&elb->lock);
    struct elb_call *call = &elb->log[elb->calls++];
    mem_copy_string(call->action, sizeof(call->action), action);
    call->targets = targets;
    call->group = group_in(form, "TargetGroupArn");
    struct elb_fault fault = {.times = -1}, *f = fault_of(elb, action);
    if (f != NULL)
        fault = *f;
    int hold_ms = targets > 0 ? elb->hold_ms : 0;
    pthread_mutex_unlock(&elb->lock);
    usleep((useconds_t)hold_ms * 1000);
    if (fault.times >= 0 && fault.kind == FAULT_STATUS) {
        refuse(out, fault.code);
        *status = fault.status;
        return true;
    }
    pthread_mutex_lock(&elb->lock);
    *status = serve(elb, action, form, call->group, out);
    int late_ms = strcmp(action, "DescribeTargetHealth") == 0 ? elb->late_ms : 0;
    pthread_mutex_unlock(&elb->lock);
    usleep((useconds_t)late_ms * 1000);
    if (fault.times >= 0 && fault.kind == FAULT_GARBAGE)
        out->len = out->len / 2;
    return fault.times < 0 || fault.kind != FAULT_RESET;
}

static bool read_form(int fd, char *request)
{
    size_t len = 0, whole = SIZE_MAX;
    while (len < whole) {
        ssize_t n = read(fd, request + len, REQUEST_MAX - 1 - len);
        if (n <= 0)
            return false;
        len += (size_t)n;
        request[len] = '\0';
        const char *end = strstr(request, "\r\n\r\n");
        const char *length = strcasestr(request, "\r\nContent-Length:");
        if (end != NULL && length != NULL)
            whole = (size_t)(end + 4 - request) + strtoul(length + 17, NULL, 10);
    }
    return true;
}

static void *serve_connection(void *arg)
{
    struct connection c = *(struct connection *)arg;
    char *request = mem_alloc(REQUEST_MAX);
    bool on = true;
    free(arg);
    while (on && read_form(c.fd, request)) {
        struct buf out = {0};
        int status;
        on = handle(c.elb, strstr(request, "\r\n\r\n") + 4, &out, &status);
        if (on)
            dprintf(c.fd, "HTTP/1.1 %d Word\r\nContent-Length: %zu\r\n\r\n%.*s", status,
                    out.len, (int)out.len, out.data);
        buf_free(&out);
    }
    setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &(struct linger){!on, 0}, sizeof(struct linger));
    close(c.fd);
    free(request);
    return NULL;
}

static void serve_all(int listener, struct elb *elb)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        pthread_t thread;
        struct connection *c = mem_alloc(sizeof(*c));
        c->elb = elb;
        c->fd = accept(listener, NULL, NULL);
        if (pthread_create(&thread, NULL, serve_connection, c) == 0)
            pthread_detach(thread);
    }
}

static void start_elb(struct bench *t)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    pthread_mutexattr_t shared;
    t->elb =
        mmap(NULL, sizeof(*t->elb), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(t->elb != MAP_FAILED);
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&t->elb->lock, &shared);
    for (int i = 0; i < ELB_GROUPS; i++)
        strcpy(t->elb->groups[i].owner, "me");
    strcpy(t->elb->register_as, "healthy");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, ELB_IP, &a.sin_addr);
    assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(listener, 64), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
    t->pid = fork();
    if (t->pid == 0)
        serve_all(listener, t->elb);
    close(listener);
    char *url = mem_printf("http://%s:%u", ELB_IP, ntohs(a.sin_port));
    setenv("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", url, 1);
    free(url);
}

/* ---- the bench ---- */

int set_up(void **state)
{
    struct bench *t = mem_alloc(sizeof(*t));
    char key[] = "AKIDEXAMPLE", secret[] = "sesame", arns[512];
    struct aws_keys keys = {.access_key = key, .secret_key = secret};
    start_elb(t);
    t->loop = loop_new(NULL);
    t->client = http_client_new(t->loop);
    t->aws = aws_new(t->loop, t->client, "eu-central-1", &keys);
    t->class = class_new();
    snprintf(arns, sizeof(arns), ARN "," ARN "," ARN, 0, 0, 1, 1, 2, 2);
    class_set(t->class, "balancer", "alb");
    class_set(t->class, "alb_target_groups", arns);
    class_set(t->class, "alb_urls", "http://a,http://b,http://c");
    *state = t;
    return 0;
}

static void note_target(void *arg, const char *id, enum target_state s, const char *reason)
{
    struct seen *seen = seen_of(arg, id);
    size_t len = strlen(seen->states);
    assert_true(len < sizeof(seen->states) - 1);
    if (s != TARGET_CHECKING || len == 0 || seen->states[len - 1] != 'C')
        seen->states[len] = "?CHUG"[s];
    mem_copy_string(seen->reason, sizeof(seen->reason), reason);
}

void open_balancer(struct bench *t)
{
    struct balancer_env env = {.loop = t->loop,
                               .client = t->client,
                               .class = t->class,
                               .owner = "me",
                               .aws = t->aws,
                               .on_target = note_target,
                               .arg = t};
    struct error e = {.code = ERR_NONE};
    t->b = balancer_alb.open(&env, &e);
    if (t->b == NULL)
        fail_msg("%s", e.message);
}

void close_balancer(struct bench *t)
{
    if (t->b != NULL)
        balancer_alb.close(t->b);
    t->b = NULL;
}

int tear_down(void **state)
{
    struct bench *t = *state;
    close_balancer(t);
    aws_free(t->aws);
    http_client_free(t->client);
    loop_free(t->loop);
    class_free(t->class);
    kill(t->pid, SIGKILL);
    waitpid(t->pid, NULL, 0);
    munmap(t->elb, sizeof(*t->elb));
    free(t);
    return 0;
}

/* ---- ops ---- */

void start_add(struct bench *t, const char *id, const char *ip, struct answer *a)
{
    balancer_alb.add(t->b, &(struct target){.id = id, .ip = ip, .port = 8080}, take_answer, a);
    assert_int_equal(a->calls, 0);
}

void start_remove(struct bench *t, const char *id, struct answer *a)
{
    balancer_alb.remove(t->b, &(struct target){.id = id}, take_answer, a);
    assert_int_equal(a->calls, 0);
}

struct error add(struct bench *t, const char *id, const char *ip)
{
    struct answer a = {0};
    start_add(t, id, ip, &a);
    answer_of(t->loop, &a);
    return a.error;
}

struct error take_out(struct bench *t, const char *id)
{
    struct answer a = {0};
    start_remove(t, id, &a);
    answer_of(t->loop, &a);
    return a.error;
}

struct inventory {
    struct answer answer; /* first: take_answer gets it */
    char *out;
    size_t size;
};

static void note_listed(void *arg, const struct target *target, enum target_state state)
{
    struct inventory *i = arg;
    size_t len = strlen(i->out);
    (void)state;
    snprintf(i->out + len, i->size - len, "%s=%s:%u ", target->id, target->ip, target->port);
}

struct error list_now(struct bench *t)
{
    struct inventory i = {.out = t->listed, .size = sizeof(t->listed)};
    t->listed[0] = '\0';
    balancer_alb.list(t->b, note_listed, take_answer, &i);
    assert_int_equal(i.answer.calls, 0);
    answer_of(t->loop, &i.answer);
    return i.answer.error;
}

void adopt(struct bench *t, const char *id, const char *ip)
{
    balancer_alb.adopt(t->b, &(struct target){.id = id, .ip = ip, .port = 8080});
}

bool reserves(struct bench *t, const char *id)
{
    return balancer_alb.reserve(t->b, &(struct target){.id = id, .ip = ""});
}

struct goal {
    struct bench *t;
    const char *id;
    char state;
};

static bool is_reserved(void *arg)
{
    struct goal *g = arg;
    return reserves(g->t, g->id);
}

void until_reserved(struct bench *t, const char *id)
{
    struct goal g = {.t = t, .id = id};
    assert_true(run_until(t->loop, is_reserved, &g, 10000));
}

struct seen *seen_of(struct bench *t, const char *id)
{
    size_t i = 0;
    while (i < t->count && strcmp(t->seen[i].id, id) != 0)
        i++;
    if (i == t->count) {
        assert_true(t->count < sizeof(t->seen) / sizeof(t->seen[0]));
        mem_copy_string(t->seen[t->count++].id, sizeof(t->seen[i].id), id);
    }
    return &t->seen[i];
}

static bool is_reached(void *arg)
{
    struct goal *g = arg;
    const char *states = seen_of(g->t, g->id)->states;
    size_t len = strlen(states);
    return len > 0 && states[len - 1] == g->state;
}

void reach(struct bench *t, const char *id, char state)
{
    struct goal g = {t, id, state};
    if (!run_until(t->loop, is_reached, &g, 20000))
        fail_msg("%s: \"%s\" (%s), not %c", id, seen_of(t, id)->states, seen_of(t, id)->reason,
                 state);
}

size_t group_of(struct bench *t, const char *id)
{
    return balancer_alb.group_of(t->b, id);
}

/* ---- books ---- */

void elb_put(struct bench *t, int group, const char *ip, const char *state)
{
    struct elb_group *g = &t->elb->groups[group];
    pthread_mutex_lock(&t->elb->lock);
    struct elb_target *at = find(g, ip, 8080);
    if (at == NULL)
        at = room(g);
    mem_copy_string(at->ip, sizeof(at->ip), ip);
    mem_copy_string(at->state, sizeof(at->state), state);
    at->port = *state != '\0' ? 8080 : 0;
    pthread_mutex_unlock(&t->elb->lock);
}

const char *elb_state(struct bench *t, int group, const char *ip)
{
    static char state[16];
    pthread_mutex_lock(&t->elb->lock);
    const struct elb_target *at = find(&t->elb->groups[group], ip, 8080);
    mem_copy_string(state, sizeof(state), at != NULL ? at->state : "");
    pthread_mutex_unlock(&t->elb->lock);
    return state;
}

static int sum(struct bench *t, const char *action, bool targets)
{
    int n = 0;
    pthread_mutex_lock(&t->elb->lock);
    for (int i = 0; i < t->elb->calls; i++)
        if (strcmp(t->elb->log[i].action, action) == 0)
            n += targets ? t->elb->log[i].targets : 1;
    pthread_mutex_unlock(&t->elb->lock);
    return n;
}

int elb_calls(struct bench *t, const char *action)
{
    return sum(t, action, false);
}

int elb_targets_of(struct bench *t, const char *action)
{
    return sum(t, action, true);
}

static void add_fault(struct bench *t, const char *action, int times, struct elb_fault fault)
{
    int i = 0;
    pthread_mutex_lock(&t->elb->lock);
    while (i < ELB_FAULTS - 1 && t->elb->faults[i].times > 0)
        i++;
    mem_copy_string(fault.action, sizeof(fault.action), action);
    fault.times = times;
    t->elb->faults[i] = fault;
    pthread_mutex_unlock(&t->elb->lock);
}

void elb_fail(struct bench *t, const char *action, int times, int status, const char *code)
{
    struct elb_fault f = {.kind = FAULT_STATUS, .status = status};
    mem_copy_string(f.code, sizeof(f.code), code);
    add_fault(t, action, times, f);
}

void elb_break(struct bench *t, const char *action, int times, enum elb_fault_kind kind)
{
    add_fault(t, action, times, (struct elb_fault){.kind = kind});
}
