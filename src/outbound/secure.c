/*
 * secure.c - TLS with a next hop: whether, when, what it has to prove, and what if it fails.
 *
 * The plan says what the host needs (session->host). Under MAY a failed handshake is followed
 * by a new connection to the same address in clear; under anything stronger the address has
 * failed, and the next one is tried. MTA-STS in testing mode is MAY, but what a strict policy
 * would have refused is logged and counted (RFC 8461 5). What the certificate must prove is
 * OpenSSL's work, behind port/tls.h; here the rules for it are gathered.
 *
 * The result is settled when EHLO is answered for good: with TLS 1.3 a peer's refusal comes
 * after our handshake is done. It is counted once for each connection, in the words of
 * RFC 8460, and said to whoever asks with out_session_tls_why.
 */
#include "session_priv.h"

#include "postern/base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RESUME_KEY_MAX ((size_t)256 << 10)

/* In the order of the columns of `counters`. */
enum result { SUCCESS, NO_STARTTLS, NAME, EXPIRED, TRUST, FAILED };

bool out_secure_needed(const struct out_session *session)
{
    return session->host.tls > ROUTE_TLS_MAY && !session->host.tls_report_only;
}

bool out_secure_wanted(const struct out_session *session)
{
    return !session->secured && session->host.tls != ROUTE_TLS_NONE &&
           (out_secure_needed(session) ||
            (!session->clear && session->deps.tls &&
             (smtp_client_capabilities(session->client) & SMTP_CAP_STARTTLS)));
}

/* ---- results ---- */

static void count(const struct out_session *session, enum result result)
{
#define ROW(policy)                                                                            \
    {                                                                                          \
        STATS_TLS_##policy##_SUCCESS, STATS_TLS_##policy##_NO_STARTTLS,                        \
            STATS_TLS_##policy##_NAME, STATS_TLS_##policy##_EXPIRED,                           \
            STATS_TLS_##policy##_TRUST, STATS_TLS_##policy##_FAILED                            \
    }
    static const enum stats_counter tlsa[] = ROW(TLSA), sts[] = ROW(STS), local[] = ROW(LOCAL);
#undef ROW
    /* Nothing has to be proven there. */
    static const enum stats_counter none[] = {
        STATS_TLS_NONE_SUCCESS, STATS_TLS_NONE_NO_STARTTLS, STATS_TLS_NONE_FAILED,
        STATS_TLS_NONE_FAILED,  STATS_TLS_NONE_FAILED,      STATS_TLS_NONE_FAILED};
    const enum stats_counter *row = local;

    if (session->host.tls == ROUTE_TLS_DANE) {
        row = tlsa;
    } else if (session->host.tls == ROUTE_TLS_VERIFY &&
               session->options.domain->tls != CONF_TLS_VERIFY) {
        row = sts;
    } else if (session->host.tls == ROUTE_TLS_MAY) {
        row = none;
    }
    if (session->deps.counters) {
        stats_count(session->deps.counters, row[result], 1);
    }
}

static enum result result_of(const struct stream_tls *tls)
{
    switch (tls ? tls->fault : STREAM_FAULT_NONE) {
    case STREAM_FAULT_NAME:
        return NAME;
    case STREAM_FAULT_EXPIRED:
        return EXPIRED;
    case STREAM_FAULT_TRUST:
        return TRUST;
    case STREAM_FAULT_NONE:
    case STREAM_FAULT_NO_MATCH:
        break;
    }
    return FAILED;
}

static void describe(struct out_session *session, const char *format, ...) PN_PRINTF(2, 3);
static void describe(struct out_session *session, const char *format, ...)
{
    va_list args;
    size_t at;

    va_start(args, format);
    vsnprintf(session->tls_text, sizeof session->tls_text, format, args);
    va_end(args);
    at = strlen(session->tls_text);
    if (session->host.tls_why[0]) {
        snprintf(session->tls_text + at, sizeof session->tls_text - at, " (%s)",
                 session->host.tls_why);
    }
}

static void log_text(const struct out_session *session, enum pn_event event, const char *what)
{
    struct pn_log_line line;

    if (session->deps.log) {
        pn_log_begin(&line, session->deps.log, event);
        pn_log_z(&line, "queue", session->options.domain->name);
        pn_log_z(&line, "peer", session->peer);
        pn_log_z(&line, "tls", session->tls_text);
        if (what) {
            pn_log_z(&line, "what", what);
        }
        pn_log_end(&line);
    }
}

const char *out_session_tls_why(const struct out_session *session)
{
    return session->tls_text;
}

/* STARTTLS is not offered, or was refused. */
void out_secure_missing(struct out_session *session)
{
    session->tls_settled = true;
    count(session, NO_STARTTLS);
    describe(session, "in clear: STARTTLS is not offered");
    if (session->host.tls_report_only) {
        log_text(session, PN_EV_TLS_OUT_FAULT, "it does not offer STARTTLS");
    }
}

static void settle_secured(struct out_session *session)
{
    const struct stream_tls *tls = out_session_tls(session);
    const char *proof = tls && tls->proof ? tls->proof : "none";
    bool proven = tls && tls->verified;

    describe(session, "%s, %s%s", tls ? tls->version : "TLS",
             strcmp(proof, "none") == 0 ? "nothing proven" : proof,
             tls && tls->resumed ? ", resumed" : "");
    if (session->host.tls_report_only && !proven) {
        count(session, result_of(tls));
        log_text(session, PN_EV_TLS_OUT_FAULT,
                 tls && tls->verify_error ? tls->verify_error : "nothing is proven");
    } else {
        count(session, SUCCESS);
    }
}

void out_secure_settled(struct out_session *session)
{
    if (session->tls_settled) {
        return; /* EHLO is said again after other things than TLS, too */
    }
    if (session->secured) {
        settle_secured(session);
    } else if (session->host.tls == ROUTE_TLS_NONE) {
        describe(session, "in clear");
    } else if (!session->clear) {
        out_secure_missing(session);
    }
    session->tls_settled = true;
    log_text(session, PN_EV_TLS_OUT, NULL);
}

/* ---- rules ---- */

struct gathered {
    struct tls_rules rules;
    const char *names[ROUTE_NAMES_MAX];
    uint8_t fingerprints[TLS_NAMES_MAX][TLS_FINGERPRINT_OCTETS];
    struct tls_tlsa tlsa[ROUTE_TLSA_MAX];
    struct pn_buf key;
};

static void add_name(struct gathered *gathered, const char *name)
{
    if (gathered->rules.name_count < ROUTE_NAMES_MAX && name[0]) {
        gathered->names[gathered->rules.name_count++] = name;
    }
}

/* The plan's names, else the host's own: those that `verified` is about. */
static void gather_names(struct gathered *gathered, const struct route_host *host)
{
    for (size_t i = 0; i < host->name_count; i++) {
        add_name(gathered, host->names[i]);
    }
    if (host->name_count == 0) {
        add_name(gathered, host->name);
    }
    gathered->rules.names = gathered->names;
}

static void gather_proofs(struct gathered *gathered, const struct route_host *host,
                          const struct conf_domain *domain)
{
    struct tls_rules *rules = &gathered->rules;

    for (size_t i = 0; i < domain->tls_fingerprints.count && i < TLS_NAMES_MAX; i++) {
        if (conf_fingerprint_parse(pn_str_z(domain->tls_fingerprints.items[i]),
                                   gathered->fingerprints[rules->fingerprint_count])) {
            rules->fingerprint_count++;
        }
    }
    for (size_t i = 0; i < host->tlsa_count && i < ROUTE_TLSA_MAX; i++) {
        const struct route_tlsa *from = &host->tlsa[i];

        gathered->tlsa[rules->tlsa_count++] = (struct tls_tlsa){
            from->usage, from->selector, from->matching, from->data, from->len};
    }
    rules->fingerprints = (const uint8_t(*)[TLS_FINGERPRINT_OCTETS])gathered->fingerprints;
    rules->tlsa = gathered->tlsa;
}

static int add_hex(struct pn_buf *out, const uint8_t *octets, size_t len)
{
    int status = pn_buf_append_char(out, '\n');

    for (size_t i = 0; i < len && status == 0; i++) {
        status = pn_buf_printf(out, "%02x", octets[i]);
    }
    return status;
}

/* Everything that makes this server and these rules what they are. */
static int write_key(const struct out_session *session, struct gathered *gathered)
{
    const struct tls_rules *rules = &gathered->rules;
    int status = pn_buf_printf(&gathered->key, "%s\n%s\n%d", session->peer, rules->server_name,
                               (int)rules->check);

    for (size_t i = 0; i < rules->name_count && status == 0; i++) {
        status = pn_buf_printf(&gathered->key, "\n%s", rules->names[i]);
    }
    for (size_t i = 0;
         i < rules->fingerprint_count && rules->check == TLS_CHECK_FINGERPRINT && status == 0;
         i++) {
        status = add_hex(&gathered->key, rules->fingerprints[i], TLS_FINGERPRINT_OCTETS);
    }
    for (size_t i = 0; i < rules->tlsa_count && status == 0; i++) {
        const struct tls_tlsa *record = &rules->tlsa[i];

        status = pn_buf_printf(&gathered->key, "\n%u %u %u", (unsigned)record->usage,
                               (unsigned)record->selector, (unsigned)record->matching);
        status = status ? status : add_hex(&gathered->key, record->data, record->len);
    }
    return status ? status : pn_buf_append(&gathered->key, (struct pn_str){"", 1});
}

static void gather(const struct out_session *session, struct gathered *gathered)
{
    static const enum tls_check checks[] = {
        [ROUTE_TLS_NONE] = TLS_CHECK_NOTHING,
        [ROUTE_TLS_MAY] = TLS_CHECK_NOTHING,
        [ROUTE_TLS_ENCRYPT] = TLS_CHECK_NOTHING,
        [ROUTE_TLS_VERIFY] = TLS_CHECK_NAME,
        [ROUTE_TLS_FINGERPRINT] = TLS_CHECK_FINGERPRINT,
        [ROUTE_TLS_DANE] = TLS_CHECK_DANE,
    };
    const struct route_host *host = &session->host;

    *gathered = (struct gathered){
        .rules = {.server_name = host->sni,
                  .check = host->tls_report_only ? TLS_CHECK_NOTHING : checks[host->tls]}};
    gather_names(gathered, host);
    gather_proofs(gathered, host, session->options.domain);
    pn_buf_init(&gathered->key, RESUME_KEY_MAX);
    if (write_key(session, gathered) == 0) {
        gathered->rules.resume_key = pn_buf_str(&gathered->key).ptr;
    }
}

/* A reference; NULL: the session has ended, because a file of the domain cannot be used. */
static struct tls_context *take_context(struct out_session *session)
{
    const struct conf_domain *domain = session->options.domain;
    struct tls_client_options options = {
        .least_1_3 = domain->tls_min_version > 0 || session->options.conf->tls_min_version > 0,
        .ca_file = domain->tls_ca_file,
        .certificate_file = domain->tls_certificate,
        .key_file = domain->tls_key,
    };
    struct pn_err err = {.text = "there is none here"};
    struct tls_context *context =
        session->deps.tls ? tls_clients_get(session->deps.tls, &options, &err) : NULL;

    if (!context) {
        out_session_end(session, OUT_END_FAILED, "TLS for %s: %s", domain->name, err.text);
    }
    return context;
}

/* ---- steps ---- */

void out_secure_begin(struct out_session *session)
{
    struct tls_context *context;

    if (!(smtp_client_capabilities(session->client) & SMTP_CAP_STARTTLS)) {
        out_secure_missing(session);
        out_talk_goodbye(session);
        out_connect_failed(session, OUT_END_FAILED,
                           "%s: it does not offer STARTTLS, and TLS is needed (%s)",
                           session->peer, session->host.tls_why);
        return;
    }
    /* Before anything is promised to the peer. */
    context = take_context(session);
    if (context) {
        tls_context_unref(&context);
        smtp_client_starttls(session->client);
    }
}

void out_secure_failed(struct out_session *session, const char *why)
{
    bool needed = out_secure_needed(session);

    count(session, needed ? result_of(stream_get_tls(session->stream)) : FAILED);
    describe(session, "in clear: %.200s", why);
    if (needed) {
        out_connect_failed(session, OUT_END_FAILED, "%s: %s, and TLS is needed (%s)",
                           session->peer, why, session->host.tls_why);
        return;
    }
    log_text(session, PN_EV_TLS_OUT_FAULT, why);
    out_watch_note(session, "%s: going on in clear", why);
    out_connect_again(session);
}

/*
 * Octets that came behind the 220 are not the peer's but an attacker's, who wants them read
 * as if they had come through TLS (FAULTS 2.2). No other address is tried either.
 */
void out_secure_handshake(struct out_session *session)
{
    struct tls_context *context;
    struct gathered gathered;

    if (stream_peek(session->stream).len > 0) {
        out_session_end(session, OUT_END_FAILED,
                        "%s: plaintext was injected between STARTTLS and TLS: an attack",
                        session->peer);
        return;
    }
    context = take_context(session);
    if (!context) {
        return;
    }
    gather(session, &gathered);
    session->state = OUT_HANDSHAKE;
    out_talk_adopt(session, tls_connect(context, session->stream, &gathered.rules));
    tls_context_unref(&context);
    pn_buf_fini(&gathered.key);
    loop_timer_after(session->deps.loop, &session->timer, session->options.connect_timeout_ms);
}

/* With dane-only, records that cannot be used are none (RFC 7672 2.2 lets dane go on). */
static bool proves_enough(const struct out_session *session)
{
    const struct stream_tls *tls = stream_get_tls(session->stream);

    return session->host.tls != ROUTE_TLS_DANE ||
           session->options.domain->tls != CONF_TLS_DANE_ONLY || (tls && tls->verified);
}

void out_secure_step(struct out_session *session)
{
    char why[PN_ERR_TEXT_MAX];

    switch (stream_get_state(session->stream)) {
    case STREAM_CONNECTING:
        break;
    case STREAM_OPEN:
        if (!proves_enough(session)) {
            out_secure_failed(session, "none of the TLSA records can be used");
            return;
        }
        session->secured = true;
        session->state = OUT_GREETING;
        session->waits = OUT_WAIT_NOTHING;
        smtp_client_secured(session->client);
        out_talk_pump(session);
        break;
    case STREAM_ENDED:
    case STREAM_FAILED:
        snprintf(why, sizeof why, "%s", stream_error(session->stream));
        out_secure_failed(session, why[0] ? why : "the TLS handshake was broken off");
        break;
    }
}
