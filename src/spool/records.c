/*
 * records.c - what the spool's keys and values look like. Pure.
 *
 * Reading goes forwards, once, with a cursor that knows its end: the first field that does
 * not fit makes the cursor bad, every later read gives zero, and the decoder looks once, at
 * the end. A count of entries is believed only as far as the octets that are left could
 * hold that many, so that no allocation is larger than a small multiple of the record.
 *
 * The checksum is FNV-1a: it finds what fell over, not what was forged. Who can write into
 * the spool needs no forged record; for bodies, which travel on, there is SHA-256 or GCM.
 */
#include "records_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"
#include "postern/base/octets.h"

#include <string.h>

#define VERSION       1
#define SUM_OCTETS    4
#define PLACE_MIN     12 /* the least octets of a place, and of a recipient */
#define RECIPIENT_MIN 13

/* ---- keys -------------------------------------------------------------------------------- */

static void key_start(struct spool_key *key, enum spool_key_kind kind)
{
    key->octets[0] = (char)kind;
    key->len = 1;
}

static void key_add(struct spool_key *key, const void *octets, size_t len)
{
    pn_assert(len <= sizeof key->octets - key->len);
    if (len > 0) {
        memcpy(key->octets + key->len, octets, len);
        key->len += len;
    }
}

static void key_add_u32(struct spool_key *key, uint32_t number)
{
    char octets[4];

    pn_number_put(octets, number, 4);
    key_add(key, octets, 4);
}

/* The sign is turned over, so that the order of octets is the order of numbers. */
static void key_add_due(struct spool_key *key, int64_t due_ms)
{
    char octets[8];

    pn_number_put(octets, (uint64_t)due_ms ^ (uint64_t)1 << 63, 8);
    key_add(key, octets, 8);
}

static void key_add_queue(struct spool_key *key, struct pn_str queue)
{
    pn_assert(queue.len <= SPOOL_QUEUE_NAME_MAX && pn_str_find(queue, '\0') == queue.len);
    key_add(key, queue.ptr, queue.len);
    key_add(key, "", 1);
}

void spool_key_of_id(struct spool_key *key, enum spool_key_kind kind, const struct pn_id *id)
{
    key_start(key, kind);
    key_add(key, id->octets, PN_ID_OCTETS);
}

void spool_key_of_body(struct spool_key *key, const struct pn_id *id, uint32_t number)
{
    spool_key_of_id(key, SPOOL_KEY_BODY, id);
    key_add_u32(key, number);
}

void spool_key_of_job(struct spool_key *key, struct pn_str queue, int64_t due_ms,
                      const struct pn_id *id)
{
    key_start(key, SPOOL_KEY_JOB);
    key_add_queue(key, queue);
    key_add_due(key, due_ms);
    key_add(key, id->octets, PN_ID_OCTETS);
}

void spool_key_of_parked(struct spool_key *key, struct pn_str queue, const struct pn_id *id)
{
    key_start(key, SPOOL_KEY_PARKED);
    key_add_queue(key, queue);
    key_add(key, id->octets, PN_ID_OCTETS);
}

void spool_key_of_counters(struct spool_key *key, struct pn_str queue)
{
    key_start(key, SPOOL_KEY_COUNTERS);
    key_add(key, queue.ptr, queue.len);
}

void spool_key_of_day(struct spool_key *key, uint32_t day)
{
    key_start(key, SPOOL_KEY_DAY);
    key_add_u32(key, day);
}

void spool_key_prefix(struct spool_key *key, enum spool_key_kind kind, struct pn_str queue)
{
    key_start(key, kind);
    if (queue.len > 0) {
        key_add_queue(key, queue);
    }
}

void spool_key_behind(struct spool_key *key, enum spool_key_kind kind, struct pn_str queue)
{
    spool_key_prefix(key, kind, queue);
    key->octets[key->len - 1] = (char)(key->octets[key->len - 1] + 1);
}

void spool_key_aside(struct spool_key *key, struct pn_str other)
{
    key_start(key, SPOOL_KEY_ASIDE);
    key_add(key, other.ptr, other.len);
}

bool spool_key_parse_id(struct pn_str key, enum spool_key_kind kind, struct pn_id *out)
{
    if (key.len != 1 + PN_ID_OCTETS || key.ptr[0] != (char)kind) {
        return false;
    }
    memcpy(out->octets, key.ptr + 1, PN_ID_OCTETS);
    return true;
}

bool spool_key_parse_job(struct pn_str key, enum spool_key_kind kind, struct spool_job_key *out)
{
    size_t tail = PN_ID_OCTETS + (kind == SPOOL_KEY_JOB ? 8 : 0);
    struct pn_str queue;

    if (key.len < 3 + tail || key.ptr[0] != (char)kind) {
        return false;
    }
    queue = pn_str_sub(key, 1, key.len - 2 - tail);
    if (queue.len > SPOOL_QUEUE_NAME_MAX || pn_str_find(queue, '\0') != queue.len ||
        key.ptr[1 + queue.len] != '\0') {
        return false;
    }
    out->queue = queue;
    out->due_ms = 0;
    if (kind == SPOOL_KEY_JOB) {
        out->due_ms = (int64_t)(pn_number_get(key.ptr + key.len - tail, 8) ^ (uint64_t)1 << 63);
    }
    memcpy(out->id.octets, key.ptr + key.len - PN_ID_OCTETS, PN_ID_OCTETS);
    return true;
}

/* ---- writing ----------------------------------------------------------------------------- */

/* Appends fields; after the first that does not fit, nothing more. */
struct out {
    struct pn_buf *buf;
    size_t start; /* where the record begins in buf */
    int rc;
};

static void out_octets(struct out *out, struct pn_str octets)
{
    if (out->rc == 0) {
        out->rc = pn_buf_append(out->buf, octets);
    }
}

static void out_number(struct out *out, uint64_t number, size_t len)
{
    char octets[8];

    pn_number_put(octets, number, len);
    out_octets(out, (struct pn_str){octets, len});
}

static void out_str(struct out *out, struct pn_str s)
{
    out_number(out, s.len, 4);
    out_octets(out, s);
}

static void out_ip(struct out *out, const struct pn_ip *ip)
{
    out_number(out, ip->family, 1);
    out_octets(out, (struct pn_str){(const char *)ip->octets, sizeof ip->octets});
}

static struct out out_start(struct pn_buf *buf)
{
    struct out out = {.buf = buf, .start = buf->len};

    out_number(&out, VERSION, 1);
    return out;
}

static uint32_t checksum(struct pn_str s)
{
    uint64_t sum = 0xcbf29ce484222325u;

    for (size_t i = 0; i < s.len; i++) {
        sum = (sum ^ (uint8_t)s.ptr[i]) * 0x100000001b3u;
    }
    return (uint32_t)(sum ^ sum >> 32);
}

static int out_end(struct out *out)
{
    if (out->rc == 0) {
        out_number(out, checksum(pn_str_sub(pn_buf_str(out->buf), out->start, SIZE_MAX)),
                   SUM_OCTETS);
    }
    return out->rc;
}

/* ---- reading ----------------------------------------------------------------------------- */

struct in {
    struct pn_str rest;
    bool bad;
};

static struct pn_str in_octets(struct in *in, size_t len)
{
    struct pn_str s = pn_str_sub(in->rest, 0, len);

    if (in->bad || len > in->rest.len) {
        in->bad = true;
        return PN_STR("");
    }
    in->rest = pn_str_sub(in->rest, len, SIZE_MAX);
    return s;
}

static uint64_t in_number(struct in *in, size_t len)
{
    struct pn_str octets = in_octets(in, len);

    return pn_number_get(octets.ptr, octets.len);
}

static struct pn_str in_str(struct in *in)
{
    return in_octets(in, (size_t)in_number(in, 4));
}

/* A reply, or a reason: never longer than what the encoder cuts it to. */
static struct pn_str in_reply(struct in *in)
{
    struct pn_str reply = in_str(in);

    in->bad = in->bad || reply.len > SPOOL_REPLY_MAX;
    return reply;
}

static struct pn_ip in_ip(struct in *in)
{
    struct pn_ip ip = {.family = (uint8_t)in_number(in, 1)};
    struct pn_str octets = in_octets(in, sizeof ip.octets);

    if (octets.len == sizeof ip.octets) {
        memcpy(ip.octets, octets.ptr, octets.len);
    }
    in->bad = in->bad ||
              (ip.family != PN_FAMILY_NONE && ip.family != PN_IPV4 && ip.family != PN_IPV6);
    return ip;
}

static size_t in_count(struct in *in, size_t least_octets)
{
    uint64_t count = in_number(in, 4);

    if (count > in->rest.len / least_octets) {
        in->bad = true;
        count = 0;
    }
    return (size_t)count;
}

/* Verifies version and checksum; what is left are the fields. */
static struct in in_start(struct pn_str value)
{
    struct in in = {.rest = value};
    size_t body = value.len - SUM_OCTETS;

    if (value.len < 1 + SUM_OCTETS || value.ptr[0] != VERSION ||
        pn_number_get(value.ptr + body, SUM_OCTETS) != checksum(pn_str_sub(value, 0, body))) {
        in.bad = true;
        return in;
    }
    in.rest = pn_str_sub(value, 1, body - 1);
    return in;
}

static bool in_end(const struct in *in)
{
    return !in->bad && in->rest.len == 0;
}

/* ---- lists ------------------------------------------------------------------------------- */

void spool_places_add(struct spool_places *places, struct pn_str queue, int64_t due_ms)
{
    if (places->count == places->cap) {
        places->cap = places->cap ? places->cap * 2 : 4;
        places->items = pn_realloc(places->items, places->cap * sizeof *places->items);
    }
    places->items[places->count++] = (struct spool_place){queue, due_ms};
}

void spool_places_remove(struct spool_places *places, size_t index)
{
    places->count--;
    memmove(places->items + index, places->items + index + 1,
            (places->count - index) * sizeof *places->items);
}

size_t spool_places_find(const struct spool_places *places, struct pn_str queue)
{
    size_t i = 0;

    while (i < places->count && !pn_str_eq(places->items[i].queue, queue)) {
        i++;
    }
    return i;
}

void spool_recipients_add(struct spool_recipients *recipients,
                          const struct spool_parked_recipient *recipient)
{
    if (recipients->count == recipients->cap) {
        recipients->cap = recipients->cap ? recipients->cap * 2 : 4;
        recipients->items =
            pn_realloc(recipients->items, recipients->cap * sizeof *recipients->items);
    }
    recipients->items[recipients->count++] = *recipient;
}

/* ---- messages ---------------------------------------------------------------------------- */

uint32_t spool_chunks_of(uint64_t size_octets)
{
    uint64_t chunks = size_octets / SPOOL_CHUNK_OCTETS + (size_octets % SPOOL_CHUNK_OCTETS > 0);

    return chunks == 0 ? 1 : chunks > UINT32_MAX ? UINT32_MAX : (uint32_t)chunks;
}

static void out_places(struct out *out, const struct spool_places *places)
{
    out_number(out, places->count, 4);
    for (size_t i = 0; i < places->count; i++) {
        out_str(out, places->items[i].queue);
        out_number(out, (uint64_t)places->items[i].due_ms, 8);
    }
}

static void in_places(struct in *in, struct spool_places *places)
{
    size_t count = in_count(in, PLACE_MIN);

    places->count = 0;
    for (size_t i = 0; i < count && !in->bad; i++) {
        struct pn_str queue = in_str(in);
        int64_t due_ms = (int64_t)in_number(in, 8);

        in->bad = in->bad || queue.len == 0 || queue.len > SPOOL_QUEUE_NAME_MAX ||
                  pn_str_find(queue, '\0') != queue.len;
        spool_places_add(places, queue, due_ms);
    }
}

int spool_message_encode(const struct spool_message_record *record, struct pn_buf *buf)
{
    const struct mail_envelope *envelope = &record->envelope;
    struct out out = out_start(buf);

    out_str(&out, envelope->sender);
    out_str(&out, envelope->helo);
    out_str(&out, envelope->client_name);
    out_ip(&out, &envelope->client.ip);
    out_number(&out, envelope->client.port, 2);
    out_str(&out, envelope->protocol);
    out_str(&out, envelope->tls);
    out_number(&out, (uint64_t)envelope->arrival.ms, 8);
    out_str(&out, envelope->envid);
    out_number(&out, envelope->size_octets, 8);
    out_number(&out, envelope->chunks, 4);
    out_number(&out, envelope->flags, 4);
    out_number(&out, envelope->ret, 1);
    out_number(&out, (uint64_t)record->arrival_ms, 8);
    out_number(&out, record->day, 4);
    out_places(&out, &record->jobs);
    out_places(&out, &record->parked);
    if (envelope->login.len > 0) {
        out_str(&out, envelope->login);
    }
    return out_end(&out);
}

bool spool_message_decode(struct pn_str value, struct spool_message_record *record)
{
    struct mail_envelope *envelope = &record->envelope;
    struct in in = in_start(value);
    uint64_t ret;

    *envelope = (struct mail_envelope){0};
    envelope->sender = in_str(&in);
    envelope->helo = in_str(&in);
    envelope->client_name = in_str(&in);
    envelope->client.ip = in_ip(&in);
    envelope->client.port = (uint16_t)in_number(&in, 2);
    envelope->protocol = in_str(&in);
    envelope->tls = in_str(&in);
    envelope->arrival.ms = (int64_t)in_number(&in, 8);
    envelope->envid = in_str(&in);
    envelope->size_octets = in_number(&in, 8);
    envelope->chunks = (uint32_t)in_number(&in, 4);
    envelope->flags = (unsigned)in_number(&in, 4);
    ret = in_number(&in, 1);
    in.bad = in.bad || ret > MAIL_RET_HDRS;
    envelope->ret = in.bad ? MAIL_RET_NONE : (enum mail_ret)ret;
    record->arrival_ms = (int64_t)in_number(&in, 8);
    record->day = (uint32_t)in_number(&in, 4);
    in_places(&in, &record->jobs);
    in_places(&in, &record->parked);
    if (in.rest.len > 0) { /* older records have none, and few newer ones do */
        envelope->login = in_str(&in);
        in.bad = in.bad || envelope->login.len == 0;
    }
    return in_end(&in) && envelope->chunks == spool_chunks_of(envelope->size_octets);
}

void spool_message_record_fini(struct spool_message_record *record)
{
    free(record->jobs.items);
    free(record->parked.items);
    *record = (struct spool_message_record){0};
}

/* ---- jobs -------------------------------------------------------------------------------- */

static void out_job(struct out *out, const struct queue_job *job, struct pn_str last_reply,
                    size_t count)
{
    out_number(out, (uint64_t)job->arrival_ms, 8);
    out_number(out, (uint64_t)job->last_try_ms, 8);
    out_number(out, job->size_octets, 8);
    out_number(out, job->attempts, 4);
    out_number(out, job->flags, 4);
    out_ip(out, &job->client);
    out_str(out, pn_str_sub(last_reply, 0, SPOOL_REPLY_MAX));
    out_number(out, count, 4);
}

static void out_recipient(struct out *out, const struct mail_recipient *recipient,
                          struct pn_str reason)
{
    out_str(out, recipient->address);
    out_str(out, recipient->orcpt);
    out_number(out, recipient->notify, 1);
    out_str(out, reason);
}

int spool_job_encode(const struct spool_job_record *record, size_t reason_max,
                     struct pn_buf *buf)
{
    const struct spool_recipients *recipients = &record->recipients;
    struct out out = out_start(buf);

    out_job(&out, &record->job, record->last_reply, recipients->count);
    for (size_t i = 0; i < recipients->count; i++) {
        out_recipient(&out, &recipients->items[i].recipient,
                      pn_str_sub(recipients->items[i].reason, 0, reason_max));
    }
    return out_end(&out);
}

int spool_job_encode_new(const struct queue_job *job, struct pn_str last_reply,
                         const struct mail_recipient *recipients, size_t count,
                         struct pn_buf *buf)
{
    struct out out = out_start(buf);

    out_job(&out, job, last_reply, count);
    for (size_t i = 0; i < count; i++) {
        out_recipient(&out, &recipients[i], PN_STR(""));
    }
    return out_end(&out);
}

bool spool_job_decode(struct pn_str value, struct spool_job_record *record)
{
    struct in in = in_start(value);
    struct queue_job *job = &record->job;
    size_t count;

    *job = (struct queue_job){0};
    job->arrival_ms = (int64_t)in_number(&in, 8);
    job->last_try_ms = (int64_t)in_number(&in, 8);
    job->size_octets = in_number(&in, 8);
    job->attempts = (uint32_t)in_number(&in, 4);
    job->flags = (unsigned)in_number(&in, 4);
    job->client = in_ip(&in);
    record->last_reply = in_reply(&in);
    count = in_count(&in, RECIPIENT_MIN);
    record->recipients.count = 0;
    for (size_t i = 0; i < count && !in.bad; i++) {
        struct spool_parked_recipient recipient = {0};

        recipient.recipient.address = in_str(&in);
        recipient.recipient.orcpt = in_str(&in);
        recipient.recipient.notify = (unsigned)in_number(&in, 1);
        recipient.reason = in_reply(&in);
        spool_recipients_add(&record->recipients, &recipient);
    }
    job->recipients = (uint32_t)record->recipients.count;
    return in_end(&in);
}

void spool_job_record_fini(struct spool_job_record *record)
{
    free(record->recipients.items);
    *record = (struct spool_job_record){0};
}

/* ---- small records ----------------------------------------------------------------------- */

int spool_counters_encode(const struct spool_counters *counters, struct pn_buf *buf)
{
    struct out out = out_start(buf);

    out_number(&out, counters->jobs, 8);
    out_number(&out, counters->octets, 8);
    out_number(&out, counters->parked, 8);
    out_number(&out, counters->parked_octets, 8);
    return out_end(&out);
}

bool spool_counters_decode(struct pn_str value, struct spool_counters *counters)
{
    struct in in = in_start(value);

    counters->jobs = in_number(&in, 8);
    counters->octets = in_number(&in, 8);
    counters->parked = in_number(&in, 8);
    counters->parked_octets = in_number(&in, 8);
    return in_end(&in);
}

int spool_partial_encode(const struct spool_partial_record *record, struct pn_buf *buf)
{
    struct out out = out_start(buf);

    out_number(&out, record->run, 8);
    out_number(&out, record->chunks, 4);
    out_number(&out, record->day, 4);
    return out_end(&out);
}

bool spool_partial_decode(struct pn_str value, struct spool_partial_record *record)
{
    struct in in = in_start(value);

    record->run = in_number(&in, 8);
    record->chunks = (uint32_t)in_number(&in, 4);
    record->day = (uint32_t)in_number(&in, 4);
    return in_end(&in);
}

int spool_number_encode(uint64_t number, struct pn_buf *buf)
{
    struct out out = out_start(buf);

    out_number(&out, number, 8);
    return out_end(&out);
}

bool spool_number_decode(struct pn_str value, uint64_t *number)
{
    struct in in = in_start(value);

    *number = in_number(&in, 8);
    return in_end(&in);
}
