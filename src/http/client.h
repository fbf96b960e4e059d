/* HTTP client: libcurl's multi interface on our loop. Only client.c and curl_loop.c know
 * libcurl.
 *
 * A share holds one owner's connections, TLS sessions and DNS answers. No connection is ever
 * used by two shares, and this is not assumed but checked before every request is sent: a
 * ledger maps each live connection to the share that opened it; a request that libcurl would
 * put on another share's connection is refused and counted. */
#ifndef CLEAT_HTTP_CLIENT_H
#define CLEAT_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"
#include "loop/loop.h"

struct http_client;
struct http_share;
struct http_exchange;

struct http_client *http_client_new(struct loop *);
void http_client_free(struct http_client *); /* after all shares */

struct http_client_stats {
    uint64_t exchanges, connections_opened;
    uint64_t shared_connections; /* requests refused on another share's; must stay 0 */
    size_t connections_open, shares;
};
void http_client_get_stats(const struct http_client *, struct http_client_stats *out);

/* max_idle: connections kept open between requests. */
struct http_share *http_share_new(struct http_client *, unsigned max_idle);
void http_share_free(
    struct http_share *); /* closes its connections; no exchange may be under way */

struct http_header {
    const char *name, *value;
};

/* Signature version 4 of AWS, by libcurl (CURLOPT_AWS_SIGV4), over the body and all headers
 * given here. The caller's part, else AWS sees another signature: the query is sorted by
 * encoded key and percent-encoded already, a key without a value is written "key="; for S3
 * x-amz-content-sha256 is among the headers. What libcurl 7.88 would sign wrongly is
 * ERR_INVALID: a header without a value; one name twice; two of which one's name begins the
 * other's ("x-amz-copy-source" and "x-amz-copy-source-range"). So are Authorization, Date,
 * X-Amz-Date and X-Amz-Security-Token among the headers. A body without a Content-Type gets
 * application/octet-stream. A body above 1 MiB is sent when the peer said 100, or after a
 * second.
 *
 * The key's copies are erased when the exchange is over and its connection closed (libcurl
 * keeps one with an idle connection), unless the process had set up libcurl with another
 * allocator before. */
struct http_sign {
    const char *region, *service; /* "eu-central-1", "ecs" */
    const char *access_key, *secret_key;
    const char *session_token; /* sent as X-Amz-Security-Token; NULL: none */
};

/* Bytes of an answer's body, valid during the call. */
typedef void http_data_fn(void *arg, const char *data, size_t len);

struct http_request {
    const char *method; /* "GET", "POST", "DELETE", … */
    const char *url;    /* http://… or https://… */
    /* Connect to this path, whatever host the URL names; the connection carries only this
     * request. NULL: TCP. */
    const char *unix_socket;
    const struct http_header *headers;
    size_t header_count;
    const struct http_sign *sign; /* copied; NULL: not signed */
    const void *body;             /* copied; NULL: none */
    size_t body_len;
    int64_t connect_timeout_ms, first_byte_timeout_ms, total_timeout_ms; /* all > 0 */
    size_t
        max_answer; /* body cap in bytes; over it: ERR_TOO_LARGE. Heads are capped at 64 KiB */
    /* NULL: the body is collected. Else the body of a 2xx answer is handed over as it comes,
     * with done's arg, from the loop, never from within http_start; once when the head is
     * there, perhaps with no bytes yet. It may cancel the exchange. The answer's own body is
     * then empty, and max_answer caps what came since the last call. Other answers are
     * collected. */
    http_data_fn *on_data;
};

struct http_answer {
    struct error error; /* ERR_NONE: a whole answer came. Else ERR_CONNECT, ERR_TIMEOUT,
                           ERR_RESET, ERR_TOO_LARGE, ERR_PROTOCOL, ERR_INVALID, ERR_INTERNAL,
                           and below status is 0 and body and headers are empty */
    bool sent;          /* the request may have reached the peer (false: certainly not) */
    bool refused;       /* of an ERR_CONNECT: the machine is there, and nobody listens */
    int status;         /* 0 without an answer */
    const char *body;   /* NUL-ended, valid during the call */
    size_t body_len;
    const struct http_header *headers; /* as received, in order; valid during the call */
    size_t header_count;
    char connection[64]; /* "local-ip:port", "" if none */
    int64_t elapsed_ms;
};

/* First header of that name (case-insensitive), NULL if absent. */
const char *http_answer_header(const struct http_answer *, const char *name);

typedef void http_done_fn(void *arg, const struct http_answer *);

/* A host name in a URL is resolved without blocking the loop. A share keeps to one of the
 * name's addresses, another share takes the next; after a failed connect its next exchange
 * takes the next one, and an address that the name no longer has is left. IPv6
 * addresses come last. A name that does not resolve is ERR_CONNECT; the deadline for the
 * connection begins before the name is looked up.
 *
 * The certificate of https is verified by the name, against the CA certificates in the one file
 * that AWS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE named when the client was made, the first
 * of them that is set, else /etc/ssl/certs/ca-certificates.crt. A peer that is not verified is
 * ERR_CONNECT.
 *
 * Never fails synchronously; done is called exactly once, from the loop, unless cancelled; by
 * then the exchange no longer counts as under way, so that done may free the share. Redirects
 * are not followed, no proxy is used, no cookie engine: cookies are ordinary headers here. The
 * path is sent as it is.
 *
 * A request is never sent twice, whatever its method: a reused connection that ends without an
 * answer gives ERR_RESET with sent = true. One that the peer has ended, or written to, before
 * the request goes out is not used: the request goes over a new one.
 *
 * Each passed deadline is ERR_TIMEOUT; for the connection's, sent is false. The one for the
 * first byte runs from sending to the end of the first line of any head, interim ones included.
 * ERR_INVALID: a method, URL or header that cannot be sent as it stands, Content-Length,
 * Transfer-Encoding and Expect among the headers (they are ours), a HEAD with a body.
 * ERR_INTERNAL: its connection was another share's; not sent. Trailers are dropped. */
struct http_exchange *http_start(struct http_share *, const struct http_request *,
                                 http_done_fn *done, void *arg);
void http_cancel(struct http_exchange *); /* never calls back; closes the connection it used */

#endif
