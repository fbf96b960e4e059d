/* Signed requests: what arrives is signed as "Signature Version 4" of the AWS General Reference
 * says. */
#include <ctype.h>
#include <fcntl.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "dns_help.h"
#include "fetch.h"
#include "http/client.h"
#include "peer.h"

#define IP "127.71.2.1"
#define PORT "21156"
#define ACCESS_KEY "AKIDEXAMPLE"
#define SECRET_KEY "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define TARGET "AmazonEC2ContainerServiceV20141113.ListTasks"

static const struct peer_act acts[] = {
    {"/", PEER_ECHO, PEER_KEEP},
    {"/a%20b/c~d", PEER_ECHO, PEER_KEEP},
    {"/denied",
     "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
     PEER_KEEP},
    {NULL, NULL, PEER_KEEP},
};
static struct peer *peer;

static int start_peer(void **state)
{
    (void)state;
    peer = peer_start(IP, (uint16_t)atoi(PORT), acts);
    return 0;
}

static int stop_peer(void **state)
{
    (void)state;
    peer_stop(peer);
    return 0;
}

/* ---- the signature, from the request's text */

static void hex_sha256(const void *data, size_t len, char out[65])
{
    unsigned char digest[32];
    SHA256(data, len, digest);
    for (size_t i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* out may be key. */
static void hmac(const unsigned char *key, size_t key_len, const char *text,
                 unsigned char out[32])
{
    unsigned char digest[32];
    HMAC(EVP_sha256(), key, (int)key_len, (const unsigned char *)text, strlen(text), digest,
         NULL);
    memcpy(out, digest, sizeof digest);
}

/* The value of the only header of that name, "" when there is none. */
static void header_of(const char *request, const char *name, size_t name_len, char out[1024])
{
    const char *end = strstr(request, "\r\n\r\n");
    int count = 0;
    out[0] = '\0';
    for (const char *line = strstr(request, "\r\n"); line && line < end;
         line = strstr(line + 2, "\r\n")) {
        const char *s = line + 2;
        if (strncasecmp(s, name, name_len) != 0 || s[name_len] != ':')
            continue;
        s += name_len + 1;
        s += strspn(s, " ");
        snprintf(out, 1024, "%.*s", (int)strcspn(s, "\r"), s);
        count++;
    }
    assert_true(count <= 1);
}

static void add_lower(struct buf *b, const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = (char)tolower((unsigned char)s[i]);
        buf_add(b, &c, 1);
    }
}

/* names: "a;b;c", which must be sorted. */
static void add_canonical_headers(struct buf *b, const char *request, const char *names)
{
    char last[256] = "";
    for (const char *s = names; *s; s += s[strcspn(s, ";")] ? strcspn(s, ";") + 1 : strlen(s)) {
        char name[256], value[1024];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(s, ";"), s);
        assert_true(strcmp(last, name) < 0);
        memcpy(last, name, sizeof last);
        header_of(request, name, strlen(name), value);
        assert_int_not_equal(strlen(value), 0);
        add_lower(b, name, strlen(name));
        buf_printf(b, ":%s\n", value);
    }
}

struct scope {
    char date[1024], region[64], service[64];
};

static void sign(const char *canonical, const struct scope *s, const char *secret, char out[65])
{
    char digest[65], first[128], day[9];
    unsigned char key[32];
    struct buf text = {0};
    snprintf(day, sizeof day, "%.8s", s->date);
    hex_sha256(canonical, strlen(canonical), digest);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", s->date, day,
               s->region, s->service, digest);
    snprintf(first, sizeof first, "AWS4%s", secret);
    hmac((const unsigned char *)first, strlen(first), day, key);
    hmac(key, 32, s->region, key);
    hmac(key, 32, s->service, key);
    hmac(key, 32, "aws4_request", key);
    hmac(key, 32, text.data, key);
    for (size_t i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", key[i]);
    buf_free(&text);
}

/* The Authorization that the request should have. names: of the signed headers. */
static char *authorization(const char *request, size_t len, const char *names,
                           const struct scope *s)
{
    struct buf canonical = {0};
    char payload[1024], signature[65];
    const char *body = strstr(request, "\r\n\r\n") + 4;
    const char *target = strchr(request, ' ') + 1;
    size_t path = strcspn(target, "? "), query = strcspn(target, " ") - path;
    header_of(request, "x-amz-content-sha256", 20, payload);
    if (!payload[0])
        hex_sha256(body, len - (size_t)(body - request), payload);
    buf_printf(&canonical, "%.*s\n%.*s\n%.*s\n", (int)(target - 1 - request), request,
               (int)path, target, query > 0 ? (int)query - 1 : 0, target + path + 1);
    add_canonical_headers(&canonical, request, names);
    buf_printf(&canonical, "\n%s\n%s", names, payload);
    sign(canonical.data, s, SECRET_KEY, signature);
    buf_free(&canonical);
    return mem_printf("AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request, "
                      "SignedHeaders=%s, Signature=%s",
                      ACCESS_KEY, s->date, s->region, s->service, names, signature);
}

/* The sum above against botocore 1.29.27. */
static void test_known_value(void **state)
{
    (void)state;
    static const char request[] = "POST / HTTP/1.1\r\n"
                                  "Host: ecs.test:21156\r\n"
                                  "X-Amz-Target: " TARGET "\r\n"
                                  "Content-Type: application/x-amz-json-1.1\r\n"
                                  "X-Amz-Date: 20260102T030405Z\r\n"
                                  "X-Amz-Security-Token: token/+=\r\n"
                                  "\r\n"
                                  "{\"cluster\":\"a\"}";
    const struct scope scope = {"20260102T030405Z", "eu-central-1", "ecs"};
    char *is =
        authorization(request, strlen(request),
                      "content-type;host;x-amz-date;x-amz-security-token;x-amz-target", &scope);
    assert_non_null(strstr(
        is, "Signature=05776c0ff58b429773343dd128ad6d8965356d742941b41f8f03f2dcc32408bb"));
    free(is);
}

/* ---- requests */

struct bench {
    struct world world;
    struct dns *dns;
    struct http_share *share;
    struct got got;
};

static int open_bench(void **state)
{
    struct bench *b = mem_alloc(sizeof *b);
    world_open(&b->world);
    b->dns = dns_open(b->world.loop);
    dns_say(b->dns, "ecs.test", DNS_TRUTH, IP, 60);
    b->world.fds = count_fds();
    b->share = http_share_new(b->world.client, 4);
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    got_clear(&b->got);
    http_share_free(b->share);
    assert_int_equal(count_fds(), b->world.fds);
    dns_close(b->dns);
    b->world.fds = count_fds();
    world_close(&b->world);
    free(b);
    return 0;
}

static const struct http_sign ecs = {"eu-central-1", "ecs", ACCESS_KEY, SECRET_KEY, NULL};
static const struct http_sign s3 = {"us-east-1", "s3", ACCESS_KEY, SECRET_KEY, "token/+="};

static void expect_signed(struct bench *b, const struct http_request *r, const char *names)
{
    struct scope scope;
    char is[1024];
    fetch(&b->got, &b->world, b->share, r);
    assert_string_equal(b->got.answer.error.message, "");
    mem_copy_string(scope.region, sizeof scope.region, r->sign->region);
    mem_copy_string(scope.service, sizeof scope.service, r->sign->service);
    header_of(b->got.body, "X-Amz-Date", 10, scope.date);
    header_of(b->got.body, "Authorization", 13, is);
    char *wanted = authorization(b->got.body, b->got.answer.body_len, names, &scope);
    assert_string_equal(is, wanted);
    assert_null(strcasestr(b->got.body, "basic"));
    assert_null(strcasestr(b->got.body, "expect"));
    free(wanted);
}

static struct http_request signed_request(const char *method, const char *path,
                                          const struct http_sign *sign)
{
    static char url[256];
    snprintf(url, sizeof url, "http://ecs.test:%s%s", PORT, path);
    struct http_request r = request_to(url);
    r.method = method;
    r.sign = sign;
    return r;
}

static void test_json(void **state)
{
    struct bench *b = *state;
    const struct http_header headers[] = {{"X-Amz-Target", TARGET},
                                          {"Content-Type", "application/x-amz-json-1.1"}};
    struct http_request r = signed_request("POST", "/", &ecs);
    struct http_sign with_token = ecs;
    with_token.session_token = "token/+=";
    r.headers = headers;
    r.header_count = 2;
    r.body = "{\"cluster\":\"a\"}";
    r.body_len = strlen(r.body);
    expect_signed(b, &r, "content-type;host;x-amz-date;x-amz-target");
    r.sign = &with_token;
    expect_signed(b, &r, "content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
    assert_non_null(strstr(b->got.body, "\r\nX-Amz-Security-Token: token/+=\r\n"));
    r.url = "http://" IP ":" PORT "/";
    expect_signed(b, &r, "content-type;host;x-amz-date;x-amz-security-token;x-amz-target");
}

static void test_objects(void **state)
{
    struct bench *b = *state;
    char body[70000] = "a\0b", hash[65];
    hex_sha256(body, sizeof body, hash);
    struct http_header headers[] = {{"x-amz-content-sha256", "UNSIGNED-PAYLOAD"},
                                    {"x-amz-copy-source", "/bucket/a%20b"}};
    struct http_request r =
        signed_request("GET", "/a%20b/c~d?list-type=2&prefix=a%2Fb%20c", &s3);
    r.headers = headers;
    r.header_count = 1;
    expect_signed(b, &r, "host;x-amz-content-sha256;x-amz-date;x-amz-security-token");
    r = signed_request("DELETE", "/?uploadId=x", &s3);
    r.headers = headers;
    r.header_count = 1;
    expect_signed(b, &r, "host;x-amz-content-sha256;x-amz-date;x-amz-security-token");
    r = signed_request("POST", "/?uploads=", &s3);
    r.headers = headers;
    r.header_count = 1;
    expect_signed(b, &r,
                  "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token");
    r = signed_request("PUT", "/a%20b/c~d?partNumber=1&uploadId=x", &s3);
    headers[0].value = hash;
    r.headers = headers;
    r.header_count = 2;
    r.body = body;
    r.body_len = sizeof body;
    expect_signed(b, &r,
                  "content-type;host;x-amz-content-sha256;x-amz-copy-source;x-amz-date;"
                  "x-amz-security-token");
    assert_non_null(strstr(b->got.body, "\r\nContent-Type: application/octet-stream\r\n"));
}

/* A refusal that asks for a password gets none, and the request is not repeated. */
static void test_denied(void **state)
{
    struct bench *b = *state;
    struct http_request r = signed_request("GET", "/denied", &ecs);
    unsigned before = peer_count(peer, "/denied");
    fetch(&b->got, &b->world, b->share, &r);
    assert_int_equal(b->got.answer.error.code, ERR_NONE);
    assert_int_equal(b->got.answer.status, 401);
    assert_int_equal(peer_count(peer, "/denied"), before + 1);
}

/* The next request of the share, unsigned, has nothing of the key. */
static void test_unsigned_after_signed(void **state)
{
    struct bench *b = *state;
    struct http_request r = signed_request("GET", "/", &s3);
    const struct http_header hash = {"x-amz-content-sha256", "UNSIGNED-PAYLOAD"};
    r.headers = &hash;
    r.header_count = 1;
    expect_signed(b, &r, "host;x-amz-content-sha256;x-amz-date;x-amz-security-token");
    r.sign = NULL;
    fetch(&b->got, &b->world, b->share, &r);
    assert_int_equal(b->got.answer.error.code, ERR_NONE);
    assert_null(strcasestr(b->got.body, "Authorization"));
    assert_null(strcasestr(b->got.body, "X-Amz-Date"));
    assert_null(strcasestr(b->got.body, "token"));
    assert_int_equal(world_stats(&b->world).connections_opened, 1);
}

static void test_refused(void **state)
{
    struct bench *b = *state;
    static const struct http_header bad[][2] = {
        {{"Date", "x"}, {"A", "1"}},
        {{"x-amz-date", "x"}, {"A", "1"}},
        {{"authorization", "x"}, {"A", "1"}},
        {{"X-Amz-Security-Token", "x"}, {"A", "1"}},
        {{"A", "1"}, {"X-Empty", " "}},
        {{"x-amz-copy-source-range", "bytes=0-1"}, {"X-Amz-Copy-Source", "/a/b"}},
        {{"X-Amz-Meta", "1"}, {"x-amz-meta", "1"}},
    };
    struct http_sign signs[] = {s3, s3, s3, s3, s3, s3};
    signs[0].region = "";
    signs[1].service = NULL;
    signs[2].access_key = NULL;
    signs[3].secret_key = "";
    signs[4].region = "eu:west";
    signs[5].session_token = "a\r\nX: b";
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct http_request r = signed_request("GET", "/", &s3);
        r.headers = bad[i];
        r.header_count = 2;
        fetch(&b->got, &b->world, b->share, &r);
        assert_int_equal(b->got.answer.error.code, ERR_INVALID);
    }
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        struct http_request r = signed_request("GET", "/", &signs[i]);
        fetch(&b->got, &b->world, b->share, &r);
        assert_int_equal(b->got.answer.error.code, ERR_INVALID);
    }
    assert_int_equal(world_stats(&b->world).connections_opened, 0);
}

/* ---- the key's traces */

/* AddressSanitizer by itself overwrites what is freed. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "max_free_fill_size=0";
}

/* How often the secret's end, given with every byte inverted, is in our writable memory. An
 * allocator writes over the beginning of what is freed. The search leaves no copy of its own: no
 * stdio buffer, nothing that a compiler may leave unwiped. */
static size_t traces_of(const unsigned char *inverted, size_t len)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    char line[512];
    size_t found = 0;
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char rights[8], name[256] = "";
        if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255s", &from, &to, rights, name) < 3 ||
            rights[1] != 'w' || to - from > 256U << 20)
            continue;
        unsigned char *copy = malloc(to - from);
        ssize_t some = pread(mem, copy, to - from, (off_t)from);
        size_t got = some > 0 ? (size_t)some : 0;
        for (size_t i = 0; i + len <= got; i++) {
            size_t k = 0;
            while (k < len && (unsigned char)~copy[i + k] == inverted[k])
                k++;
            found += k == len;
        }
        mem_wipe(copy, to - from);
        free(copy);
    }
    fclose(maps);
    close(mem);
    return found;
}

static void test_key_is_wiped(void **state)
{
    struct bench *b = *state;
    unsigned char inverted[40];
    char *key = mem_alloc(sizeof inverted + 1);
    for (size_t i = 0; i < sizeof inverted; i++) {
        inverted[i] = (unsigned char)~(unsigned)('a' + (int)(i * 7 % 26));
        key[i] = (char)~inverted[i];
    }
    struct http_sign with_key = ecs;
    with_key.secret_key = key;
    struct http_request r = signed_request("GET", "/", &with_key);
    assert_true(traces_of(inverted + 20, sizeof inverted - 20) >= 1);
    http_start(b->share, &r, keep_answer, &b->got);
    mem_wipe(key, sizeof inverted);
    assert_true(traces_of(inverted + 20, sizeof inverted - 20) >= 1); /* a copy */
    wait_calls(&b->world, &b->got.calls, 1);
    assert_int_equal(b->got.answer.error.code, ERR_NONE);
    http_share_free(b->share); /* libcurl keeps it with the connection */
    b->share = NULL;
    assert_int_equal(traces_of(inverted + 20, sizeof inverted - 20), 0);
    free(key);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_value),
        CASE(test_json),
        CASE(test_objects),
        CASE(test_denied),
        CASE(test_unsigned_after_signed),
        CASE(test_refused),
        CASE(test_key_is_wiped),
    };
    return cmocka_run_group_tests(tests, start_peer, stop_peer);
}
