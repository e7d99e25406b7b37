/*
 * http/call.c - one HTTP request, blocking, on libcurl: for the command-line tool.
 *
 * Only a unix socket is ever connected to: the host in the URL is a word without meaning.
 * Proxies of the environment, redirects and other protocols are switched off (FAULTS
 * 9.16). The answer is counted in the write callback, because curl's own limit does not
 * hold for answers of unknown length (FAULTS 7.5).
 */
#include "postern/http/call.h"

#include "postern/base/assert.h"

#include <curl/curl.h>

#include <errno.h>
#include <string.h>

#define URL_MAX 65536

struct answer {
    struct pn_buf *body;
    bool too_long;
};

static size_t on_body(char *data, size_t size, size_t count, void *owner)
{
    struct answer *answer = owner;
    size_t octets = size * count;

    if (pn_buf_append(answer->body, (struct pn_str){data, octets}) != 0) {
        answer->too_long = true;
        return 0;
    }
    return octets;
}

#define SET(curl, option, value) pn_assert(curl_easy_setopt(curl, option, value) == CURLE_OK)

static void set_options(CURL *curl, const struct http_call *call, const char *url,
                        struct answer *answer, struct curl_slist *headers)
{
    SET(curl, CURLOPT_PROTOCOLS_STR, "http");
    SET(curl, CURLOPT_NOPROXY, "*");
    SET(curl, CURLOPT_FOLLOWLOCATION, 0L);
    SET(curl, CURLOPT_NOSIGNAL, 1L);
    SET(curl, CURLOPT_PATH_AS_IS, 1L);
    SET(curl, CURLOPT_UNIX_SOCKET_PATH, call->socket_path);
    SET(curl, CURLOPT_URL, url);
    SET(curl, CURLOPT_TIMEOUT_MS, (long)call->timeout_ms);
    SET(curl, CURLOPT_WRITEFUNCTION, on_body);
    SET(curl, CURLOPT_WRITEDATA, answer);
    SET(curl, CURLOPT_HTTPHEADER, headers);
    if (call->body.len > 0 || strcmp(call->method, "POST") == 0) {
        SET(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        SET(curl, CURLOPT_POSTFIELDS, call->body.len > 0 ? call->body.ptr : "");
    }
    SET(curl, CURLOPT_CUSTOMREQUEST, call->method);
}

static int connect_failed(CURL *curl, const struct http_call *call, struct pn_err *err)
{
    long number = 0;

    (void)curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number);
    if (number == EACCES || number == EPERM) {
        return pn_err_set(err, PN_EACCES, "%s: permission denied", call->socket_path);
    }
    return pn_err_set(err, PN_ECLOSED, "nobody answers on %s%s%s", call->socket_path,
                      number ? ": " : "", number ? strerrordesc_np((int)number) : "");
}

static int explain(CURL *curl, CURLcode code, const struct answer *answer,
                   const struct http_call *call, struct pn_err *err)
{
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST) {
        return connect_failed(curl, call, err);
    }
    if (code == CURLE_OPERATION_TIMEDOUT) {
        return pn_err_set(err, PN_ETIMEOUT, "%s did not answer within %lld ms",
                          call->socket_path, (long long)call->timeout_ms);
    }
    if (answer->too_long) {
        return pn_err_set(err, PN_ENOSPACE, "the answer from %s is longer than %zu octets",
                          call->socket_path, answer->body->max);
    }
    return pn_err_set(err, PN_EIO, "%s %s over %s failed: %s", call->method, call->path,
                      call->socket_path, curl_easy_strerror(code));
}

int http_call(const struct http_call *call, unsigned *out_status, struct pn_buf *out_body,
              struct pn_err *err)
{
    struct answer answer = {.body = out_body};
    struct curl_slist *headers;
    struct pn_buf url;
    CURL *curl;
    CURLcode code;
    long status = 0;
    int result;

    pn_buf_init(&url, URL_MAX);
    if (pn_buf_append_z(&url, "http://postern") != 0 ||
        pn_buf_append_z(&url, call->path) != 0 || pn_buf_append_char(&url, '\0') != 0) {
        pn_buf_fini(&url);
        return pn_err_set(err, PN_EINVAL, "the request is too long");
    }
    pn_assert(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    curl = curl_easy_init();
    headers = curl_slist_append(NULL, "Content-Type: application/json");
    pn_assert(curl && headers);
    /* An empty Expect: bodies go at once, without a round trip for permission. */
    pn_assert(curl_slist_append(headers, "Expect:"));
    set_options(curl, call, pn_buf_str(&url).ptr, &answer, headers);

    code = curl_easy_perform(curl);
    if (code == CURLE_OK) {
        pn_assert(curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK);
        *out_status = (unsigned)status;
        result = 0;
    } else {
        result = explain(curl, code, &answer, call, err);
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    curl_global_cleanup();
    pn_buf_fini(&url);
    return result;
}

int http_encode(struct pn_str s, struct pn_buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t before = out->len;
    int result = 0;

    for (size_t i = 0; i < s.len && result == 0; i++) {
        unsigned char octet = (unsigned char)s.ptr[i];

        if (pn_is_alnum(s.ptr[i]) || memchr("-._~", octet, 4)) {
            result = pn_buf_append_char(out, s.ptr[i]);
        } else {
            char escape[3] = {'%', digits[octet >> 4], digits[octet & 15]};

            result = pn_buf_append(out, (struct pn_str){escape, sizeof escape});
        }
    }
    if (result != 0) {
        pn_buf_truncate(out, before);
    }
    return result;
}
