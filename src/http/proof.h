/* Proof of identity between cleat and the executor. The secret never travels over HTTP.
 *
 * - request: X-Cleat-Session, X-Cleat-Attempt, X-Cleat-Nonce (32 hex digits) and X-Cleat-Proof,
 *   hex HMAC-SHA256(secret, "request\n" method "\n" path "\n" session "\n" attempt "\n" nonce
 *   "\n" hex SHA-256(body)).
 * - answer: X-Cleat-Session, X-Cleat-Attempt, X-Cleat-Address (ip:port as the executor sees
 *   itself) and X-Cleat-Proof, hex HMAC-SHA256(secret, "answer\n" nonce "\n" session "\n"
 *   attempt "\n" address "\n" status).
 *
 * path is the request target as sent, query included. attempt and status are decimal. The first
 * word keeps a request's proof from ever passing as an answer's. HMAC: RFC 2104, here by
 * OpenSSL. */
#ifndef CLEAT_HTTP_PROOF_H
#define CLEAT_HTTP_PROOF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/id.h"

#define PROOF_SECRET_SIZE 32
#define PROOF_NONCE_SIZE 33 /* 32 hex digits and NUL */
#define PROOF_HEX_SIZE 65

#define PROOF_HEADER_SESSION "X-Cleat-Session"
#define PROOF_HEADER_ATTEMPT "X-Cleat-Attempt"
#define PROOF_HEADER_NONCE "X-Cleat-Nonce"
#define PROOF_HEADER_ADDRESS "X-Cleat-Address"
#define PROOF_HEADER_PROOF "X-Cleat-Proof"

/* secret of a session and attempt from the installation's master key:
 * HMAC-SHA256(master, "session\n" session "\n" attempt). */
void proof_secret(uint8_t out[PROOF_SECRET_SIZE], const uint8_t master[PROOF_SECRET_SIZE],
                  const char *session, unsigned attempt);
/* Seals a container's label: HMAC-SHA256(master, "label\n" session "\n" text), as hex. */
void proof_label(char out[PROOF_HEX_SIZE], const uint8_t master[PROOF_SECRET_SIZE],
                 const char *session, const char *text);
void proof_digest(char out[PROOF_HEX_SIZE], const void *data, size_t size); /* SHA-256, hex */
void proof_nonce(char out[PROOF_NONCE_SIZE], const uint8_t random[16]);
bool proof_nonce_valid(const char *nonce);

void proof_request(char out[PROOF_HEX_SIZE], const uint8_t secret[PROOF_SECRET_SIZE],
                   const char *method, const char *path, const char *session, unsigned attempt,
                   const char *nonce, const void *body, size_t body_len);
void proof_answer(char out[PROOF_HEX_SIZE], const uint8_t secret[PROOF_SECRET_SIZE],
                  const char *nonce, const char *session, unsigned attempt, const char *address,
                  int status);
bool proof_equal(const char *a, const char *b); /* constant time; NULL is never equal */

/* What only the holder of the secret may read, and nobody may change: hex(nonce ‖ ciphertext ‖
 * tag) of AES-256-GCM (NIST SP 800-38D) under HMAC-SHA256(secret, "credentials"). random: fresh
 * for each call, a second use under one secret would give both texts away. free(). */
#define PROOF_SEAL_RANDOM 12
char *proof_seal(const uint8_t secret[PROOF_SECRET_SIZE],
                 const uint8_t random[PROOF_SEAL_RANDOM], const void *text, size_t len);
/* False: it was made with another secret, or is not what was made. Else *text, NUL-ended,
 * free(); erase it before (mem_wipe). */
bool proof_open(const uint8_t secret[PROOF_SECRET_SIZE], const char *hex, char **text);

#endif
