/*
 * tls/judge.c - a client's rules, and what becomes of the server's certificate under them.
 *
 * OpenSSL calls us in place of its own check of a chain (the application's callback), and we
 * call its functions: X509_verify_cert for chains and TLSA records, X509_check_host for each
 * of the names. So no certificate is taken apart here, and the answer is known before the
 * handshake ends: what fails ends it with an alert, and never with a secret or a mail sent.
 *
 * Names are compared by us, one by one, and not by OpenSSL's list of hosts, because that
 * cannot hold names and addresses side by side. Only for DANE it is used: whether names count
 * depends on the record that matches (RFC 7672 3.1.1), which OpenSSL alone knows.
 *
 * The subject's common name is no name of a host (RFC 9525 2, RFC 8461 4.1), but for DANE,
 * where RFC 7672 3.2.3 still takes it if there is no other.
 */
#include "postern/base/assert.h"
#include "postern/base/ip.h"
#include "postern/base/mem.h"

#include "tls_priv.h"

#include <openssl/x509v3.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DANE_FLAGS                                                                             \
    (X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_SINGLE_LABEL_SUBDOMAINS)
#define NAME_FLAGS (DANE_FLAGS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT)
#define HEX_CHARS  (2 * TLS_FINGERPRINT_OCTETS + 1)

enum { USAGE_DANE_TA = 2, USAGE_DANE_EE = 3 };

struct tls_judge {
    enum tls_check check;
    char *names[TLS_NAMES_MAX];
    size_t name_count;
    uint8_t (*fingerprints)[TLS_FINGERPRINT_OCTETS];
    size_t fingerprint_count;
    size_t usable; /* TLSA records that OpenSSL has taken */
    struct tls_verdict verdict;
    char why[PN_ERR_TEXT_MAX]; /* the handshake fails for that; or "" */
    char *resume_key;          /* or NULL */
    struct tls_resume *resume;
    struct loop *loop;
};

static int judge_index;
static pthread_once_t judge_index_made = PTHREAD_ONCE_INIT;

static void make_judge_index(void)
{
    judge_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    pn_assert(judge_index >= 0);
}

/* ---- verdicts ---- */

static void explain(struct tls_judge *judge, const char *format, ...) PN_PRINTF(2, 3);
static void explain(struct tls_judge *judge, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(judge->why, sizeof judge->why, format, args);
    va_end(args);
}

static enum stream_fault fault_of(int error)
{
    switch (error) {
    case X509_V_OK:
        return STREAM_FAULT_NONE;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return STREAM_FAULT_NAME;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return STREAM_FAULT_EXPIRED;
    case X509_V_ERR_DANE_NO_MATCH:
        return STREAM_FAULT_NO_MATCH;
    default:
        return STREAM_FAULT_TRUST;
    }
}

static void set_verdict(struct tls_judge *judge, int error, const X509 *certificate)
{
    judge->why[0] = '\0';
    judge->verdict = (struct tls_verdict){
        .verified = error == X509_V_OK,
        .fault = fault_of(error),
        .error = error == X509_V_OK ? "" : X509_verify_cert_error_string(error),
        .proof = "none",
        .expires_s = error == X509_V_OK ? tls_session_expires_s(certificate) : INT64_MAX,
    };
}

/* ---- names ---- */

/* What OpenSSL wants for "*.example.org": ".example.org". NULL: the name is nobody's. */
static const char *reference_of(const char *name)
{
    bool wild = pn_str_starts(pn_str_z(name), PN_STR("*."));
    struct pn_str rest = pn_str_z(wild ? name + 2 : name);

    return tls_name_is_plain(rest) && rest.ptr[0] != '.' ? name + wild : NULL;
}

static bool is_address(const char *name)
{
    struct pn_ip ip;

    return pn_ip_parse(pn_str_z(name), &ip);
}

static bool name_matches(X509 *certificate, const char *name)
{
    const char *reference = reference_of(name);

    if (is_address(name)) {
        return X509_check_ip_asc(certificate, name, 0) == 1;
    }
    return reference && X509_check_host(certificate, reference, 0, NAME_FLAGS, NULL) == 1;
}

static const char *find_match(const struct tls_judge *judge, X509 *certificate)
{
    for (size_t i = 0; i < judge->name_count; i++) {
        if (name_matches(certificate, judge->names[i])) {
            return judge->names[i];
        }
    }
    return NULL;
}

static void explain_names(struct tls_judge *judge, const X509 *certificate)
{
    char *theirs = tls_session_names(certificate);
    char ours[256] = "";

    for (size_t i = 0; i < judge->name_count; i++) {
        size_t at = strlen(ours);

        snprintf(ours + at, sizeof ours - at, "%s%s", at > 0 ? " or " : "", judge->names[i]);
    }
    explain(judge, "the certificate is for %.200s, not for %s", theirs[0] ? theirs : "no name",
            ours[0] ? ours : "a name that is known");
    free(theirs);
}

/* ---- the checks ---- */

static void judge_chain(struct tls_judge *judge, X509_STORE_CTX *store, X509 *certificate)
{
    bool trusted = X509_verify_cert(store) == 1;
    const char *match = trusted ? find_match(judge, certificate) : NULL;
    char *issuer;

    if (!trusted) {
        set_verdict(judge, X509_STORE_CTX_get_error(store), certificate);
        explain(judge, "the certificate cannot be trusted: %s", judge->verdict.error);
    } else if (!match) {
        set_verdict(judge,
                    judge->name_count > 0 && is_address(judge->names[0])
                        ? X509_V_ERR_IP_ADDRESS_MISMATCH
                        : X509_V_ERR_HOSTNAME_MISMATCH,
                    certificate);
        if (judge->name_count == 0) {
            judge->verdict.error = "there is no name to compare with";
        }
        explain_names(judge, certificate);
    } else {
        set_verdict(judge, X509_V_OK, certificate);
        issuer = tls_session_name(X509_get_issuer_name(certificate));
        snprintf(judge->verdict.proof, sizeof judge->verdict.proof,
                 "name %.200s, issuer %.200s", match, issuer);
        free(issuer);
    }
}

static void write_hex(const uint8_t *octets, char out[HEX_CHARS])
{
    for (size_t i = 0; i < TLS_FINGERPRINT_OCTETS; i++) {
        snprintf(out + 2 * i, 3, "%02x", octets[i]);
    }
}

static bool has_fingerprint(const struct tls_judge *judge, const uint8_t *digest)
{
    for (size_t i = 0; i < judge->fingerprint_count; i++) {
        if (memcmp(judge->fingerprints[i], digest, TLS_FINGERPRINT_OCTETS) == 0) {
            return true;
        }
    }
    return false;
}

/* The key's is that of the whole SubjectPublicKeyInfo, as in TLSA records (RFC 6698 2.1.2). */
static void key_digest(X509 *certificate, uint8_t out[TLS_FINGERPRINT_OCTETS])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);

    pn_assert(len > 0);
    pn_assert(EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL) == 1);
    OPENSSL_free(der);
}

static void judge_fingerprint(struct tls_judge *judge, X509 *certificate)
{
    uint8_t whole[TLS_FINGERPRINT_OCTETS], key[TLS_FINGERPRINT_OCTETS];
    char whole_hex[HEX_CHARS], key_hex[HEX_CHARS];
    bool whole_matches;

    pn_assert(X509_digest(certificate, EVP_sha256(), whole, NULL) == 1);
    key_digest(certificate, key);
    write_hex(whole, whole_hex);
    write_hex(key, key_hex);
    whole_matches = has_fingerprint(judge, whole);
    if (whole_matches || has_fingerprint(judge, key)) {
        set_verdict(judge, X509_V_OK, certificate);
        judge->verdict.expires_s = INT64_MAX;
        snprintf(judge->verdict.proof, sizeof judge->verdict.proof, "fingerprint %s of the %s",
                 whole_matches ? whole_hex : key_hex, whole_matches ? "certificate" : "key");
        return;
    }
    set_verdict(judge, X509_V_ERR_DANE_NO_MATCH, certificate);
    judge->verdict.error = "no fingerprint of the list is the certificate's";
    explain(judge,
            "the certificate has none of the fingerprints; its own is %s, that of its key %s",
            whole_hex, key_hex);
}

static void judge_dane(struct tls_judge *judge, X509_STORE_CTX *store, X509 *certificate)
{
    int error = X509_verify_cert(store) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(store);

    if (judge->usable == 0) {
        set_verdict(judge, X509_V_ERR_DANE_NO_MATCH, certificate);
        judge->verdict.error = "none of the TLSA records can be used";
        return;
    }
    set_verdict(judge, error, certificate);
    if (error == X509_V_ERR_DANE_NO_MATCH) {
        judge->verdict.error = "no TLSA record is the certificate's";
        explain(judge, "none of %zu usable TLSA records matches the certificate",
                judge->usable);
    } else if (error == X509_V_ERR_HOSTNAME_MISMATCH) {
        explain_names(judge, certificate);
    } else if (error != X509_V_OK) {
        explain(judge, "the certificate fails under its TLSA record: %s", judge->verdict.error);
    }
}

/* Nobody's chain or name is looked at but by this. 1: the handshake may go on. */
static int on_verify(X509_STORE_CTX *store, void *arg)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_judge *judge = SSL_get_ex_data(ssl, judge_index);
    X509 *certificate = X509_STORE_CTX_get0_cert(store);

    (void)arg;
    switch (judge->check) {
    case TLS_CHECK_NOTHING:
        judge_chain(judge, store, certificate);
        judge->why[0] = '\0';
        break;
    case TLS_CHECK_NAME:
        judge_chain(judge, store, certificate);
        break;
    case TLS_CHECK_FINGERPRINT:
        judge_fingerprint(judge, certificate);
        break;
    case TLS_CHECK_DANE:
        judge_dane(judge, store, certificate);
        break;
    }
    if (judge->why[0]) {
        /* Which alert the server gets follows from this. */
        if (X509_STORE_CTX_get_error(store) == X509_V_OK) {
            X509_STORE_CTX_set_error(store, judge->verdict.fault == STREAM_FAULT_NAME
                                                ? X509_V_ERR_HOSTNAME_MISMATCH
                                                : X509_V_ERR_APPLICATION_VERIFICATION);
        }
        return 0;
    }
    X509_STORE_CTX_set_error(store, X509_V_OK);
    return 1;
}

/* ---- sessions to resume ---- */

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_judge *judge = SSL_get_ex_data(ssl, judge_index);

    if (judge && judge->resume_key && SSL_SESSION_is_resumable(session)) {
        tls_resume_put(judge->resume, judge->resume_key, session, tls_judge_settle(judge, ssl),
                       judge->loop->wall);
    }
    return 0; /* the session stays OpenSSL's */
}

static void resume_earlier(struct tls_judge *judge, SSL *ssl)
{
    SSL_SESSION *session =
        tls_resume_find(judge->resume, judge->resume_key, judge->loop->wall, &judge->verdict);

    if (session) {
        pn_assert(SSL_set_session(ssl, session) == 1);
        SSL_SESSION_free(session);
    }
}

/* ---- the rules ---- */

void tls_judge_context(SSL_CTX *context)
{
    pthread_once(&judge_index_made, make_judge_index);
    SSL_CTX_set_cert_verify_callback(context, on_verify, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_new_session);
    pn_assert(SSL_CTX_dane_enable(context) == 1);
}

static void add_hosts(const struct tls_judge *judge, SSL *ssl, const char **out_first)
{
    for (size_t i = 0; i < judge->name_count; i++) {
        const char *reference =
            is_address(judge->names[i]) ? NULL : reference_of(judge->names[i]);

        if (reference && !*out_first) {
            *out_first = reference;
            pn_assert(SSL_dane_enable(ssl, reference) > 0);
        } else if (reference) {
            pn_assert(SSL_add1_host(ssl, reference) == 1);
        }
    }
}

/*
 * Usages 0 and 1 are unusable (RFC 7672 3.1.3), and so is 2 if there is no name that it could
 * be held against. With usage 3 neither names nor dates count (RFC 7672 3.1.1).
 */
static void add_records(struct tls_judge *judge, SSL *ssl, const struct tls_rules *rules)
{
    const char *first = NULL;

    SSL_set_hostflags(ssl, DANE_FLAGS);
    add_hosts(judge, ssl, &first);
    if (!first) {
        pn_assert(SSL_dane_enable(ssl, NULL) > 0);
    }
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    for (size_t i = 0; i < rules->tlsa_count; i++) {
        const struct tls_tlsa *record = &rules->tlsa[i];
        bool known =
            record->usage == USAGE_DANE_EE || (record->usage == USAGE_DANE_TA && first);

        if (known && SSL_dane_tlsa_add(ssl, record->usage, record->selector, record->matching,
                                       record->data, record->len) > 0) {
            judge->usable++;
        }
    }
    (void)tls_openssl_reason(); /* records that cannot be used have left theirs */
}

static void copy_rules(struct tls_judge *judge, const struct tls_rules *rules)
{
    judge->check = rules->check;
    for (size_t i = 0; i < rules->name_count && i < TLS_NAMES_MAX; i++) {
        judge->names[judge->name_count++] = pn_strdup(rules->names[i]);
    }
    judge->fingerprint_count = rules->fingerprint_count;
    judge->fingerprints =
        pn_alloc_array(rules->fingerprint_count + 1, sizeof *judge->fingerprints);
    if (rules->fingerprint_count > 0) {
        memcpy(judge->fingerprints, rules->fingerprints,
               rules->fingerprint_count * sizeof *judge->fingerprints);
    }
    if (rules->resume_key && rules->resume_key[0]) {
        judge->resume_key = pn_strdup(rules->resume_key);
    }
}

struct tls_judge *tls_judge_new(SSL *ssl, const struct tls_rules *rules,
                                struct tls_resume *resume, struct loop *loop)
{
    struct tls_judge *judge = PN_NEW(struct tls_judge);
    bool must = rules->check != TLS_CHECK_NOTHING;

    judge->resume = resume;
    judge->loop = loop;
    judge->verdict = (struct tls_verdict){.error = "", .proof = "none"};
    copy_rules(judge, rules);
    pn_assert(SSL_set_ex_data(ssl, judge_index, judge) == 1);
    if (rules->check == TLS_CHECK_DANE) {
        add_records(judge, ssl, rules);
    }
    SSL_set_verify(ssl, must ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (judge->resume_key) {
        resume_earlier(judge, ssl);
    }
    return judge;
}

void tls_judge_free(struct tls_judge **judge)
{
    if (*judge) {
        for (size_t i = 0; i < (*judge)->name_count; i++) {
            free((*judge)->names[i]);
        }
        free((*judge)->fingerprints);
        free((*judge)->resume_key);
        free(*judge);
        *judge = NULL;
    }
}

const struct tls_verdict *tls_judge_settle(struct tls_judge *judge, SSL *ssl)
{
    struct tls_verdict *verdict = &judge->verdict;
    uint8_t usage, selector, matching;

    if (judge->check == TLS_CHECK_DANE && verdict->verified && !SSL_session_reused(ssl) &&
        SSL_get0_dane_tlsa(ssl, &usage, &selector, &matching, NULL, NULL) >= 0) {
        snprintf(verdict->proof, sizeof verdict->proof, "TLSA %u %u %u", (unsigned)usage,
                 (unsigned)selector, (unsigned)matching);
        verdict->expires_s = usage == USAGE_DANE_EE ? INT64_MAX : verdict->expires_s;
    }
    return verdict;
}

const char *tls_judge_failed(struct tls_judge *judge)
{
    /* A session that the peer chokes on must not be offered again. */
    if (judge->resume_key) {
        tls_resume_drop(judge->resume, judge->resume_key);
    }
    return judge->why[0] ? judge->why : NULL;
}

const struct tls_verdict *tls_judge_verdict(const struct tls_judge *judge)
{
    return &judge->verdict;
}
