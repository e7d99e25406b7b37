/* links: spool */
/*
 * fuzz_record.c - the spool's records and keys, which are hostile after a crash.
 *
 * The input is decoded as it is, and again with a version and a checksum put around it, so
 * that what lies behind the checksum is reached too. What decodes must encode to the same
 * octets again: then no two records mean the same, and nothing was read out of bounds.
 */
#include "../../src/spool/records_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_same(struct pn_buf *again, int rc, struct pn_str value)
{
    pn_assert(rc == 0 && pn_str_eq(pn_buf_str(again), value));
    pn_buf_clear(again);
}

static void decode(struct pn_str value)
{
    struct spool_message_record message = {0};
    struct spool_job_record job = {0};
    struct spool_counters counters;
    struct spool_partial_record partial;
    struct pn_buf again;
    uint64_t number;

    pn_buf_init(&again, STORE_VALUE_MAX);
    if (spool_message_decode(value, &message)) {
        expect_same(&again, spool_message_encode(&message, &again), value);
    }
    if (spool_job_decode(value, &job)) {
        expect_same(&again, spool_job_encode(&job, SPOOL_REPLY_MAX, &again), value);
    }
    if (spool_counters_decode(value, &counters)) {
        expect_same(&again, spool_counters_encode(&counters, &again), value);
    }
    if (spool_partial_decode(value, &partial)) {
        expect_same(&again, spool_partial_encode(&partial, &again), value);
    }
    if (spool_number_decode(value, &number)) {
        expect_same(&again, spool_number_encode(number, &again), value);
    }
    spool_message_record_fini(&message);
    spool_job_record_fini(&job);
    pn_buf_fini(&again);
}

static void parse(struct pn_str key)
{
    struct spool_job_key at;
    struct spool_key again;

    if (spool_key_parse_job(key, SPOOL_KEY_JOB, &at)) {
        spool_key_of_job(&again, at.queue, at.due_ms, &at.id);
        pn_assert(pn_str_eq(spool_key_str(&again), key));
    }
    if (spool_key_parse_job(key, SPOOL_KEY_PARKED, &at)) {
        spool_key_of_parked(&again, at.queue, &at.id);
        pn_assert(pn_str_eq(spool_key_str(&again), key));
    }
}

/* The checksum of records.c: FNV-1a, folded. */
static void seal(char *record, size_t len)
{
    uint64_t sum = 0xcbf29ce484222325u;

    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ (uint8_t)record[i]) * 0x100000001b3u;
    }
    sum ^= sum >> 32;
    for (int i = 0; i < 4; i++) {
        record[len + (size_t)i] = (char)(uint8_t)(sum >> (24 - 8 * i));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pn_str input = {(const char *)data, size};
    char *record = pn_alloc(1 + size + 4);

    decode(input);
    parse(input);
    record[0] = 1;
    if (size > 0) {
        memcpy(record + 1, data, size);
    }
    seal(record, 1 + size);
    decode((struct pn_str){record, 1 + size + 4});
    free(record);
    return 0;
}
