/* links: dns */
/*
 * fuzz_dns_answer.c - replies of name servers, which anybody in the world can write.
 *
 * The first octet says which records are wanted. Whatever comes out must keep the promises of
 * port/resolver.h: bounded, with names that hosts can have, and data that can be read.
 */
#include "../../src/dns/message_priv.h"

#include "postern/base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(const struct dns_answer *answer, const struct resolver_record *record,
                         enum resolver_type type)
{
    size_t length = strnlen(record->name, sizeof record->name);
    unsigned sum = 0;

    pn_assert(length < sizeof record->name);
    for (size_t i = 0; i < length; i++) {
        char c = record->name[i];

        pn_assert(c == pn_to_lower(c) &&
                  (pn_is_alnum(c) || (c == '-' || c == '_' || c == '.')));
    }
    pn_assert((type == RESOLVER_TXT || type == RESOLVER_TLSA) || record->len == 0);
    pn_assert(record->len == 0 ||
              (record->data >= answer->data &&
               record->data + record->len <= answer->data + answer->data_len));
    for (size_t i = 0; i < record->len; i++) {
        sum += record->data[i];
    }
    pn_assert(sum <= record->len * 255);
}

static void check_answer(const struct dns_answer *answer, enum resolver_type type)
{
    pn_assert(answer->why && answer->count <= RESOLVER_RECORDS_MAX);
    pn_assert((answer->count > 0) == (answer->status == RESOLVER_FOUND));
    pn_assert(strnlen(answer->canonical, sizeof answer->canonical) < sizeof answer->canonical);
    for (size_t i = 0; i < answer->count; i++) {
        check_record(answer, &answer->records[i], type);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum resolver_type types[] = {RESOLVER_MX, RESOLVER_TLSA, RESOLVER_TXT,
                                               RESOLVER_A,  RESOLVER_AAAA, RESOLVER_PTR};
    struct dns_answer answer = {0};
    struct dns_answer copy;
    enum resolver_type type;

    if (size == 0) {
        return 0;
    }
    type = types[data[0] % (sizeof types / sizeof *types)];
    dns_answer_read((struct pn_str){(const char *)data + 1, size - 1}, type, &answer);
    check_answer(&answer, type);
    dns_answer_copy(&answer, &copy);
    dns_answer_fini(&answer);
    check_answer(&copy, type);
    dns_answer_fini(&copy);
    return 0;
}
