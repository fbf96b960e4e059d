/* The proofs against OpenSSL's command line, which shares neither our text nor our calls. */
#include "http/proof.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"

static unsigned seed = 5;

static void fill(void *to, size_t len)
{
    unsigned char *p = to;
    while (len--)
        *p++ = (unsigned char)(rand_r(&seed) >> 7);
}

/* What "openssl dgst OPTIONS" prints for these bytes: the digest alone. */
static void openssl(char out[PROOF_HEX_SIZE], const char *options, const void *data, size_t len)
{
    char command[256], line[512];
    char path[] = "/tmp/cleat-test-proof-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, data, len), len);
    close(fd);
    snprintf(command, sizeof command, "openssl dgst -sha256 -r %s %s", options, path);
    FILE *pipe = popen(command, "r");
    assert_non_null(fgets(line, sizeof line, pipe));
    assert_int_equal(pclose(pipe), 0);
    unlink(path);
    snprintf(out, PROOF_HEX_SIZE, "%.64s", line);
    assert_int_equal(strspn(out, "0123456789abcdef"), 64);
}

static void openssl_hmac(char out[PROOF_HEX_SIZE], const uint8_t key[PROOF_SECRET_SIZE],
                         const struct buf *text)
{
    char hex[65], options[160];
    hex_encode(hex, key, PROOF_SECRET_SIZE);
    snprintf(options, sizeof options, "-mac HMAC -macopt hexkey:%s", hex);
    openssl(out, options, text->data, text->len);
}

static const char *const sessions[] = {"0199a0b0-0000-7000-8000-000000000001", "s", ""};
static const unsigned attempts[] = {0, 1, 4294967295U};

static void test_secret(void **state)
{
    (void)state;
    for (int i = 0; i < 9; i++) {
        uint8_t master[32], secret[32];
        char hex[PROOF_HEX_SIZE], expected[PROOF_HEX_SIZE];
        struct buf text = {0};
        fill(master, sizeof master);
        proof_secret(secret, master, sessions[i % 3], attempts[i / 3]);
        hex_encode(hex, secret, sizeof secret);
        buf_printf(&text, "session\n%s\n%u", sessions[i % 3], attempts[i / 3]);
        openssl_hmac(expected, master, &text);
        assert_string_equal(hex, expected);
        buf_free(&text);
    }
}

static void test_request(void **state)
{
    static const char *const methods[] = {"GET", "POST", "DELETE"};
    static const char *const paths[] = {"/health", "/executions/1/output?offset=7&x=%0A", "/"};
    static const size_t sizes[] = {0, 1, 63, 64, 65, 5000};
    (void)state;
    for (int i = 0; i < 18; i++) {
        uint8_t secret[32], body[5000], random[16];
        char nonce[PROOF_NONCE_SIZE], digest[PROOF_HEX_SIZE], expected[PROOF_HEX_SIZE];
        char got[PROOF_HEX_SIZE];
        size_t len = sizes[i % 6];
        struct buf text = {0};
        fill(secret, sizeof secret);
        fill(random, sizeof random);
        fill(body, len);
        proof_nonce(nonce, random);
        openssl(digest, "", body, len);
        buf_printf(&text, "request\n%s\n%s\n%s\n%u\n%s\n%s", methods[i % 3], paths[i / 6],
                   sessions[i % 3], attempts[i / 6], nonce, digest);
        openssl_hmac(expected, secret, &text);
        proof_request(got, secret, methods[i % 3], paths[i / 6], sessions[i % 3],
                      attempts[i / 6], nonce, len ? body : NULL, len);
        assert_string_equal(got, expected);
        buf_free(&text);
    }
}

static void test_answer(void **state)
{
    static const int statuses[] = {200, 403, 503};
    (void)state;
    for (int i = 0; i < 9; i++) {
        uint8_t secret[32];
        char expected[PROOF_HEX_SIZE], got[PROOF_HEX_SIZE];
        struct buf text = {0};
        fill(secret, sizeof secret);
        buf_printf(&text, "answer\n%032d\n%s\n%u\n127.64.0.%d:8080\n%d", i, sessions[i % 3],
                   attempts[i / 3], i, statuses[i % 3]);
        openssl_hmac(expected, secret, &text);
        char nonce[PROOF_NONCE_SIZE], address[32];
        snprintf(nonce, sizeof nonce, "%032d", i);
        snprintf(address, sizeof address, "127.64.0.%d:8080", i);
        proof_answer(got, secret, nonce, sessions[i % 3], attempts[i / 3], address,
                     statuses[i % 3]);
        assert_string_equal(got, expected);
        buf_free(&text);
    }
}

static void test_every_field_counts(void **state)
{
    static const uint8_t secret[32] = "0123456789abcdef0123456789abcde", other[32] = "x";
    static const char nonce[] = "00112233445566778899aabbccddeeff";
    char base[PROOF_HEX_SIZE], p[8][PROOF_HEX_SIZE];
    (void)state;
    proof_request(base, secret, "GET", "/a", "s", 1, nonce, "b", 1);
    proof_request(p[0], other, "GET", "/a", "s", 1, nonce, "b", 1);
    proof_request(p[1], secret, "HEAD", "/a", "s", 1, nonce, "b", 1);
    proof_request(p[2], secret, "GET", "/a?", "s", 1, nonce, "b", 1);
    proof_request(p[3], secret, "GET", "/a", "t", 1, nonce, "b", 1);
    proof_request(p[4], secret, "GET", "/a", "s", 2, nonce, "b", 1);
    proof_request(p[5], secret, "GET", "/a", "s", 1, nonce + 1, "b", 1);
    proof_request(p[6], secret, "GET", "/a", "s", 1, nonce, "c", 1);
    proof_request(p[7], secret, "GET", "/a", "s", 1, nonce, "", 0);
    for (int i = 0; i < 8; i++) {
        assert_false(proof_equal(base, p[i]));
        for (int k = 0; k < i; k++)
            assert_false(proof_equal(p[k], p[i]));
    }
    proof_request(p[0], secret, "GET", "/a", "s", 1, nonce, "b", 1);
    assert_true(proof_equal(base, p[0]));
}

static void test_nonce(void **state)
{
    uint8_t random[16];
    char nonce[PROOF_NONCE_SIZE];
    (void)state;
    for (int i = 0; i < 16; i++)
        random[i] = (uint8_t)(i * 17);
    proof_nonce(nonce, random);
    assert_string_equal(nonce, "00112233445566778899aabbccddeeff");
    assert_true(proof_nonce_valid(nonce));
    assert_false(proof_nonce_valid(NULL));
    assert_false(proof_nonce_valid(""));
    assert_false(proof_nonce_valid(nonce + 1));
    assert_false(proof_nonce_valid("00112233445566778899aabbccddeeff0"));
    assert_false(proof_nonce_valid("00112233445566778899aabbccddeefg"));
    assert_false(proof_nonce_valid("0x112233445566778899aabbccddeeff"));
}

static void test_equal(void **state)
{
    (void)state;
    assert_true(proof_equal("abc", "abc"));
    assert_false(proof_equal("abc", "abd"));
    assert_false(proof_equal("abc", "ab"));
    assert_false(proof_equal("abc", "abcd"));
    assert_false(proof_equal(NULL, "abc"));
    assert_false(proof_equal("abc", NULL));
    assert_false(proof_equal(NULL, NULL));
}

/* ---- sealing */

static const uint8_t seal_secret[32] = {1, 2, 3};
static const uint8_t seal_random[PROOF_SEAL_RANDOM] = {9, 8, 7};

static void test_seal(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "x", "{\"access_key_id\":\"AKIA\"}"};
    for (size_t i = 0; i < 3; i++) {
        size_t len = strlen(texts[i]);
        char *hex = proof_seal(seal_secret, seal_random, texts[i], len), *text = NULL;
        assert_int_equal(strlen(hex), 2 * (12 + len + 16));
        assert_memory_equal(hex, "090807", 6);
        assert_null(len > 1 ? strstr(hex, "414b4941") : NULL); /* AKIA */
        assert_true(proof_open(seal_secret, hex, &text));
        assert_string_equal(text, texts[i]);
        free(text);
        free(hex);
    }
}

/* The same text by another implementation of AES-GCM (Python's cryptography 38), key and nonce
 * as the header says. */
static void test_seal_agrees_with_another(void **state)
{
    (void)state;
    char *hex = proof_seal(seal_secret, seal_random, "known text", 10);
    assert_string_equal(hex, "0908070000000000000000006238226917b2aa5d6725"
                             "0146bf0351efa0e8a0e6fc223d42c398");
    free(hex);
}

static void test_seal_tampered(void **state)
{
    (void)state;
    char *hex = proof_seal(seal_secret, seal_random, "secret text", 11), *text = NULL;
    for (size_t i = 0; hex[i]; i++) {
        char kept = hex[i];
        hex[i] = kept == '0' ? '1' : '0';
        assert_false(proof_open(seal_secret, hex, &text));
        hex[i] = kept;
    }
    for (size_t len = strlen(hex); len-- > 0;) { /* shortened */
        hex[len] = '\0';
        assert_false(proof_open(seal_secret, hex, &text));
    }
    free(hex);
    assert_false(proof_open(seal_secret, "zz", &text));
    assert_null(text);
}

static void test_seal_of_another_secret(void **state)
{
    (void)state;
    char *hex = proof_seal(seal_secret, seal_random, "secret text", 11), *text = NULL;
    for (size_t i = 0; i < 256; i++) {
        uint8_t other[32];
        memcpy(other, seal_secret, sizeof other);
        other[i / 8] ^= (uint8_t)(1 << i % 8);
        assert_false(proof_open(other, hex, &text));
    }
    free(hex);
    assert_null(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret),        cmocka_unit_test(test_request),
        cmocka_unit_test(test_answer),        cmocka_unit_test(test_every_field_counts),
        cmocka_unit_test(test_nonce),         cmocka_unit_test(test_equal),
        cmocka_unit_test(test_seal),          cmocka_unit_test(test_seal_agrees_with_another),
        cmocka_unit_test(test_seal_tampered), cmocka_unit_test(test_seal_of_another_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
