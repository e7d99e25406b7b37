/*
 * tls/resume.c - the sessions that a client may resume.
 *
 * A resumed session sends no certificate, so OpenSSL checks none: what the first check found
 * is kept beside the session, and a session is given only to a caller with the same key, who
 * has the same server and the same rules. Proof does not outlive the certificate that gave
 * it, and no session is older than an hour, so that a revoked record or a replaced key is
 * seen in time whatever life the server gives its tickets.
 *
 * One session for each key, the latest; when there are too many keys the oldest goes. Keys are
 * kept as their digests: records make them long. A session is copied on its way in and out,
 * for OpenSSL changes those that are in use, and loops have threads of their own.
 *
 * Why not OpenSSL's cache: it is one for servers, which finds sessions by their own numbers.
 */
#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/base/time.h"

#include "tls_priv.h"

#include <openssl/evp.h>

#include <pthread.h>
#include <string.h>

#define uthash_malloc(octets)  pn_alloc(octets)
#define uthash_fatal(sentence) pn_assert_failed(sentence, __FILE__, __LINE__)
#include <uthash.h>

#define ENTRIES_MAX 1000
#define KEEP_MS     PN_HOURS(1)
#define DIGEST      32

struct entry {
    uint8_t digest[DIGEST];
    SSL_SESSION *session;
    struct tls_verdict verdict;
    struct pn_wall until;
    UT_hash_handle hh;
};

struct tls_resume {
    pthread_mutex_t lock;
    struct entry *entries; /* the oldest first */
};

struct tls_resume *tls_resume_new(void)
{
    struct tls_resume *resume = PN_NEW(struct tls_resume);

    pn_assert(pthread_mutex_init(&resume->lock, NULL) == 0);
    return resume;
}

static void digest_of(const char *key, uint8_t out[DIGEST])
{
    pn_assert(EVP_Digest(key, strlen(key), out, NULL, EVP_sha256(), NULL) == 1);
}

static struct entry *find(struct tls_resume *resume, const uint8_t digest[DIGEST])
{
    struct entry *entry;

    HASH_FIND(hh, resume->entries, digest, DIGEST, entry);
    return entry;
}

static void drop(struct tls_resume *resume, struct entry *entry)
{
    if (entry) {
        HASH_DEL(resume->entries, entry);
        SSL_SESSION_free(entry->session);
        free(entry);
    }
}

void tls_resume_free(struct tls_resume **resume)
{
    if (*resume) {
        while ((*resume)->entries) {
            drop(*resume, (*resume)->entries);
        }
        pthread_mutex_destroy(&(*resume)->lock);
        free(*resume);
        *resume = NULL;
    }
}

/* The time the server gives, the certificate's, and ours: the least of them. */
static struct pn_wall last_use(const SSL_SESSION *session, const struct tls_verdict *verdict,
                               struct pn_wall now)
{
    long life_s = SSL_SESSION_get_timeout(session);
    int64_t until_ms = now.ms + KEEP_MS;

    if (life_s >= 0 && life_s < KEEP_MS / 1000) {
        until_ms = now.ms + (int64_t)life_s * 1000;
    }
    if (verdict->expires_s < until_ms / 1000) {
        until_ms = verdict->expires_s * 1000;
    }
    return (struct pn_wall){until_ms};
}

void tls_resume_put(struct tls_resume *resume, const char *key, SSL_SESSION *session,
                    const struct tls_verdict *verdict, struct pn_wall now)
{
    struct entry *entry = PN_NEW(struct entry);

    digest_of(key, entry->digest);
    entry->session = SSL_SESSION_dup(session);
    pn_assert(entry->session);
    entry->verdict = *verdict;
    entry->until = last_use(session, verdict, now);
    pthread_mutex_lock(&resume->lock);
    drop(resume, find(resume, entry->digest));
    if (HASH_COUNT(resume->entries) == ENTRIES_MAX) {
        drop(resume, resume->entries);
    }
    HASH_ADD(hh, resume->entries, digest, DIGEST, entry);
    pthread_mutex_unlock(&resume->lock);
}

SSL_SESSION *tls_resume_find(struct tls_resume *resume, const char *key, struct pn_wall now,
                             struct tls_verdict *out_verdict)
{
    uint8_t digest[DIGEST];
    SSL_SESSION *copy = NULL;
    struct entry *entry;

    digest_of(key, digest);
    pthread_mutex_lock(&resume->lock);
    entry = find(resume, digest);
    if (entry && entry->until.ms <= now.ms) {
        drop(resume, entry);
        entry = NULL;
    }
    if (entry) {
        copy = SSL_SESSION_dup(entry->session);
        pn_assert(copy);
        *out_verdict = entry->verdict;
    }
    pthread_mutex_unlock(&resume->lock);
    return copy;
}

void tls_resume_drop(struct tls_resume *resume, const char *key)
{
    uint8_t digest[DIGEST];

    digest_of(key, digest);
    pthread_mutex_lock(&resume->lock);
    drop(resume, find(resume, digest));
    pthread_mutex_unlock(&resume->lock);
}
