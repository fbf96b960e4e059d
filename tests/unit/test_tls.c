/* The client and https: a CA, a server and names made for the test. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/buf.h"
#include "base/mem.h"
#include "dns_help.h"
#include "fetch.h"
#include "http/client.h"

#define IP "127.71.3.1"
#define DEAF_IP "127.71.3.2"
#define PORT "21157"
#define URL(host) "https://" host ":" PORT "/"

static char dir[] = "/tmp/cleat-tls-XXXXXX";
static pid_t server;

/* ---- the server */

static void run(const char *command)
{
    char *line = mem_printf("cd %s && { %s; } >log 2>&1", dir, command);
    if (system(line) != 0)
        fail_msg("failed: %s", line);
    free(line);
}

static void make_certificates(void)
{
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj '/CN=test CA' -keyout ca.key -out ca.pem");
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj '/CN=server' "
        "-keyout server.key -out server.csr");
    run("printf 'subjectAltName=DNS:alb.test,DNS:*.wild.test\\n' >names");
    run("openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 "
        "-extfile names -out server.pem");
    run("printf nonsense >broken.pem");
}

static bool accepts(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(PORT))};
    inet_pton(AF_INET, IP, &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool done = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    close(fd);
    return done;
}

/* Answers each request with a page about its connection, and closes it. */
static void start_server(void)
{
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open("/dev/null", O_RDWR);
        dup2(fd, 0);
        dup2(fd, 1);
        dup2(fd, 2);
        if (chdir(dir) == 0)
            execlp("openssl", "openssl", "s_server", "-accept", IP ":" PORT, "-cert",
                   "server.pem", "-key", "server.key", "-www", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; !accepts(); i++) {
        assert_true(i < 500);
        usleep(10000);
    }
}

static int start(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    make_certificates();
    start_server();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    char *line = mem_printf("rm -rf %s", dir);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    int result = system(line);
    free(line);
    return result;
}

/* ---- a bench */

struct bench {
    struct world world;
    struct dns *dns;
    struct http_share *share;
    struct got got;
};

static void use_ca(const char *variable, const char *file)
{
    char *path = mem_printf("%s/%s", dir, file);
    setenv(variable, path, 1);
    free(path);
}

static void open_world(struct bench *b)
{
    world_open(&b->world);
    b->dns = dns_open(b->world.loop);
    dns_say(b->dns, "alb.test", DNS_TRUTH, IP, 60);
    dns_say(b->dns, "other.test", DNS_TRUTH, IP, 60);
    dns_say(b->dns, "a.wild.test", DNS_TRUTH, IP, 60);
    b->world.fds = count_fds();
    b->share = http_share_new(b->world.client, 4);
}

static void close_world(struct bench *b)
{
    got_clear(&b->got);
    http_share_free(b->share);
    assert_int_equal(count_fds(), b->world.fds);
    dns_close(b->dns);
    b->world.fds = count_fds();
    world_close(&b->world);
}

static int clear_environment(void **state)
{
    (void)state;
    unsetenv("AWS_CA_BUNDLE");
    unsetenv("CURL_CA_BUNDLE");
    unsetenv("SSL_CERT_FILE");
    return 0;
}

static int open_bench(void **state)
{
    struct bench *b = mem_alloc(sizeof *b);
    clear_environment(state);
    use_ca("AWS_CA_BUNDLE", "ca.pem");
    open_world(b);
    *state = b;
    return 0;
}

static int close_bench(void **state)
{
    struct bench *b = *state;
    close_world(b);
    free(b);
    return clear_environment(NULL);
}

static void expect_page(struct bench *b, const char *url)
{
    fetch_url(&b->got, &b->world, b->share, url);
    assert_string_equal(b->got.answer.error.message, "");
    assert_int_equal(b->got.answer.status, 200);
    assert_non_null(strstr(b->got.body, "Cipher"));
}

static void expect_refusal(struct bench *b, const char *url, const char *why)
{
    fetch_url(&b->got, &b->world, b->share, url);
    assert_string_equal(error_name(b->got.answer.error.code), error_name(ERR_CONNECT));
    assert_false(b->got.answer.sent);
    if (!strstr(b->got.answer.error.message, why))
        fail_msg("\"%s\" is not in: %s", why, b->got.answer.error.message);
}

/* ---- names */

static void test_verified_by_name(void **state)
{
    struct bench *b = *state;
    expect_page(b, URL("alb.test"));
    assert_memory_equal(b->got.answer.connection, "127.", 4);
    expect_page(b, URL("a.wild.test"));
    expect_refusal(b, URL("other.test"), "other.test");
    expect_refusal(b, URL(IP), IP);
}

/* A peer that takes the connection and says nothing: the handshake is part of connecting. */
static void test_silent_handshake(void **state)
{
    struct bench *b = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(PORT))};
    struct http_request r = request_to(URL("alb.test"));
    inet_pton(AF_INET, DEAF_IP, &a.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 4), 0);
    dns_say(b->dns, "alb.test", DNS_TRUTH, DEAF_IP " " IP, 60);
    r.connect_timeout_ms = 100;
    fetch(&b->got, &b->world, b->share, &r);
    assert_int_equal(b->got.answer.error.code, ERR_TIMEOUT);
    assert_false(b->got.answer.sent);
    expect_page(b, URL("alb.test")); /* by the other address */
    close(fd);
}

/* ---- certificates of CAs */

static void expect_with(struct bench *b, const char *why)
{
    open_world(b);
    if (why)
        expect_refusal(b, URL("alb.test"), why);
    else
        expect_page(b, URL("alb.test"));
    close_world(b);
    b->got = (struct got){0};
}

static void test_ca_file(void **state)
{
    struct bench b = {0};
    (void)state;
    expect_with(&b, "certificate"); /* the system's do not know it */
    use_ca("SSL_CERT_FILE", "ca.pem");
    expect_with(&b, NULL);
    use_ca("CURL_CA_BUNDLE", "broken.pem");
    expect_with(&b, "broken.pem");
    use_ca("AWS_CA_BUNDLE", "ca.pem");
    expect_with(&b, NULL);
    use_ca("AWS_CA_BUNDLE", "missing.pem");
    expect_with(&b, "missing.pem");
    setenv("AWS_CA_BUNDLE", "", 1);
    use_ca("CURL_CA_BUNDLE", "ca.pem");
    expect_with(&b, NULL);
}

/* The file is read once, not for each connection: it may go. */
static void test_ca_file_is_kept(void **state)
{
    struct bench b = {0};
    (void)state;
    run("cp ca.pem passing.pem");
    use_ca("SSL_CERT_FILE", "passing.pem");
    open_world(&b);
    expect_page(&b, URL("alb.test"));
    run("rm passing.pem");
    for (int i = 0; i < 3; i++) {
        struct http_share *share = http_share_new(b.world.client, 1);
        fetch_url(&b.got, &b.world, share, URL("alb.test"));
        assert_string_equal(b.got.answer.error.message, "");
        http_share_free(share);
    }
    close_world(&b);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, open_bench, close_bench)
#define BARE(fn) cmocka_unit_test_setup_teardown(fn, clear_environment, clear_environment)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_verified_by_name),
        CASE(test_silent_handshake),
        BARE(test_ca_file),
        BARE(test_ca_file_is_kept),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
