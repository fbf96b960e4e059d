#include "http/proof.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"

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

void proof_digest(char out[PROOF_HEX_SIZE], const void *data, size_t size)
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

void proof_label(char out[PROOF_HEX_SIZE], const uint8_t master[PROOF_SECRET_SIZE],
                 const char *session, const char *text)
{
    struct buf input = {0};
    buf_printf(&input, "label\n%s\n%s", session, text);
    hmac_hex(out, master, &input);
    buf_free(&input);
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
    proof_digest(digest, body, body_len);
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

/* ---- sealing */

#define TAG_SIZE 16

static void seal_key(uint8_t key[32], const uint8_t secret[PROOF_SECRET_SIZE])
{
    struct buf text = {0};
    buf_puts(&text, "credentials");
    hmac(key, secret, &text);
    buf_free(&text);
}

static EVP_CIPHER_CTX *start_cipher(const uint8_t secret[PROOF_SECRET_SIZE],
                                    const uint8_t nonce[PROOF_SEAL_RANDOM], bool encrypt)
{
    uint8_t key[32];
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    seal_key(key, secret);
    require(cipher &&
            EVP_CipherInit_ex(cipher, EVP_aes_256_gcm(), NULL, key, nonce, encrypt ? 1 : 0));
    mem_wipe(key, sizeof key);
    return cipher;
}

char *proof_seal(const uint8_t secret[PROOF_SECRET_SIZE],
                 const uint8_t random[PROOF_SEAL_RANDOM], const void *text, size_t len)
{
    size_t size = PROOF_SEAL_RANDOM + len + TAG_SIZE;
    uint8_t *sealed = mem_alloc(size);
    int done = 0, rest = 0;
    memcpy(sealed, random, PROOF_SEAL_RANDOM);
    EVP_CIPHER_CTX *cipher = start_cipher(secret, random, true);
    require(len < INT32_MAX &&
            EVP_EncryptUpdate(cipher, sealed + PROOF_SEAL_RANDOM, &done, text, (int)len));
    require(EVP_EncryptFinal_ex(cipher, sealed + PROOF_SEAL_RANDOM + done, &rest) &&
            (size_t)(done + rest) == len &&
            EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG_SIZE,
                                sealed + PROOF_SEAL_RANDOM + len));
    EVP_CIPHER_CTX_free(cipher);
    char *hex = mem_alloc(2 * size + 1);
    hex_encode(hex, sealed, size);
    free(sealed);
    return hex;
}

/* The bytes of a sealed text; its tag decides whether they become *text. */
static bool open_sealed(const uint8_t secret[PROOF_SECRET_SIZE], uint8_t *sealed, size_t len,
                        char *text)
{
    int done = 0, rest = 0;
    EVP_CIPHER_CTX *cipher = start_cipher(secret, sealed, false);
    uint8_t *body = sealed + PROOF_SEAL_RANDOM;
    bool ok = EVP_DecryptUpdate(cipher, (uint8_t *)text, &done, body, (int)len) &&
              EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_SET_TAG, TAG_SIZE, body + len) &&
              EVP_DecryptFinal_ex(cipher, (uint8_t *)text + done, &rest) > 0;
    EVP_CIPHER_CTX_free(cipher);
    return ok;
}

bool proof_open(const uint8_t secret[PROOF_SECRET_SIZE], const char *hex, char **text)
{
    size_t digits = strlen(hex), size = digits / 2;
    if (digits % 2 || size < PROOF_SEAL_RANDOM + TAG_SIZE || size > INT32_MAX)
        return false;
    size_t len = size - PROOF_SEAL_RANDOM - TAG_SIZE;
    uint8_t *sealed = mem_alloc(size);
    char *plain = mem_alloc(len + 1);
    bool ok = hex_decode(sealed, size, hex) && open_sealed(secret, sealed, len, plain);
    if (!ok)
        mem_wipe(plain, len);
    free(sealed);
    if (ok)
        *text = plain;
    else
        free(plain);
    return ok;
}
