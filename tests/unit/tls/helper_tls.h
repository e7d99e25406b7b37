/*
 * A loop without a clock, pairs of streams in memory, and certificates made on the spot.
 */
#ifndef POSTERN_TESTS_TLS_HELPER_H
#define POSTERN_TESTS_TLS_HELPER_H

#include "postern/tls/context.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

void turn_init(struct loop *loop);

/* Two ends of one connection. Octets move in pieces of at most piece_octets (0: any). */
struct pipe_pair {
    struct stream *a;
    struct stream *b;
};
struct pipe_pair pipe_pair_new(struct loop *loop, size_t piece_octets);
/* The octets that an end has been given to send, in all. */
size_t pipe_written(const struct stream *end);

/* What a hostile network does to an end: octets from nowhere, and ends of all kinds. */
void pipe_inject(struct stream *end, struct pn_str data);
void pipe_break(struct stream *end, enum stream_state state);

/* Certificates in a directory of their own, which ends with the test. */
struct certificates {
    char directory[64];
    size_t count;
    char chain[12][96];
    char key[12][96];
    void *made[12]; /* X509 and */
    void *keys[12]; /* EVP_PKEY, to sign with */
};
void certificates_init(struct certificates *certificates);
/* names: "DNS:a.example, DNS:*.b.example"; the first has no special place. */
struct tls_certificate certificates_make(struct certificates *certificates,
                                         const char *common_name, const char *names);
/* What a test wants of a certificate. */
struct certificate_plan {
    const char *common_name;
    const char *names; /* or NULL */
    int issuer;        /* number of its certificate, counted from 1; 0: itself */
    bool authority;
    bool expired;
    bool bundle; /* the issuer's certificate follows in the file */
};
struct tls_certificate certificates_plan(struct certificates *certificates,
                                         const struct certificate_plan *plan);
/* SHA-256 of the certificate (selector 0) or its key's SPKI (1); i counts from 1. */
void certificates_digest(const struct certificates *certificates, int i, int selector,
                         uint8_t out[32]);
void certificates_fini(struct certificates *certificates);
void file_write(const char *path, const char *text);

#endif
