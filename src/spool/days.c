/*
 * days.c - the keys of encryption at rest: one for each day, under a master key.
 *
 * A day's key is random, and lies in keys/YYYYMMDD.key, sealed under a key derived from
 * the master key; so whoever has a backup of the key files alone has nothing, and the
 * master key can stay on another disk. A key is made the day before it is needed, so that
 * no message waits for a file.
 *
 * A key file that cannot be read is not made again and not removed: its messages wait, held,
 * until it is back. It is shredded when its day is over, no draft uses it, and the store
 * said, after that, that no message does.
 */
#include "days_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/spool/spool.h"

#include <stdio.h>
#include <string.h>

#define MASTER_HEAD  "postern-spool-key-1 "
#define FILE_VERSION '\1'
#define FILE_OCTETS  (1 + CRYPTO_NONCE_OCTETS + CRYPTO_KEY_OCTETS + CRYPTO_TAG_OCTETS)
#define NAME_OCTETS  16
#define PATH_OCTETS  4096
#define DAY_MS       PN_DAYS(1)

/* The civil date, by the algorithm of days since 1970 in eras of 400 years from March on. */
uint32_t spool_day_of(struct pn_wall wall)
{
    int64_t days = wall.ms / DAY_MS - (wall.ms % DAY_MS < 0);
    int64_t shifted = days + 719468;
    int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    int64_t of_era = shifted - era * 146097;
    int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    int64_t day = of_year - (153 * month + 2) / 5 + 1;

    month += month < 10 ? 3 : -9;
    year += era * 400 + (month <= 2);
    return (uint32_t)(year * 10000 + month * 100 + day);
}

static int hex_value(char c)
{
    c = pn_to_lower(c);
    return pn_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int spool_key_make(struct crypto *crypto, struct pn_buf *out)
{
    uint8_t key[CRYPTO_KEY_OCTETS];
    int rc = pn_buf_append_z(out, MASTER_HEAD);

    crypto->ops->random(key, sizeof key);
    for (size_t i = 0; i < sizeof key && rc == 0; i++) {
        rc = pn_buf_printf(out, "%02x", key[i]);
    }
    pn_wipe(key, sizeof key);
    return rc < 0 ? rc : pn_buf_append_char(out, '\n');
}

static bool parse_master(struct pn_str text, uint8_t out[CRYPTO_KEY_OCTETS])
{
    struct pn_str head = PN_STR(MASTER_HEAD);

    while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r')) {
        text.len--;
    }
    if (!pn_str_starts(text, head) || text.len != head.len + 2 * CRYPTO_KEY_OCTETS) {
        return false;
    }
    for (size_t i = 0; i < CRYPTO_KEY_OCTETS; i++) {
        int high = hex_value(text.ptr[head.len + 2 * i]);
        int low = hex_value(text.ptr[head.len + 2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static int read_master(struct spool_days *days, const char *key_file, struct pn_err *err)
{
    struct files_info info;
    struct pn_buf text;
    int rc;

    pn_buf_init(&text, 1024);
    rc = days->files->ops->info(days->files, key_file, &info, err);
    if (rc == 0 && !info.exists) {
        rc =
            pn_err_set(err, PN_ENOENT,
                       "there is no key file %s; \"postern spool genkey\" makes one", key_file);
    } else if (rc == 0 && (info.mode & 077)) {
        rc = pn_err_set(err, PN_EACCES,
                        "the key file %s may be read by others (mode %04o); chmod it to 0600",
                        key_file, (unsigned)info.mode);
    } else if (rc == 0) {
        rc = days->files->ops->read(days->files, key_file, &text, err);
    }
    if (rc == 0 && !parse_master(pn_buf_str(&text), days->master)) {
        rc = pn_err_set(err, PN_EINVAL,
                        "the key file %s is not one that \"postern spool genkey\" made",
                        key_file);
    }
    if (text.data) {
        pn_wipe(text.data, text.cap);
    }
    pn_buf_fini(&text);
    return rc;
}

static void name_of(uint32_t day, char out[NAME_OCTETS])
{
    (void)snprintf(out, NAME_OCTETS, "%08u", (unsigned)day);
}

static void path_of(const struct spool_days *days, uint32_t day, char out[PATH_OCTETS])
{
    int len = snprintf(out, PATH_OCTETS, "%s/%08u.key", days->path, (unsigned)day);

    pn_assert(len > 0 && len < PATH_OCTETS);
}

/* The key under which the key of a day is sealed. */
static void wrapping_key(const struct spool_days *days, struct pn_str name,
                         uint8_t out[CRYPTO_KEY_OCTETS])
{
    days->crypto->ops->derive(days->master, name, PN_STR("postern day key"), out);
}

static uint32_t name_key(const struct spool_days *days, const uint8_t key[CRYPTO_KEY_OCTETS])
{
    uint8_t derived[CRYPTO_KEY_OCTETS];

    days->crypto->ops->derive(key, PN_STR(""), PN_STR("postern name of a day key"), derived);
    return (uint32_t)derived[0] << 24 | (uint32_t)derived[1] << 16 | (uint32_t)derived[2] << 8 |
           derived[3];
}

/* Adds a key; the lock is held, or nobody else is there yet. */
static struct spool_day *add_day(struct spool_days *days, uint32_t day,
                                 const uint8_t key[CRYPTO_KEY_OCTETS])
{
    struct spool_day *item;

    if (days->count == days->cap) {
        size_t cap = days->cap ? days->cap * 2 : 8;
        struct spool_day *items = pn_alloc_array(cap, sizeof *items);

        if (days->count > 0) {
            memcpy(items, days->items, days->count * sizeof *items);
            pn_wipe(days->items, days->count * sizeof *items);
        }
        free(days->items);
        days->items = items;
        days->cap = cap;
    }
    item = &days->items[days->count++];
    *item = (struct spool_day){.key = {.day = day, .name = name_key(days, key)}};
    memcpy(item->key.octets, key, sizeof item->key.octets);
    return item;
}

static struct spool_day *find_day(struct spool_days *days, uint32_t day)
{
    for (size_t i = 0; i < days->count; i++) {
        if (days->items[i].key.day == day) {
            return &days->items[i];
        }
    }
    return NULL;
}

static int read_day(struct spool_days *days, uint32_t day, struct pn_err *err)
{
    uint8_t wrap[CRYPTO_KEY_OCTETS], key[CRYPTO_KEY_OCTETS];
    char path[PATH_OCTETS], name[NAME_OCTETS];
    struct pn_buf content;
    struct pn_str s;
    int rc;

    path_of(days, day, path);
    name_of(day, name);
    pn_buf_init(&content, FILE_OCTETS);
    rc = days->files->ops->read(days->files, path, &content, err);
    s = pn_buf_str(&content);
    wrapping_key(days, pn_str_z(name), wrap);
    if (rc == 0 && (s.len != FILE_OCTETS || s.ptr[0] != FILE_VERSION ||
                    !days->crypto->ops->open(wrap, (const uint8_t *)s.ptr + 1, pn_str_z(name),
                                             pn_str_sub(s, 1 + CRYPTO_NONCE_OCTETS, SIZE_MAX),
                                             (char *)key))) {
        rc = pn_err_set(err, PN_ECORRUPT, "the day key %s does not open under the key file",
                        path);
    }
    if (rc == 0) {
        add_day(days, day, key);
    }
    pn_wipe(wrap, sizeof wrap);
    pn_wipe(key, sizeof key);
    pn_buf_fini(&content);
    return rc;
}

/* A key that cannot be read is said loudly, and stops nothing: other days have their own. */
static void on_key_file(void *owner, const char *name, const struct files_info *info)
{
    struct spool_days *days = owner;
    struct pn_str s = pn_str_z(name);
    struct pn_err err;
    uint64_t day;

    (void)info;
    if (pn_str_ends(s, PN_STR(".key")) &&
        pn_str_to_u64(pn_str_sub(s, 0, s.len - 4), 99999999, &day) &&
        read_day(days, (uint32_t)day, &err) < 0) {
        pn_log_say(days->log, PN_EV_SPOOL_CORRUPT, "%s; its messages are held", err.text);
    }
}

int spool_days_init(struct spool_days *days, struct files *files, struct crypto *crypto,
                    const struct pn_log *log, const char *path, const char *key_file,
                    struct pn_err *err)
{
    char directory[PATH_OCTETS];
    int len = snprintf(directory, sizeof directory, "%s/keys", path);
    int rc;

    *days = (struct spool_days){.files = files, .crypto = crypto, .log = log};
    pn_assert(pthread_mutex_init(&days->lock, NULL) == 0);
    if (len < 0 || len >= PATH_OCTETS - NAME_OCTETS) {
        return pn_err_set(err, PN_EINVAL, "the path of the spool is too long: %s", path);
    }
    days->path = pn_strdup(directory);
    if (key_file[0] == '\0') {
        return 0;
    }
    rc = read_master(days, key_file, err);
    if (rc < 0) {
        return rc;
    }
    rc = files->ops->make_directory(files, directory, 0700, err);
    if (rc < 0 && rc != PN_EEXIST) {
        return rc;
    }
    days->encrypted = true;
    return files->ops->list(files, directory, on_key_file, days, err);
}

void spool_days_fini(struct spool_days *days)
{
    pn_wipe(days->master, sizeof days->master);
    if (days->items) {
        pn_wipe(days->items, days->cap * sizeof *days->items);
    }
    free(days->items);
    free(days->path);
    pthread_mutex_destroy(&days->lock);
}

bool spool_days_take(struct spool_days *days, struct spool_day_key *out)
{
    struct spool_day *item;

    if (!days->encrypted) {
        *out = (struct spool_day_key){0};
        return true;
    }
    pthread_mutex_lock(&days->lock);
    item = find_day(days, days->today);
    if (item) {
        item->users++;
        *out = item->key;
    }
    pthread_mutex_unlock(&days->lock);
    return item;
}

void spool_days_release(struct spool_days *days, uint32_t day)
{
    struct spool_day *item;

    if (day == 0) {
        return;
    }
    pthread_mutex_lock(&days->lock);
    item = find_day(days, day);
    pn_assert(item && item->users > 0);
    item->users--;
    pthread_mutex_unlock(&days->lock);
}

bool spool_days_find(struct spool_days *days, uint32_t day, uint32_t name,
                     struct spool_day_key *out)
{
    struct spool_day *item;
    bool found;

    pthread_mutex_lock(&days->lock);
    item = find_day(days, day);
    found = item && item->key.name == name;
    if (found) {
        *out = item->key;
    }
    pthread_mutex_unlock(&days->lock);
    return found;
}

static int make_day(struct spool_days *days, uint32_t day, struct pn_err *err)
{
    uint8_t wrap[CRYPTO_KEY_OCTETS], key[CRYPTO_KEY_OCTETS];
    char path[PATH_OCTETS], name[NAME_OCTETS], content[FILE_OCTETS];
    struct files_info info;
    int rc;

    path_of(days, day, path);
    name_of(day, name);
    rc = days->files->ops->info(days->files, path, &info, err);
    if (rc < 0 || info.exists) {
        return rc < 0 ? rc
                      : pn_err_set(err, PN_ECORRUPT,
                                   "the day key %s is there but could not be read; no mail is "
                                   "taken under it",
                                   path);
    }
    days->crypto->ops->random(key, sizeof key);
    content[0] = FILE_VERSION;
    days->crypto->ops->random(content + 1, CRYPTO_NONCE_OCTETS);
    wrapping_key(days, pn_str_z(name), wrap);
    days->crypto->ops->seal(wrap, (const uint8_t *)content + 1, pn_str_z(name),
                            (struct pn_str){(const char *)key, sizeof key},
                            content + 1 + CRYPTO_NONCE_OCTETS);
    rc = days->files->ops->write(days->files, path, (struct pn_str){content, sizeof content},
                                 0600, err);
    if (rc == 0) {
        pthread_mutex_lock(&days->lock);
        add_day(days, day, key);
        pthread_mutex_unlock(&days->lock);
        pn_log_say(days->log, PN_EV_KEY, "the key of %s was made", name);
    }
    pn_wipe(wrap, sizeof wrap);
    pn_wipe(key, sizeof key);
    return rc;
}

static int need_day(struct spool_days *days, uint32_t day, struct pn_err *err)
{
    bool have;

    pthread_mutex_lock(&days->lock);
    have = find_day(days, day);
    pthread_mutex_unlock(&days->lock);
    return have ? 0 : make_day(days, day, err);
}

/* An empty day before today, under whose key nothing is written any more; 0: there is none. */
static uint32_t find_empty(struct spool_days *days)
{
    uint32_t day = 0;

    pthread_mutex_lock(&days->lock);
    for (size_t i = 0; i < days->count && day == 0; i++) {
        const struct spool_day *item = &days->items[i];

        if (item->empty && item->users == 0 && item->key.day < days->today) {
            day = item->key.day;
        }
    }
    pthread_mutex_unlock(&days->lock);
    return day;
}

static void forget_day(struct spool_days *days, uint32_t day)
{
    struct spool_day *item;

    pthread_mutex_lock(&days->lock);
    item = find_day(days, day);
    pn_assert(item);
    *item = days->items[--days->count];
    pn_wipe(&days->items[days->count], sizeof *item);
    pthread_mutex_unlock(&days->lock);
}

int spool_days_maintain(struct spool_days *days, struct pn_wall wall, struct pn_err *err)
{
    uint32_t today = spool_day_of(wall);
    uint32_t day;
    int rc;

    if (!days->encrypted) {
        return 0;
    }
    rc = need_day(days, today, err);
    if (rc < 0) {
        return rc;
    }
    pthread_mutex_lock(&days->lock);
    days->today = today;
    pthread_mutex_unlock(&days->lock);
    while ((day = find_empty(days)) != 0) {
        char path[PATH_OCTETS];

        path_of(days, day, path);
        rc = days->files->ops->shred(days->files, path, err);
        if (rc < 0 && rc != PN_ENOENT) {
            return rc; /* its day stays in the table, and is tried again */
        }
        forget_day(days, day);
        pn_log_say(days->log, PN_EV_KEY,
                   "the key of %08u was shredded: its last message is gone", (unsigned)day);
    }
    return need_day(days, spool_day_of((struct pn_wall){wall.ms + DAY_MS}), err);
}

size_t spool_days_old(struct spool_days *days, uint32_t *out, size_t max)
{
    size_t count = 0;

    pthread_mutex_lock(&days->lock);
    for (size_t i = 0; i < days->count && count < max; i++) {
        if (days->items[i].key.day < days->today && days->items[i].users == 0) {
            out[count++] = days->items[i].key.day;
        }
    }
    pthread_mutex_unlock(&days->lock);
    return count;
}

void spool_days_mark_empty(struct spool_days *days, uint32_t day)
{
    struct spool_day *item;

    pthread_mutex_lock(&days->lock);
    item = find_day(days, day);
    if (item) {
        item->empty = true;
    }
    pthread_mutex_unlock(&days->lock);
}
