/* What the spool's records promise: they come back as they went, and nothing else comes in. */
#include "days_priv.h"
#include "records_priv.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct pn_id some_id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static struct spool_message_record make_message(void)
{
    struct spool_message_record record = {
        .envelope = {.sender = PN_STR("a@here.example"),
                     .helo = PN_STR("client"),
                     .client_name = PN_STR(""),
                     .client = {pn_ip_v4(0xc0000201), 2525},
                     .protocol = PN_STR("ESMTPS"),
                     .tls = PN_STR("TLSv1.3"),
                     .arrival = {1234567890123},
                     .envid = PN_STR("x\0y"),
                     .size_octets = SPOOL_CHUNK_OCTETS + 1,
                     .chunks = 2,
                     .flags = MAIL_8BITMIME | MAIL_SMTPUTF8,
                     .ret = MAIL_RET_HDRS},
        .arrival_ms = -5,
        .day = 20261121,
    };

    spool_places_add(&record.jobs, PN_STR("example.net"), QUEUE_DUE_NEVER);
    spool_places_add(&record.jobs, PN_STR("example.org"), 7);
    spool_places_add(&record.parked, PN_STR("example.org"), 0);
    return record;
}

static void test_messages_come_back(void **state)
{
    struct spool_message_record record = make_message(), back = {0};
    struct pn_buf value;

    (void)state;
    pn_buf_init(&value, STORE_VALUE_MAX);
    for (int round = 0; round < 2; round++) { /* a decoder's struct may be used again */
        pn_buf_clear(&value);
        record.envelope.login = round == 0 ? PN_STR("joe") : PN_STR(""); /* seldom there */
        assert_int_equal(spool_message_encode(&record, &value), 0);
        assert_true(spool_message_decode(pn_buf_str(&value), &back));
        assert_true(pn_str_eq(back.envelope.sender, record.envelope.sender));
        assert_true(pn_str_eq(back.envelope.envid, record.envelope.envid));
        assert_true(pn_str_eq(back.envelope.tls, record.envelope.tls));
        assert_true(pn_str_eq(back.envelope.login, record.envelope.login));
        assert_true(pn_ip_eq(&back.envelope.client.ip, &record.envelope.client.ip));
        assert_int_equal(back.envelope.client.port, 2525);
        assert_int_equal(back.envelope.arrival.ms, 1234567890123);
        assert_int_equal(back.envelope.flags, MAIL_8BITMIME | MAIL_SMTPUTF8);
        assert_int_equal(back.envelope.ret, MAIL_RET_HDRS);
        assert_int_equal(back.arrival_ms, -5);
        assert_int_equal(back.day, 20261121);
        assert_int_equal(back.jobs.count, 2);
        assert_int_equal(back.jobs.items[0].due_ms, QUEUE_DUE_NEVER);
        assert_true(pn_str_eq(back.jobs.items[1].queue, PN_STR("example.org")));
        assert_int_equal(back.parked.count, 1);
    }
    pn_buf_fini(&value);
    spool_message_record_fini(&record);
    spool_message_record_fini(&back);
}

static void test_jobs_come_back(void **state)
{
    struct spool_job_record record = {
        .job = {.arrival_ms = 1, .last_try_ms = 2, .size_octets = 3, .attempts = 4, .flags = 2},
        .last_reply = PN_STR("451 4.7.1 Later"),
    };
    const struct spool_parked_recipient recipients[] = {
        {{PN_STR("b@example.net"), PN_STR("rfc822;b"), MAIL_NOTIFY_DELAY}, PN_STR("550 No")},
        {{PN_STR("c@example.net"), PN_STR(""), 0}, PN_STR("")},
    };
    struct spool_job_record back = {0};
    struct pn_buf value;

    (void)state;
    pn_buf_init(&value, STORE_VALUE_MAX);
    spool_recipients_add(&record.recipients, &recipients[0]);
    spool_recipients_add(&record.recipients, &recipients[1]);
    assert_int_equal(spool_job_encode(&record, 3, &value), 0);
    assert_true(spool_job_decode(pn_buf_str(&value), &back));
    assert_int_equal(back.job.arrival_ms, 1);
    assert_int_equal(back.job.last_try_ms, 2);
    assert_int_equal(back.job.size_octets, 3);
    assert_int_equal(back.job.attempts, 4);
    assert_int_equal(back.job.flags, 2);
    assert_int_equal(back.job.recipients, 2);
    assert_true(pn_str_eq(back.last_reply, record.last_reply));
    assert_true(pn_str_eq(back.recipients.items[0].reason, PN_STR("550")));
    assert_true(pn_str_eq(back.recipients.items[0].recipient.orcpt, PN_STR("rfc822;b")));
    assert_int_equal(back.recipients.items[0].recipient.notify, MAIL_NOTIFY_DELAY);
    pn_buf_fini(&value);
    spool_job_record_fini(&record);
    spool_job_record_fini(&back);
}

static void encode_all(struct pn_buf values[5])
{
    struct spool_message_record message = make_message();
    const struct mail_recipient recipient = {PN_STR("b@example.net"), PN_STR(""), 0};

    for (int i = 0; i < 5; i++) {
        pn_buf_init(&values[i], STORE_VALUE_MAX);
    }
    assert_int_equal(spool_message_encode(&message, &values[0]), 0);
    assert_int_equal(
        spool_job_encode_new(&(struct queue_job){0}, PN_STR("r"), &recipient, 1, &values[1]),
        0);
    assert_int_equal(spool_counters_encode(&(struct spool_counters){1, 2, 3, 4}, &values[2]),
                     0);
    assert_int_equal(spool_partial_encode(&(struct spool_partial_record){1, 2, 3}, &values[3]),
                     0);
    assert_int_equal(spool_number_encode(9, &values[4]), 0);
    spool_message_record_fini(&message);
}

/* Whether any decoder but the right one, or that one, takes the octets. */
static bool decodes(int which, struct pn_str value)
{
    struct spool_message_record message = {0};
    struct spool_job_record job = {0};
    struct spool_counters counters;
    struct spool_partial_record partial;
    uint64_t number;
    bool good[5];

    good[0] = spool_message_decode(value, &message);
    good[1] = spool_job_decode(value, &job);
    good[2] = spool_counters_decode(value, &counters);
    good[3] = spool_partial_decode(value, &partial);
    good[4] = spool_number_decode(value, &number);
    spool_message_record_fini(&message);
    spool_job_record_fini(&job);
    for (int i = 0; i < 5; i++) {
        assert_false(good[i] && i != which);
    }
    return good[which];
}

static void test_what_fell_over_does_not_decode(void **state)
{
    struct pn_buf values[5];

    (void)state;
    encode_all(values);
    for (int i = 0; i < 5; i++) {
        struct pn_str whole = pn_buf_str(&values[i]);
        char *copy = pn_strndup(whole); /* of the exact length, so that reading on is seen */

        assert_true(decodes(i, whole));
        for (size_t len = 0; len < whole.len; len++) {
            char *part = pn_alloc(len);

            memcpy(part, whole.ptr, len);
            assert_false(decodes(i, (struct pn_str){part, len}));
            free(part);
        }
        for (size_t at = 0; at < whole.len; at++) {
            copy[at] = (char)(copy[at] ^ 0x40);
            assert_false(decodes(i, (struct pn_str){copy, whole.len}));
            copy[at] = (char)(copy[at] ^ 0x40);
        }
        free(copy);
        pn_buf_fini(&values[i]);
    }
}

/* As records.c has it: who can write into the spool can make one, too. */
static void seal(char *record, size_t len)
{
    uint64_t sum = 0xcbf29ce484222325u;
    uint32_t octets;

    for (size_t i = 0; i < len - 4; i++) {
        sum = (sum ^ (uint8_t)record[i]) * 0x100000001b3u;
    }
    octets = (uint32_t)(sum ^ sum >> 32);
    for (size_t i = 0; i < 4; i++) {
        record[len - 4 + i] = (char)(uint8_t)(octets >> (24 - 8 * i));
    }
}

/* Whatever four octets of a record say, a length or a count: it is bounded by what is there. */
static void test_numbers_that_are_too_large(void **state)
{
    struct pn_buf values[5];
    size_t taken[5] = {0}, refused[5] = {0};

    (void)state;
    encode_all(values);
    for (int i = 0; i < 5; i++) {
        struct pn_str whole = pn_buf_str(&values[i]);

        for (size_t at = 1; at + 8 <= whole.len; at++) {
            char *copy = pn_strndup(whole);

            memset(copy + at, 0x7f, 4);
            seal(copy, whole.len);
            *(decodes(i, (struct pn_str){copy, whole.len}) ? &taken[i] : &refused[i]) += 1;
            free(copy);
        }
        assert_true(taken[i] > 0);
        assert_true(refused[i] > 0 ||
                    i > 1); /* those of numbers alone mean something, always */
    }
    for (int i = 0; i < 5; i++) {
        pn_buf_fini(&values[i]);
    }
}

static void test_jobs_are_in_the_order_of_queue_due_and_id(void **state)
{
    static const struct {
        const char *queue;
        int64_t due_ms;
        uint8_t id;
    } rows[] = {
        {"a", INT64_MIN, 1},
        {"a", -1, 9},
        {"a", 0, 1},
        {"a", 0, 2},
        {"a", 255, 1},
        {"a", 256, 1},
        {"a", QUEUE_DUE_NEVER, 1},
        {"a.b", 0, 1},
        {"ab", 0, 1},
    };
    struct spool_key before = {0}, key, behind;
    struct spool_job_key back;

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct pn_id id = some_id;

        id.octets[0] = rows[i].id;
        spool_key_of_job(&key, pn_str_z(rows[i].queue), rows[i].due_ms, &id);
        assert_true(pn_str_cmp(spool_key_str(&before), spool_key_str(&key)) < 0);
        assert_true(spool_key_parse_job(spool_key_str(&key), SPOOL_KEY_JOB, &back));
        assert_true(pn_str_eq(back.queue, pn_str_z(rows[i].queue)));
        assert_int_equal(back.due_ms, rows[i].due_ms);
        assert_int_equal(pn_id_cmp(&back.id, &id), 0);
        spool_key_behind(&behind, SPOOL_KEY_JOB, back.queue);
        assert_true(pn_str_cmp(spool_key_str(&key), spool_key_str(&behind)) < 0);
        for (size_t len = 0; len < key.len; len++) {
            (void)spool_key_parse_job((struct pn_str){key.octets, len}, SPOOL_KEY_JOB, &back);
            assert_false(spool_key_parse_job((struct pn_str){key.octets, len < 27 ? len : 1},
                                             SPOOL_KEY_JOB, &back));
        }
        before = key;
    }
}

static void test_days(void **state)
{
    static const struct {
        int64_t ms;
        uint32_t day;
    } rows[] = {
        {0, 19700101},
        {-1, 19691231},
        {951782400000, 20000229},
        {951868800000, 20000301},
        {1795305600000, 20261122},
        {1795305599999, 20261121},
        {4107542400000, 21000301},
        {4107542399999, 21000228},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        assert_int_equal(spool_day_of((struct pn_wall){rows[i].ms}), rows[i].day);
    }
}

static void test_chunks(void **state)
{
    (void)state;
    assert_int_equal(spool_chunks_of(0), 1);
    assert_int_equal(spool_chunks_of(1), 1);
    assert_int_equal(spool_chunks_of(SPOOL_CHUNK_OCTETS), 1);
    assert_int_equal(spool_chunks_of(SPOOL_CHUNK_OCTETS + 1), 2);
    assert_int_equal(spool_chunks_of(UINT64_MAX), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_come_back),
        cmocka_unit_test(test_jobs_come_back),
        cmocka_unit_test(test_what_fell_over_does_not_decode),
        cmocka_unit_test(test_numbers_that_are_too_large),
        cmocka_unit_test(test_jobs_are_in_the_order_of_queue_due_and_id),
        cmocka_unit_test(test_days),
        cmocka_unit_test(test_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
