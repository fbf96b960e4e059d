#include "http/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"

/* OpenSSL fails here only without memory or without a SHA-256: both end the process. */
static void require(bool ok)
{
    if (!ok) {
        log_error("proof.crypto_failed");
        abort();
    }
}

static void hmac(uint8_t out[32], const uint8_t key[PROOF_SECRET_SIZE], const struct buf *text)
{
    size_t len = 0;
    require(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, key, PROOF_SECRET_SIZE,
                      (const unsigned char *)text->data, text->len, out, 32, &len) &&
            len == 32);
}

static void hmac_hex(char out[PROOF_HEX_SIZE], const uint8_t key[PROOF_SECRET_SIZE],
                     const struct buf *text)
{
    uint8_t mac[32];
    hmac(mac, key, text);
    hex_encode(out, mac, sizeof mac);
}

static void digest_hex(char out[PROOF_HEX_SIZE], const void *data, size_t size)
{
    uint8_t digest[32];
    size_t len = 0;
    require(EVP_Q_digest(NULL, "SHA256", NULL, size ? data : "", size, digest, &len) &&
            len == sizeof digest);
    hex_encode(out, digest, sizeof digest);
}

void proof_secret(uint8_t out[PROOF_SECRET_SIZE], const uint8_t master[PROOF_SECRET_SIZE],
                  const char *session, unsigned attempt)
{
    struct buf text = {0};
    buf_printf(&text, "session\n%s\n%u", session, attempt);
    hmac(out, master, &text);
    buf_free(&text);
}

void proof_nonce(char out[PROOF_NONCE_SIZE], const uint8_t random[16])
{
    hex_encode(out, random, 16);
}

bool proof_nonce_valid(const char *nonce)
{
    return nonce && strspn(nonce, "0123456789abcdefABCDEF") == PROOF_NONCE_SIZE - 1 &&
           nonce[PROOF_NONCE_SIZE - 1] == '\0';
}

void proof_request(char out[PROOF_HEX_SIZE], const uint8_t secret[PROOF_SECRET_SIZE],
                   const char *method, const char *path, const char *session, unsigned attempt,
                   const char *nonce, const void *body, size_t body_len)
{
    char digest[PROOF_HEX_SIZE];
    struct buf text = {0};
    digest_hex(digest, body, body_len);
    buf_printf(&text, "request\n%s\n%s\n%s\n%u\n%s\n%s", method, path, session, attempt, nonce,
               digest);
    hmac_hex(out, secret, &text);
    buf_free(&text);
}

void proof_answer(char out[PROOF_HEX_SIZE], const uint8_t secret[PROOF_SECRET_SIZE],
                  const char *nonce, const char *session, unsigned attempt, const char *address,
                  int status)
{
    struct buf text = {0};
    buf_printf(&text, "answer\n%s\n%s\n%u\n%s\n%d", nonce, session, attempt, address, status);
    hmac_hex(out, secret, &text);
    buf_free(&text);
}

bool proof_equal(const char *a, const char *b)
{
    if (!a || !b)
        return false;
    size_t len = strlen(a);
    return len == strlen(b) && CRYPTO_memcmp(a, b, len) == 0;
}
