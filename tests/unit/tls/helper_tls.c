#include "helper_tls.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool no_post(struct loop *loop, struct loop_task *task)
{
    (void)loop;
    (void)task;
    return false;
}

void turn_init(struct loop *loop)
{
    static const struct loop_ops ops = {.post = no_post};

    loop_init(loop, &ops);
}

/* Both ends die together, when both were given up and no task is waiting. */
struct pipe_end {
    struct stream port;
    struct pipe_end *other; /* NULL: it was given up */
    enum stream_state state;
    size_t piece_octets;
    struct pn_buf input;
    struct pn_buf output;
    size_t written;
    bool waits;
    bool gone;
    bool cut;
    struct loop_task task;
};

static struct pipe_end *end_of(const struct stream *port)
{
    return PN_CONTAINER((uintptr_t)port, struct pipe_end, port);
}

static void end_wake(struct pipe_end *end)
{
    if (end && !end->waits) {
        end->waits = true;
        loop_defer(end->port.loop, &end->task);
    }
}

static void end_free(struct pipe_end *end)
{
    if (end->other) {
        end->other->other = NULL;
    }
    pn_buf_fini(&end->input);
    pn_buf_fini(&end->output);
    free(end);
}

/* Moves one piece to the other side; at the end of output, the end itself. */
static void end_run(struct loop_task *task)
{
    struct pipe_end *end = PN_CONTAINER(task, struct pipe_end, task);
    struct pipe_end *other = end->other;
    struct pn_str out = pn_buf_str(&end->output);
    size_t room = other && !other->gone ? STREAM_INPUT_MAX - other->input.len : out.len;

    end->waits = false;
    out = pn_str_sub(out, 0, end->piece_octets ? end->piece_octets : out.len);
    out = pn_str_sub(out, 0, room);
    if (out.len > 0) {
        if (other && !other->gone) {
            assert_int_equal(pn_buf_append(&other->input, out), 0);
            end_wake(other);
        }
        pn_buf_consume(&end->output, out.len);
        end_wake(end);
    }
    if (!end->gone) {
        if (end->port.on_event) {
            end->port.on_event(&end->port, end->port.owner);
        }
        return;
    }
    if (end->output.len == 0 && !end->waits) {
        if (other && !other->gone && other->state == STREAM_OPEN) {
            other->state = end->cut ? STREAM_FAILED : STREAM_ENDED;
            end_wake(other);
        }
        end_free(end);
    }
}

static enum stream_state end_state(const struct stream *port)
{
    return end_of(port)->state;
}

static const char *end_error(const struct stream *port)
{
    (void)port;
    return "cut off";
}

static struct pn_str end_peek(struct stream *port)
{
    return pn_buf_str(&end_of(port)->input);
}

static void end_consume(struct stream *port, size_t octets)
{
    pn_buf_consume(&end_of(port)->input, octets);
    end_wake(end_of(port)->other);
}

static void end_write(struct stream *port, struct pn_str data)
{
    struct pipe_end *end = end_of(port);

    end->written += data.len;
    assert_int_equal(pn_buf_append(&end->output, data), 0);
    end_wake(end);
}

static size_t end_unsent(const struct stream *port)
{
    return end_of(port)->output.len;
}

static void end_finish(struct stream *port, bool flush)
{
    struct pipe_end *end = end_of(port);

    end->gone = true;
    end->cut = !flush;
    port->on_event = NULL;
    pn_buf_clear(&end->input);
    if (!flush) {
        pn_buf_clear(&end->output);
    }
    end_wake(end);
    end_wake(end->other);
}

static struct pipe_end *end_new(struct loop *loop, size_t piece_octets)
{
    static const struct stream_ops ops = {
        .state = end_state,
        .error = end_error,
        .peek = end_peek,
        .consume = end_consume,
        .write = end_write,
        .unsent = end_unsent,
        .finish = end_finish,
    };
    struct pipe_end *end = PN_NEW(struct pipe_end);

    end->port.ops = &ops;
    end->port.loop = loop;
    end->state = STREAM_OPEN;
    end->piece_octets = piece_octets;
    end->task.on_run = end_run;
    pn_buf_init(&end->input, STREAM_INPUT_MAX);
    pn_buf_init(&end->output, (size_t)64 << 20);
    return end;
}

struct pipe_pair pipe_pair_new(struct loop *loop, size_t piece_octets)
{
    struct pipe_end *a = end_new(loop, piece_octets);
    struct pipe_end *b = end_new(loop, piece_octets);

    a->other = b;
    b->other = a;
    return (struct pipe_pair){.a = &a->port, .b = &b->port};
}

size_t pipe_written(const struct stream *end)
{
    return end_of(end)->written;
}

void pipe_inject(struct stream *port, struct pn_str data)
{
    assert_int_equal(pn_buf_append(&end_of(port)->input, data), 0);
    end_wake(end_of(port));
}

void pipe_break(struct stream *port, enum stream_state state)
{
    end_of(port)->state = state;
    end_wake(end_of(port));
}

void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void certificates_init(struct certificates *certificates)
{
    *certificates = (struct certificates){.directory = "/tmp/postern-test-XXXXXX"};
    assert_non_null(mkdtemp(certificates->directory));
}

static void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;

    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void certificates_path(const struct certificates *certificates, char *out, size_t i,
                              const char *kind)
{
    struct pn_buf path;
    struct pn_str s;

    pn_buf_init(&path, 95);
    assert_int_equal(pn_buf_printf(&path, "%s/%zu.%s", certificates->directory, i, kind), 0);
    s = pn_buf_str(&path);
    memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    pn_buf_fini(&path);
}

struct tls_certificate certificates_make(struct certificates *certificates,
                                         const char *common_name, const char *names)
{
    return certificates_plan(
        certificates, &(struct certificate_plan){.common_name = common_name, .names = names});
}

static X509 *certificate_new(const struct certificate_plan *plan, EVP_PKEY *key, long serial,
                             X509 *issuer, EVP_PKEY *issuer_key)
{
    X509 *certificate = X509_new();
    X509_NAME *subject = X509_get_subject_name(certificate);

    assert_int_equal(X509_set_version(certificate, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial), 1);
    assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -7200));
    assert_non_null(
        X509_gmtime_adj(X509_getm_notAfter(certificate), plan->expired ? -3600 : 86400));
    assert_int_equal(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                                (const unsigned char *)plan->common_name, -1,
                                                -1, 0),
                     1);
    assert_int_equal(
        X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject), 1);
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    if (plan->authority) {
        add_extension(certificate, issuer ? issuer : certificate, NID_basic_constraints,
                      "critical,CA:TRUE");
    }
    if (plan->names) {
        add_extension(certificate, issuer ? issuer : certificate, NID_subject_alt_name,
                      plan->names);
    }
    assert_true(X509_sign(certificate, issuer ? issuer_key : key, EVP_sha256()) > 0);
    return certificate;
}

struct tls_certificate certificates_plan(struct certificates *certificates,
                                         const struct certificate_plan *plan)
{
    size_t i = certificates->count++;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *issuer = plan->issuer ? certificates->made[plan->issuer - 1] : NULL;
    EVP_PKEY *issuer_key = plan->issuer ? certificates->keys[plan->issuer - 1] : NULL;
    X509 *certificate;
    FILE *file;

    assert_true(i < PN_COUNT(certificates->chain));
    certificate = certificate_new(plan, key, (long)i + 1, issuer, issuer_key);
    certificates_path(certificates, certificates->chain[i], i, "crt");
    certificates_path(certificates, certificates->key[i], i, "key");
    file = fopen(certificates->chain[i], "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, certificate), 1);
    if (plan->bundle) {
        assert_int_equal(PEM_write_X509(file, issuer), 1);
    }
    assert_int_equal(fclose(file), 0);
    file = fopen(certificates->key[i], "we");
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    assert_int_equal(fclose(file), 0);
    certificates->made[i] = certificate;
    certificates->keys[i] = key;
    return (struct tls_certificate){.chain_file = certificates->chain[i],
                                    .key_file = certificates->key[i]};
}

void certificates_digest(const struct certificates *certificates, int i, int selector,
                         uint8_t out[32])
{
    X509 *certificate = certificates->made[i - 1];
    unsigned char *der = NULL;
    int len = selector ? i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der)
                       : i2d_X509(certificate, &der);

    assert_true(len > 0);
    assert_int_equal(EVP_Digest(der, (size_t)len, out, NULL, EVP_sha256(), NULL), 1);
    OPENSSL_free(der);
}

void certificates_fini(struct certificates *certificates)
{
    for (size_t i = 0; i < certificates->count; i++) {
        unlink(certificates->chain[i]);
        unlink(certificates->key[i]);
        X509_free(certificates->made[i]);
        EVP_PKEY_free(certificates->keys[i]);
    }
    assert_int_equal(rmdir(certificates->directory), 0);
}
