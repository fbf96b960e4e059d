#include "http/client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "http/curl_loop.h"
#include "http/ledger.h"
#include "http/message.h"
#include "http/names.h"
#include "http/wipe.h"
#include "loop/resolve.h"

struct http_client {
    struct loop *loop;
    struct curl_loop curl;
    struct ledger ledger;
    struct names *names;
    char *ca_file;
    struct http_client_stats stats;
    uint64_t last_share_id;
    unsigned max_idle; /* of all shares: libcurl has one limit per multi handle */
};

struct http_share {
    struct http_client *client;
    CURLSH *curl;
    uint64_t id; /* never used twice, so that the ledger cannot take one share for another */
    struct names_user addresses;
    unsigned max_idle;
    size_t exchanges;
};

struct http_exchange {
    struct http_share *share;
    CURL *easy; /* NULL: the request was refused before libcurl saw it */
    CURLcode setup;
    struct curl_slist *header_lines, *connect_to;
    char *host;                      /* the URL's, when it is a name; else NULL */
    char address[RESOLVE_TEXT_SIZE]; /* the name's; "" before it is known */
    struct names_wait *naming;
    void *body;
    size_t body_len;
    http_data_fn *on_data;
    http_done_fn *done;
    void *arg;
    struct timer resolve, first_byte, total;
    int64_t connect_ms, first_byte_ms, total_ms, started_ms;
    struct task hand_over, deliver; /* woken in this order, run in this order */
    struct error error; /* the first cause; what libcurl says afterwards is a consequence */
    bool sent, ended, refused;
    bool is_unix;
    bool silence_due;  /* nothing may arrive before we ask: TCP without TLS */
    bool stale, fresh; /* the connection it got was spoilt; so it gets a new one */
    char connection[LEDGER_ADDRESS_SIZE];
    char curl_message[CURL_ERROR_SIZE];
    struct answer_head head;
    struct buf answer;
    size_t max_answer;
};

/* The first failure counts. */
#define fail(x, ...)                                                                           \
    do {                                                                                       \
        if ((x)->error.code == ERR_NONE)                                                       \
            error_set(&(x)->error, __VA_ARGS__);                                               \
    } while (0)

/* ---- the end of an exchange */

static void stop_clocks(struct http_exchange *x)
{
    timer_stop(&x->resolve);
    timer_stop(&x->first_byte);
    timer_stop(&x->total);
}

static void end_exchange(struct http_exchange *x)
{
    x->ended = true;
    stop_clocks(x);
    if (x->address[0] && !x->sent &&
        (x->error.code == ERR_CONNECT || x->error.code == ERR_TIMEOUT))
        names_failed(&x->share->addresses, x->host, x->address);
    task_wake(&x->deliver);
}

/* Never from within libcurl's callbacks. */
static void release_easy(struct http_exchange *x)
{
    if (!x->easy)
        return;
    curl_multi_remove_handle(x->share->client->curl.multi, x->easy);
    curl_easy_cleanup(x->easy);
    ledger_end_attempt(&x->share->client->ledger, x);
    curl_slist_free_all(x->header_lines);
    curl_slist_free_all(x->connect_to);
    x->easy = NULL;
}

/* From here on the share may be freed. */
static void detach(struct http_exchange *x)
{
    stop_clocks(x);
    if (x->naming)
        names_cancel(x->naming);
    task_stop(&x->hand_over);
    task_stop(&x->deliver);
    release_easy(x);
    x->share->exchanges--;
}

static void free_exchange(struct http_exchange *x)
{
    head_free(&x->head);
    buf_free(&x->answer);
    if (x->body) /* it may hold a secret */
        mem_wipe(x->body, x->body_len);
    free(x->body);
    free(x->host);
    free(x);
}

static void deliver(void *arg)
{
    struct http_exchange *x = arg;
    struct http_answer answer = {
        .error = x->error, .sent = x->sent, .refused = x->refused, .body = ""};
    answer.elapsed_ms = loop_now_ms(x->share->client->loop) - x->started_ms;
    mem_copy_string(answer.connection, sizeof answer.connection, x->connection);
    detach(x);
    struct http_header *headers = head_headers(&x->head);
    if (x->error.code == ERR_NONE) {
        answer.status = x->head.status;
        answer.headers = headers;
        answer.header_count = x->head.count;
        answer.body = x->answer.data ? x->answer.data : "";
        answer.body_len = x->answer.len;
    }
    x->done(x->arg, &answer);
    free(headers);
    free_exchange(x);
}

/* The owner may cancel the exchange in the call. */
static void hand_over(void *arg)
{
    struct http_exchange *x = arg;
    struct buf piece = x->answer;
    x->answer = (struct buf){0};
    x->on_data(x->arg, piece.data ? piece.data : "", piece.len);
    buf_free(&piece);
}

void http_cancel(struct http_exchange *x)
{
    detach(x);
    free_exchange(x);
}

static void resolve_missed(void *arg)
{
    struct http_exchange *x = arg;
    fail(x, ERR_TIMEOUT, "the name %s was not resolved within %lld ms", x->host,
         (long long)x->connect_ms);
    end_exchange(x);
}

static void first_byte_missed(void *arg)
{
    struct http_exchange *x = arg;
    fail(x, ERR_TIMEOUT, "no answer began within %lld ms", (long long)x->first_byte_ms);
    end_exchange(x);
}

static void total_missed(void *arg)
{
    struct http_exchange *x = arg;
    fail(x, ERR_TIMEOUT, "the request did not end within %lld ms", (long long)x->total_ms);
    end_exchange(x);
}

/* ---- what libcurl's results mean */

static enum error_code code_of(CURLcode result, bool sent)
{
    switch (result) {
    case CURLE_OK:
        return ERR_NONE;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_URL_MALFORMAT:
    case CURLE_LOGIN_DENIED: /* a user name in the URL */
        return ERR_INVALID;
    case CURLE_UNSUPPORTED_PROTOCOL: /* of the URL; of an answer when it is HTTP/0.9 */
        return sent ? ERR_PROTOCOL : ERR_INVALID;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return ERR_PROTOCOL;
    default:
        return sent ? ERR_RESET : ERR_CONNECT;
    }
}

static bool is_refusal(const struct http_exchange *x, CURLcode result)
{
    long os_errno = 0;
    curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
    return result == CURLE_COULDNT_CONNECT && os_errno == ECONNREFUSED && !x->sent;
}

/* libcurl 7.88 has no code of its own for a broken chunk or an endless header line. */
static enum error_code code_of_answer(const struct http_exchange *x, CURLcode result)
{
    long os_errno = 0;
    if (result == CURLE_OUT_OF_MEMORY && x->sent)
        return ERR_TOO_LARGE;
    curl_easy_getinfo(x->easy, CURLINFO_OS_ERRNO, &os_errno);
    if (result == CURLE_RECV_ERROR && x->head.complete && os_errno == 0)
        return ERR_PROTOCOL;
    return code_of(result, x->sent);
}

/* Nothing was sent yet: once more, on a connection that nobody used before. */
static bool start_afresh(struct http_exchange *x)
{
    CURLM *multi = x->share->client->curl.multi;
    x->stale = false;
    x->fresh = true;
    return curl_multi_remove_handle(multi, x->easy) == CURLM_OK &&
           curl_easy_setopt(x->easy, CURLOPT_FRESH_CONNECT, 1L) == CURLE_OK &&
           curl_multi_add_handle(multi, x->easy) == CURLM_OK;
}

static void conclude(void *arg, CURLcode result)
{
    struct http_exchange *x = arg;
    if (x->ended || (x->stale && start_afresh(x)))
        return;
    enum error_code code = code_of_answer(x, result);
    x->refused = code == ERR_CONNECT && is_refusal(x, result);
    if (code != ERR_NONE)
        fail(x, code, "%s", x->curl_message[0] ? x->curl_message : curl_easy_strerror(result));
    else if (!x->head.complete)
        fail(x, ERR_RESET, "the connection was closed within the answer's head");
    end_exchange(x);
}

/* ---- connections */

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    struct http_exchange *x = arg;
    if (x->sent) /* libcurl wants to repeat the request, see before_sending */
        return CURL_SOCKET_BAD;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    ledger_open(&x->share->client->ledger, fd, x->share->id, x);
    return fd;
}

static int close_socket(void *arg, curl_socket_t fd)
{
    struct http_client *c = arg;
    ledger_close(&c->ledger, fd);
    return close(fd);
}

/* Is this our own connection? One to a Unix socket has no address to look up; it carries
 * one request only. */
static bool check_owner(struct http_exchange *x, const char *remote, int *fd)
{
    struct http_share *s = x->share;
    if (x->is_unix)
        return true;
    uint64_t owner = ledger_owner(&s->client->ledger, s->id, x->connection, remote, fd);
#ifdef CLEAT_MUTANT_SHARED_POOL
    owner = s->id;
#endif
    if (owner == s->id)
        return true;
    s->client->stats.shared_connections++;
    log_error("http.shared_connection", KV("local", x->connection), KV("remote", remote),
              KI("share", s->id), KI("owner", owner));
    fail(x, ERR_INTERNAL, "connection %s to %s belongs to somebody else", x->connection,
         remote);
    return false;
}

/* What a peer sent before it was asked would pass for the answer (some send 408 to an idle
 * connection before they close it), and libcurl does not look. TLS has messages of its own
 * between requests. */
static bool check_silence(struct http_exchange *x, int fd)
{
    char unasked[4096];
    if (!x->silence_due ||
        (recv(fd, unasked, sizeof unasked, MSG_DONTWAIT) < 0 && errno == EAGAIN))
        return true;
    shutdown(fd, SHUT_RDWR); /* libcurl will find it dead */
    if (x->fresh)
        fail(x, ERR_PROTOCOL, "the peer closed or spoke before it was asked");
    x->stale = !x->fresh;
    return false;
}

/* libcurl repeats a request by itself when a reused connection ends before the first byte of
 * the answer, whatever the method and however much the peer has read: never here. */
static int before_sending(void *arg, char *remote_ip, char *local_ip, int remote_port,
                          int local_port)
{
    struct http_exchange *x = arg;
    char remote[LEDGER_ADDRESS_SIZE];
    int fd = -1;
    if (x->sent) {
        fail(x, ERR_RESET, "the connection was closed without an answer");
        return CURL_PREREQFUNC_ABORT;
    }
    ledger_format(x->connection, local_ip, local_port);
    ledger_format(remote, remote_ip, remote_port);
    if (!check_owner(x, remote, &fd) || !check_silence(x, fd))
        return CURL_PREREQFUNC_ABORT;
    x->sent = true;
    timer_arm(&x->first_byte, x->first_byte_ms);
    return CURL_PREREQFUNC_OK;
}

/* ---- the answer */

static bool is_streamed(const struct http_exchange *x)
{
    return x->on_data && x->head.complete && x->head.status < 300;
}

static size_t take_head(char *line, size_t size, size_t count, void *arg)
{
    struct http_exchange *x = arg;
    struct error e = {0};
    timer_stop(&x->first_byte);
    if (head_add(&x->head, line, size * count, &e) != ERR_NONE) {
        fail(x, e.code, "%s", e.message);
        return 0;
    }
    if (is_streamed(x))
        task_wake(&x->hand_over);
    return size * count;
}

static size_t take_body(char *data, size_t size, size_t count, void *arg)
{
    struct http_exchange *x = arg;
    size_t len = size * count;
    if (len > x->max_answer - x->answer.len) {
        fail(x, ERR_TOO_LARGE, "the answer is over %zu bytes", x->max_answer);
        return 0;
    }
    buf_add(&x->answer, data, len);
    if (is_streamed(x))
        task_wake(&x->hand_over);
    return len;
}

/* ---- the request */

#define SET(x, option, value)                                                                  \
    do {                                                                                       \
        CURLcode set_result = curl_easy_setopt((x)->easy, option, value);                      \
        if ((x)->setup == CURLE_OK)                                                            \
            (x)->setup = set_result;                                                           \
    } while (0)

static void add_line(struct http_exchange *x, struct curl_slist **to, const char *line)
{
    struct curl_slist *list = curl_slist_append(*to, line);
    if (list)
        *to = list;
    else
        x->setup = CURLE_OUT_OF_MEMORY;
}

/* libcurl wants "Name;" for an empty value. */
static void add_header(struct http_exchange *x, const char *name, const char *value)
{
    struct buf line = {0};
    if (value[strspn(value, " \t")])
        buf_printf(&line, "%s: %s", name, value);
    else
        buf_printf(&line, "%s;", name);
    add_line(x, &x->header_lines, line.data);
    mem_wipe(line.data, line.len); /* it may be a credential */
    buf_free(&line);
}

static bool has_header(const struct http_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->headers[i].name, name) == 0)
            return true;
    return false;
}

/* A body of no bytes is one, too. */
static bool has_body(const struct http_request *r)
{
    return r->body || strcmp(r->method, "POST") == 0 || strcmp(r->method, "PUT") == 0 ||
           strcmp(r->method, "PATCH") == 0;
}

/* What libcurl adds by itself is taken away. Its signature, however, covers a header that was
 * taken away (7.88), and a type that is not signed is not to be sent. */
static void set_headers(struct http_exchange *x, const struct http_request *r)
{
    bool has_type = has_header(r, "Content-Type");
    for (size_t i = 0; i < r->header_count; i++)
        add_header(x, r->headers[i].name, r->headers[i].value);
    if (!r->sign)
        add_line(x, &x->header_lines, "Expect:");
    if (!r->sign && !has_type)
        add_line(x, &x->header_lines, "Content-Type:");
    if (r->sign && !has_type && has_body(r))
        add_header(x, "Content-Type", "application/octet-stream");
    if (r->sign && r->sign->session_token)
        add_header(x, "X-Amz-Security-Token", r->sign->session_token);
    SET(x, CURLOPT_HTTPHEADER, x->header_lines);
}

static void set_method(struct http_exchange *x, const struct http_request *r)
{
    if (strcmp(r->method, "HEAD") == 0) {
        SET(x, CURLOPT_NOBODY, 1L);
        return;
    }
    if (has_body(r)) {
        size_t len = x->body_len = r->body ? r->body_len : 0;
        x->body = mem_alloc(len + 1);
        if (len > 0)
            memcpy(x->body, r->body, len);
        SET(x, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
        SET(x, CURLOPT_POSTFIELDS, x->body);
    }
    SET(x, CURLOPT_CUSTOMREQUEST, r->method);
}

/* With it, name and password are nothing but the key: no Authorization: Basic. */
static void set_signature(struct http_exchange *x, const struct http_sign *sign)
{
    char *how = mem_printf("aws:amz:%s:%s", sign->region, sign->service);
    SET(x, CURLOPT_AWS_SIGV4, how);
    SET(x, CURLOPT_USERNAME, sign->access_key);
    SET(x, CURLOPT_PASSWORD, sign->secret_key);
    free(how);
}

static void set_policy(struct http_exchange *x)
{
    SET(x, CURLOPT_NOSIGNAL, 1L);
    SET(x, CURLOPT_QUICK_EXIT, 1L); /* else removing a handle waits for a name look-up */
    SET(x, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(x, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(x, CURLOPT_PROXY, "");
    SET(x, CURLOPT_NOPROXY, "*");
    SET(x, CURLOPT_PATH_AS_IS, 1L); /* the path is part of what is signed */
    SET(x, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(x, CURLOPT_CAPATH, NULL); /* a directory switches off the cache of CA certificates */
    SET(x, CURLOPT_CAINFO, x->share->client->ca_file);
}

static void set_callbacks(struct http_exchange *x)
{
    SET(x, CURLOPT_PRIVATE, x);
    SET(x, CURLOPT_ERRORBUFFER, x->curl_message);
    SET(x, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(x, CURLOPT_OPENSOCKETDATA, x);
    SET(x, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
    SET(x, CURLOPT_CLOSESOCKETDATA, x->share->client); /* outlives the exchange */
    SET(x, CURLOPT_PREREQFUNCTION, before_sending);
    SET(x, CURLOPT_PREREQDATA, x);
    SET(x, CURLOPT_HEADERFUNCTION, take_head);
    SET(x, CURLOPT_HEADERDATA, x);
    SET(x, CURLOPT_WRITEFUNCTION, take_body);
    SET(x, CURLOPT_WRITEDATA, x);
}

/* A new easy handle each time: a recycled one would carry one session's state to another. */
static bool prepare_easy(struct http_exchange *x, const struct http_request *r)
{
    x->easy = curl_easy_init();
    if (!x->easy)
        return false;
    SET(x, CURLOPT_SHARE, x->share->curl);
    SET(x, CURLOPT_URL, r->url);
    SET(x, CURLOPT_UNIX_SOCKET_PATH, r->unix_socket);
    set_callbacks(x);
    set_policy(x);
    set_method(x, r);
    set_headers(x, r);
    if (r->sign)
        set_signature(x, r->sign);
    if (x->is_unix || x->share->exchanges > x->share->max_idle)
        SET(x, CURLOPT_FORBID_REUSE, 1L);
    return x->setup == CURLE_OK;
}

static bool start_easy(struct http_exchange *x)
{
    int64_t left_ms = x->started_ms + x->connect_ms - loop_now_ms(x->share->client->loop);
    SET(x, CURLOPT_CONNECTTIMEOUT_MS, (long)(left_ms > 1 ? left_ms : 1));
    return x->setup == CURLE_OK &&
           curl_multi_add_handle(x->share->client->curl.multi, x->easy) == CURLM_OK;
}

static void refused_by_libcurl(struct http_exchange *x)
{
    fail(x, ERR_INTERNAL, "libcurl: %s", curl_easy_strerror(x->setup));
    end_exchange(x);
}

/* ---- the address behind a name */

/* NULL: the URL has a numeric host, or is nothing that we fetch. */
static char *name_in(const char *url)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *name = NULL;
    struct in_addr numeric;
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        strncmp(scheme, "http", 4) == 0 && host[0] != '[' &&
        inet_pton(AF_INET, host, &numeric) != 1)
        name = mem_strdup(host);
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return name;
}

/* The connection goes to the address; Host, SNI and the certificate's check keep the name. */
static void connect_to(struct http_exchange *x, const char *address)
{
    char line[RESOLVE_TEXT_SIZE + sizeof "::[]:"];
    bool is_ipv6 = strchr(address, ':');
    mem_copy_string(x->address, sizeof x->address, address);
    snprintf(line, sizeof line, is_ipv6 ? "::[%s]:" : "::%s:", address);
    add_line(x, &x->connect_to, line);
    SET(x, CURLOPT_CONNECT_TO, x->connect_to);
}

static void take_address(void *arg, const struct error *e, const char *address)
{
    struct http_exchange *x = arg;
    x->naming = NULL;
    timer_stop(&x->resolve);
    if (x->ended)
        return;
    if (e) {
        fail(x, ERR_CONNECT, "%s", e->message);
        end_exchange(x);
        return;
    }
    connect_to(x, address);
    if (!start_easy(x))
        refused_by_libcurl(x);
}

static void ask_address(struct http_exchange *x)
{
    timer_arm(&x->resolve, x->connect_ms);
    x->naming =
        names_ask(x->share->client->names, &x->share->addresses, x->host, take_address, x);
}

/* ---- the start */

static void start(struct http_exchange *x, const struct http_request *r)
{
    if (request_check(r, &x->error) != ERR_NONE) {
        end_exchange(x);
        return;
    }
    timer_arm(&x->total, x->total_ms);
    if (!x->is_unix)
        x->host = name_in(r->url);
    if (!prepare_easy(x, r))
        refused_by_libcurl(x);
    else if (x->host)
        ask_address(x);
    else if (!start_easy(x))
        refused_by_libcurl(x);
}

struct http_exchange *http_start(struct http_share *s, const struct http_request *r,
                                 http_done_fn *done, void *arg)
{
    struct http_exchange *x = mem_alloc(sizeof *x);
    struct loop *loop = s->client->loop;
    x->share = s;
    x->done = done;
    x->arg = arg;
    x->connect_ms = r->connect_timeout_ms;
    if (x->connect_ms > INT_MAX) /* libcurl's limit for time-outs */
        x->connect_ms = INT_MAX;
    x->first_byte_ms = r->first_byte_timeout_ms;
    x->total_ms = r->total_timeout_ms;
    x->started_ms = loop_now_ms(loop);
    x->max_answer = r->max_answer;
    x->on_data = r->on_data;
    x->is_unix = r->unix_socket != NULL;
    x->silence_due = !x->is_unix && r->url && strncasecmp(r->url, "https:", 6) != 0;
    task_init(&x->hand_over, loop, hand_over, x);
    task_init(&x->deliver, loop, deliver, x);
    timer_init(&x->resolve, loop, resolve_missed, x);
    timer_init(&x->first_byte, loop, first_byte_missed, x);
    timer_init(&x->total, loop, total_missed, x);
    s->exchanges++;
    s->client->stats.exchanges++;
    start(x, r);
    return x;
}

/* ---- shares */

struct http_share *http_share_new(struct http_client *c, unsigned max_idle)
{
    struct http_share *s = mem_alloc(sizeof *s);
    s->client = c;
    s->id = ++c->last_share_id;
    s->max_idle = max_idle;
    s->curl = curl_share_init();
    if (!s->curl ||
        curl_share_setopt(s->curl, CURLSHOPT_SHARE, CURL_LOCK_DATA_CONNECT) != CURLSHE_OK ||
        curl_share_setopt(s->curl, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK ||
        curl_share_setopt(s->curl, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK) {
        log_error("http.no_share");
        abort();
    }
    if (max_idle > c->max_idle) {
        c->max_idle = max_idle;
        curl_multi_setopt(c->curl.multi, CURLMOPT_MAXCONNECTS, (long)max_idle);
    }
    c->stats.shares++;
    return s;
}

void http_share_free(struct http_share *s)
{
    if (!s)
        return;
    assert(s->exchanges == 0);
    s->client->stats.shares--;
    curl_share_cleanup(s->curl);
    names_user_free(&s->addresses);
    free(s);
}

/* ---- the client */

static void must(bool done, const char *what)
{
    if (done)
        return;
    log_error("http.no_curl", KV("what", what));
    abort();
}

/* The first that is set, as the AWS tools, curl and OpenSSL call it. */
static const char *find_ca_file(void)
{
    static const char *const variables[] = {"AWS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) {
        const char *path = getenv(variables[i]);
        if (path && *path)
            return path;
    }
    return "/etc/ssl/certs/ca-certificates.crt";
}

struct http_client *http_client_new(struct loop *loop)
{
    struct http_client *c = mem_alloc(sizeof *c);
    c->loop = loop;
    c->names = names_new(loop);
    c->ca_file = mem_strdup(find_ca_file());
    ledger_init(&c->ledger);
    must(curl_global_init_mem(CURL_GLOBAL_DEFAULT, wipe_malloc, wipe_free, wipe_realloc,
                              wipe_strdup, wipe_calloc) == CURLE_OK,
         "library");
    must(curl_loop_open(&c->curl, loop, conclude), "multi handle");
    return c;
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    curl_loop_close(&c->curl);
    names_free(c->names);
    ledger_free(&c->ledger);
    curl_global_cleanup();
    free(c->ca_file);
    free(c);
}

void http_client_get_stats(const struct http_client *c, struct http_client_stats *out)
{
    *out = c->stats;
    out->connections_open = c->ledger.open;
    out->connections_opened = c->ledger.opened;
}
