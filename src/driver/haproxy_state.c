#include "driver/haproxy_state.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define STATE_HEADER "# be_id "
#define STAT_HEADER "# pxname,"
#define NO_BACKEND "Can't find backend."

/* srv_admin_state and srv_check_state are bit masks, srv_op_state is a number. */
enum { ADMIN_MAINT = 0x01 | 0x02 | 0x04 | 0x20 | 0x40, ADMIN_DRAIN = 0x08 | 0x10 };
enum { CHECK_ENABLED = 0x04, CHECK_PAUSED = 0x08 };
enum { RESULT_FAILED = 2 };

/* The columns of `show servers state` that we read, by the words of its header. */
enum state_column {
    BE_NAME,
    ID,
    NAME,
    ADDR,
    OP,
    ADMIN,
    RESULT,
    HEALTH,
    CHECK,
    PORT,
    STATE_COLUMNS
};
static const char *const state_names[STATE_COLUMNS] = {
    "be_name",         "srv_id",          "srv_name",         "srv_addr",
    "srv_op_state",    "srv_admin_state", "srv_check_result", "srv_check_health",
    "srv_check_state", "srv_port"};

enum stat_column { PXNAME, SVNAME, SCUR, CHECK_STATUS, CHECK_RISE, STAT_COLUMNS };
static const char *const stat_names[STAT_COLUMNS] = {"pxname", "svname", "scur", "check_status",
                                                     "check_rise"};

#define COLUMNS_MAX 10
#define FIELDS_MAX 128 /* of a row; `show stat` of 2.6 has 100 */
_Static_assert(STATE_COLUMNS <= COLUMNS_MAX && STAT_COLUMNS <= COLUMNS_MAX, "room for a row");

/* A table within the answer: a header line, rows, and an empty line that shows that it is
 * whole. */
struct table {
    char *next; /* the next row */
    char separator;
    size_t columns, last;    /* ours; the field that holds the last of them */
    int8_t ours[FIELDS_MAX]; /* which of our columns a field is, or -1 */
};

/* Cuts the next line off; NULL at the end or when it was cut short. */
static char *cut_line(char **rest)
{
    char *line = *rest, *end = strchr(line, '\n');
    if (end == NULL)
        return NULL;
    *end = '\0';
    *rest = end + 1;
    return line;
}

static char *cut_field(char **rest, char separator)
{
    char *field = *rest;
    if (field == NULL)
        return NULL;
    char *end = strchr(field, separator);
    if (end != NULL)
        *end = '\0';
    *rest = end == NULL ? NULL : end + 1;
    return field;
}

/* The line of text that starts with this; NULL: none. */
static char *find_line(char *text, const char *start)
{
    size_t len = strlen(start);
    char *at = strstr(text, start);
    while (at != NULL && at != text && at[-1] != '\n')
        at = strstr(at + len, start);
    return at;
}

static bool open_table(struct table *t, char *text, const char *start, char separator,
                       const char *const *names, size_t count)
{
    char *header = find_line(text, start);
    bool found[COLUMNS_MAX] = {false};
    size_t missing = count;
    if (header == NULL)
        return false;
    *t = (struct table){.next = header, .separator = separator, .columns = count};
    memset(t->ours, -1, sizeof(t->ours));
    char *fields = cut_line(&t->next), *word;
    if (fields == NULL)
        return false;
    fields += 2; /* "# " */
    for (size_t i = 0; missing > 0 && i < FIELDS_MAX; i++) {
        if ((word = cut_field(&fields, separator)) == NULL)
            return false;
        for (size_t n = 0; n < count; n++) {
            if (!found[n] && *word == *names[n] && strcmp(word, names[n]) == 0) {
                found[n] = true;
                t->ours[i] = (int8_t)n;
                t->last = i;
                missing--;
            }
        }
    }
    return missing == 0;
}

enum row { ROW_READ, ROW_END, ROW_BAD };

static enum row read_row(struct table *t, char *out[COLUMNS_MAX])
{
    char *line = cut_line(&t->next), *word;
    if (line == NULL)
        return ROW_BAD;
    if (*line == '\0')
        return ROW_END;
    for (size_t i = 0; i <= t->last; i++) {
        if ((word = cut_field(&line, t->separator)) == NULL)
            return ROW_BAD;
        if (t->ours[i] >= 0)
            out[t->ours[i]] = word;
    }
    return ROW_READ;
}

static bool read_number(const char *text, int64_t max, int64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    *out = n;
    return errno == 0 && *end == '\0' && n <= max;
}

static bool read_server(struct haproxy_server *s, char *row[COLUMNS_MAX])
{
    int64_t op, admin, result, check, port;
    if (!read_number(row[OP], 255, &op) || !read_number(row[ADMIN], 65535, &admin) ||
        !read_number(row[RESULT], 255, &result) ||
        !read_number(row[HEALTH], 65535, &s->health) ||
        !read_number(row[CHECK], 65535, &check) || !read_number(row[PORT], 65535, &port))
        return false;
    s->name = row[NAME];
    s->ip = row[ADDR];
    s->port = (uint16_t)port;
    s->maint = (admin & ADMIN_MAINT) != 0;
    s->rotating = !s->maint && (admin & ADMIN_DRAIN) == 0 && op != 0;
    s->checked = (check & CHECK_ENABLED) != 0;
    s->paused = (check & CHECK_PAUSED) != 0;
    s->failing = result == RESULT_FAILED;
    s->sessions = -1;
    s->rise = 0;
    s->check = "";
    return true;
}

static int by_name(const void *a, const void *b)
{
    const struct haproxy_server *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool read_servers(struct haproxy_state *out, struct table *t, const char *backend)
{
    char *row[COLUMNS_MAX];
    size_t capacity = 0;
    enum row r;
    while ((r = read_row(t, row)) == ROW_READ) {
        if (strcmp(row[BE_NAME], backend) != 0)
            return false;
        if (out->count == capacity) {
            capacity = capacity == 0 ? 64 : capacity * 2;
            out->servers = mem_grow(out->servers, capacity * sizeof(*out->servers));
        }
        int64_t id;
        if (!read_number(row[ID], INT32_MAX, &id) ||
            !read_server(&out->servers[out->count], row))
            return false;
        if (id > out->largest_id)
            out->largest_id = id;
        out->rotating += out->servers[out->count++].rotating;
    }
    if (out->count > 0)
        qsort(out->servers, out->count, sizeof(*out->servers), by_name);
    for (size_t i = 1; i < out->count; i++) {
        if (strcmp(out->servers[i - 1].name, out->servers[i].name) == 0)
            return false;
    }
    return r == ROW_END;
}

static struct haproxy_server *find(const struct haproxy_state *s, const char *name)
{
    struct haproxy_server wanted = {.name = name};
    if (s->count == 0)
        return NULL;
    return bsearch(&wanted, s->servers, s->count, sizeof(wanted), by_name);
}

/* Adds what only `show stat` knows. A server in one listing but not in the other came or went
 * between the two and is left as the first one says. */
static bool read_stats(struct haproxy_state *out, struct table *t, const char *backend)
{
    char *row[COLUMNS_MAX];
    enum row r;
    while ((r = read_row(t, row)) == ROW_READ) {
        if (strcmp(row[PXNAME], backend) != 0)
            return false;
        struct haproxy_server *s = find(out, row[SVNAME]);
        if (s == NULL)
            continue;
        if (!read_number(row[SCUR], INT32_MAX, &s->sessions))
            return false;
        if (*row[CHECK_RISE] != '\0' && !read_number(row[CHECK_RISE], INT32_MAX, &s->rise))
            return false;
        s->check = strncmp(row[CHECK_STATUS], "* ", 2) == 0 ? row[CHECK_STATUS] + 2
                                                            : row[CHECK_STATUS];
        out->shallow_checks |= strcmp(s->check, "L4OK") == 0;
    }
    return r == ROW_END;
}

enum error_code haproxy_state_read(struct haproxy_state *out, const char *backend,
                                   const char *answer, size_t len, struct error *e)
{
    struct table servers, stats;
    *out = (struct haproxy_state){.text = mem_strndup(answer, len)};
    if (find_line(out->text, NO_BACKEND) != NULL) {
        haproxy_state_free(out);
        return error_set(e, ERR_CONFIG, "HAProxy has no backend \"%s\"", backend);
    }
    /* The later table first: opening one cuts the text at its header. */
    bool good =
        strlen(out->text) == len &&
        open_table(&stats, out->text, STAT_HEADER, ',', stat_names, STAT_COLUMNS) &&
        open_table(&servers, out->text, STATE_HEADER, ' ', state_names, STATE_COLUMNS) &&
        servers.next < stats.next && read_servers(out, &servers, backend) &&
        read_stats(out, &stats, backend);
    if (good)
        return ERR_NONE;
    error_set(e, ERR_PROTOCOL,
              "HAProxy's listing of backend \"%s\" is truncated or makes no sense", backend);
    haproxy_state_free(out);
    return ERR_PROTOCOL;
}

void haproxy_state_free(struct haproxy_state *s)
{
    free(s->servers);
    free(s->text);
    *s = (struct haproxy_state){0};
}

const struct haproxy_server *haproxy_state_find(const struct haproxy_state *s, const char *name)
{
    return find(s, name);
}

/* What a command may be told without anything being wrong. */
static const char *const harmless[] = {
    "New server registered.",
    "Server deleted.",
    "Already exists a server with the same name in backend.",
    "No such server.",
    "Server still has connections attached to it, cannot remove it.",
    "Only servers in maintenance mode can be deleted.",
    "'id' : custom id ", /* somebody else took the number: the next listing shows a free one */
};

static bool starts_with(const char *line, size_t len, const char *start)
{
    return len >= strlen(start) && memcmp(line, start, strlen(start)) == 0;
}

static enum error_code judge(const char *line, size_t len, struct error *e)
{
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        if (starts_with(line, len, harmless[i]))
            return ERR_NONE;
    }
    if (starts_with(line, len, "No such backend"))
        return error_set(e, ERR_CONFIG, "HAProxy does not know the backend");
    if (starts_with(line, len, "Permission denied"))
        return error_set(e, ERR_CONFIG,
                         "HAProxy refused the command: its stats socket needs level admin");
    if (starts_with(line, len, "Backend must use a dynamic load balancing"))
        return error_set(
            e, ERR_CONFIG,
            "the backend's balance is not dynamic: use roundrobin, leastconn, first or "
            "random");
    return error_set(e, ERR_REGISTER, "HAProxy refused: %.*s", len < 200 ? (int)len : 200,
                     line);
}

enum error_code haproxy_refusal(const char *answer, size_t len, struct error *e)
{
    const char *end = answer + len;
    for (const char *line = answer; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t size = (size_t)((stop == NULL ? end : stop) - line);
        if ((size == 1 && *line == '1') || starts_with(line, size, STATE_HEADER) ||
            starts_with(line, size, STAT_HEADER) || starts_with(line, size, NO_BACKEND))
            return ERR_NONE; /* the listings */
        enum error_code code = size == 0 ? ERR_NONE : judge(line, size, e);
        if (code != ERR_NONE)
            return code;
        line += size + 1;
    }
    return ERR_NONE;
}

bool haproxy_name_valid(const char *name)
{
    size_t len =
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-");
    return len > 0 && name[len] == '\0';
}
