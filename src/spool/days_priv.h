/*
 * days_priv.h - the keys of encryption at rest: one for each day, under a master key.
 *
 * Every message is sealed under the key of the day it came. When the last message of a day
 * has gone, its key is overwritten and removed: what LevelDB's old tables still have of the
 * bodies cannot be read any more.
 */
#ifndef POSTERN_SPOOL_DAYS_PRIV_H
#define POSTERN_SPOOL_DAYS_PRIV_H

#include "postern/base/log.h"
#include "postern/port/crypto.h"
#include "postern/port/files.h"

#include <pthread.h>

/* The name tells two keys of one day apart: when a file was lost, and another was made. */
struct spool_day_key {
    uint32_t day; /* 20261121; 0: nothing is encrypted */
    uint32_t name;
    uint8_t octets[CRYPTO_KEY_OCTETS];
};

struct spool_day {
    struct spool_day_key key;
    size_t users; /* drafts under way */
    bool empty;   /* no message in the store uses it */
};

struct spool_days {
    struct files *files;
    struct crypto *crypto;
    const struct pn_log *log;
    char *path; /* of the directory */
    bool encrypted;
    uint8_t master[CRYPTO_KEY_OCTETS];
    pthread_mutex_t lock; /* for what follows */
    struct spool_day *items;
    size_t count, cap;
    uint32_t today; /* 0: not known yet */
};

/* path: the spool's. key_file "": nothing is encrypted. Reads the keys that are there. */
int spool_days_init(struct spool_days *days, struct files *files, struct crypto *crypto,
                    const struct pn_log *log, const char *path, const char *key_file,
                    struct pn_err *err) PN_WARN_UNUSED;
void spool_days_fini(struct spool_days *days);

uint32_t spool_day_of(struct pn_wall wall);

/* Today's key, for a new message. Then release. False: there is none yet. */
bool spool_days_take(struct spool_days *days, struct spool_day_key *out);
void spool_days_release(struct spool_days *days, uint32_t day);
bool spool_days_find(struct spool_days *days, uint32_t day, uint32_t name,
                     struct spool_day_key *out);

/* Makes the keys of today and tomorrow, and shreds the empty ones before. Blocks. */
int spool_days_maintain(struct spool_days *days, struct pn_wall wall,
                        struct pn_err *err) PN_WARN_UNUSED;
/* The days before today that nobody is writing under; at most max. */
size_t spool_days_old(struct spool_days *days, uint32_t *out, size_t max);
void spool_days_mark_empty(struct spool_days *days, uint32_t day);

#endif
