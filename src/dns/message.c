/*
 * dns/message.c - reading DNS replies.
 *
 * c-ares 1.18 has readers of its own, but they keep no TTL of MX records, and print names
 * with escapes that would have to be read again. Here is one cursor that goes forwards
 * through the message, with every length checked against its end before it is used.
 *
 * Compression (RFC 1035 4.1.4) is where such readers break (RFC 9267): a pointer must lead
 * to before where the name, or the part of it that is being read, began. So each jump goes
 * further back, none can be repeated, and the length of a name is bounded besides.
 */
#include "message_priv.h"

#include "postern/base/assert.h"
#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define HEADER_OCTETS 12
#define LABEL_MAX     63
#define NAME_MAX      253         /* in text form (RFC 1035 2.3.4) */
#define TTL_MAX       0x7fffffffu /* more than this is zero (RFC 2181 8) */
#define ALIASES_MAX   16          /* CNAMEs on the way to the name that has the records */
#define NO_USAGE      255         /* of a TLSA record: private use (RFC 7218), so unusable */

enum {
    TYPE_A = 1,
    TYPE_CNAME = 5,
    TYPE_PTR = 12,
    TYPE_MX = 15,
    TYPE_TXT = 16,
    TYPE_AAAA = 28,
    TYPE_TLSA = 52,
    CLASS_IN = 1
};

struct cursor {
    struct pn_str message;
    size_t at;
};

static bool name_char_is_plain(char c)
{
    return pn_is_alnum(c) || c == '-' || c == '_';
}

static size_t cursor_left(const struct cursor *cursor)
{
    return cursor->message.len - cursor->at;
}

static uint8_t octet_at(const struct cursor *cursor, size_t at)
{
    return (uint8_t)cursor->message.ptr[at];
}

/* Reads a number of 2 or 4 octets. */
static bool cursor_number(struct cursor *cursor, size_t octets, uint32_t *out)
{
    uint32_t number = 0;

    if (cursor_left(cursor) < octets) {
        return false;
    }
    for (size_t i = 0; i < octets; i++) {
        number = number << 8 | octet_at(cursor, cursor->at++);
    }
    *out = number;
    return true;
}

/* A name being put together. */
struct name {
    char text[RESOLVER_NAME_CHARS];
    size_t len;
    bool plain; /* only characters that host names have */
};

static bool name_add_label(struct name *name, struct pn_str label)
{
    if (name->len + label.len + 1 > NAME_MAX) {
        return false;
    }
    if (name->len > 0) {
        name->text[name->len++] = '.';
    }
    for (size_t i = 0; i < label.len; i++) {
        name->plain = name->plain && name_char_is_plain(label.ptr[i]);
        name->text[name->len++] = pn_to_lower(label.ptr[i]);
    }
    name->text[name->len] = '\0';
    return true;
}

/* Reads a name and leaves the cursor behind it. False when the message is broken there. */
static bool cursor_name(struct cursor *cursor, struct name *out)
{
    size_t at = cursor->at;
    size_t bound = at; /* pointers lead to before this */
    bool jumped = false;

    *out = (struct name){.plain = true};
    while (at < cursor->message.len) {
        uint8_t length = octet_at(cursor, at);

        if (length == 0) {
            cursor->at = jumped ? cursor->at : at + 1;
            return true;
        }
        if (length >= 0xc0) {
            if (at + 1 >= cursor->message.len) {
                return false;
            }
            if (!jumped) {
                cursor->at = at + 2;
            }
            at = (size_t)(length & 0x3f) << 8 | octet_at(cursor, at + 1);
            if (at >= bound) {
                return false;
            }
            bound = at;
            jumped = true;
            continue;
        }
        if (length > LABEL_MAX || cursor->message.len - at - 1 < length ||
            !name_add_label(out, pn_str_sub(cursor->message, at + 1, length))) {
            return false;
        }
        at += 1 + (size_t)length;
    }
    return false;
}

static bool name_eq(const struct name *a, const struct name *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* The fixed part of a resource record, and where its data ends. */
struct record_head {
    struct name owner;
    uint32_t type;
    uint32_t class;
    uint32_t ttl_s;
    size_t end;
};

static bool cursor_record_head(struct cursor *cursor, struct record_head *out)
{
    uint32_t length;

    if (!cursor_name(cursor, &out->owner) || !cursor_number(cursor, 2, &out->type) ||
        !cursor_number(cursor, 2, &out->class) || !cursor_number(cursor, 4, &out->ttl_s) ||
        !cursor_number(cursor, 2, &length) || length > cursor_left(cursor)) {
        return false;
    }
    out->ttl_s = out->ttl_s > TTL_MAX ? 0 : out->ttl_s;
    out->end = cursor->at + length;
    return true;
}

static bool record_address(struct cursor *cursor, const struct record_head *head,
                           struct resolver_record *out)
{
    uint8_t octets[16];
    size_t length = head->type == TYPE_A ? 4 : 16;
    uint32_t number;

    if (head->end - cursor->at != length) {
        return false;
    }
    if (length == 4) {
        if (!cursor_number(cursor, 4, &number)) {
            return false;
        }
        out->ip = pn_ip_v4(number);
        return true;
    }
    memcpy(octets, cursor->message.ptr + cursor->at, sizeof octets);
    out->ip = pn_ip_v6(octets);
    return true;
}

/* The strings of a TXT record, joined (RFC 7208 3.3). */
static bool record_text(struct cursor *cursor, const struct record_head *head,
                        struct dns_answer *answer, struct resolver_record *out)
{
    while (cursor->at < head->end) {
        size_t length = octet_at(cursor, cursor->at++);

        if (head->end - cursor->at < length) {
            return false;
        }
        memcpy(answer->data + answer->data_len, cursor->message.ptr + cursor->at, length);
        answer->data_len += length;
        out->len += length;
        cursor->at += length;
    }
    return true;
}

static void record_tlsa(struct cursor *cursor, const struct record_head *head,
                        struct dns_answer *answer, struct resolver_record *out)
{
    out->usage = NO_USAGE;
    if (head->end - cursor->at <= 3) {
        return;
    }
    out->usage = octet_at(cursor, cursor->at);
    out->selector = octet_at(cursor, cursor->at + 1);
    out->matching = octet_at(cursor, cursor->at + 2);
    out->len = head->end - cursor->at - 3;
    memcpy(answer->data + answer->data_len, cursor->message.ptr + cursor->at + 3, out->len);
    answer->data_len += out->len;
}

/* Reads the data of a record of the wanted type. *out_usable: a host can have that name. */
static bool record_read(struct cursor *cursor, const struct record_head *head,
                        struct dns_answer *answer, struct resolver_record *out,
                        bool *out_usable)
{
    struct name name;
    uint32_t preference = 0;

    *out = (struct resolver_record){0};
    *out_usable = true;
    if (head->type == TYPE_A || head->type == TYPE_AAAA) {
        return record_address(cursor, head, out);
    }
    if (head->type == TYPE_TXT) {
        return record_text(cursor, head, answer, out);
    }
    if (head->type == TYPE_TLSA) {
        record_tlsa(cursor, head, answer, out);
        return true;
    }
    if (head->type == TYPE_MX && !cursor_number(cursor, 2, &preference)) {
        return false;
    }
    if (!cursor_name(cursor, &name) || cursor->at != head->end) {
        return false;
    }
    out->preference = (uint16_t)preference;
    memcpy(out->name, name.text, name.len + 1);
    /* Only MX has a meaning for the root (RFC 7505). */
    *out_usable = name.plain && (name.len > 0 || head->type == TYPE_MX);
    return true;
}

/* Moves behind header and question; *out_name is what was asked for. */
static bool cursor_begin(struct cursor *cursor, uint32_t *out_answers, struct name *out_name)
{
    uint32_t questions;
    uint32_t number;

    if (cursor->message.len < HEADER_OCTETS) {
        return false;
    }
    cursor->at = 4;
    if (!cursor_number(cursor, 2, &questions) || !cursor_number(cursor, 2, out_answers)) {
        return false;
    }
    cursor->at = HEADER_OCTETS;
    return questions == 1 && cursor_name(cursor, out_name) && cursor_number(cursor, 4, &number);
}

int dns_type_number(enum resolver_type type)
{
    switch (type) {
    case RESOLVER_A:
        return TYPE_A;
    case RESOLVER_AAAA:
        return TYPE_AAAA;
    case RESOLVER_MX:
        return TYPE_MX;
    case RESOLVER_PTR:
        return TYPE_PTR;
    case RESOLVER_TXT:
        return TYPE_TXT;
    case RESOLVER_TLSA:
        return TYPE_TLSA;
    }
    pn_assert(false);
}

void dns_answer_fini(struct dns_answer *answer)
{
    free(answer->records);
    free(answer->data);
    *answer = (struct dns_answer){.status = RESOLVER_TEMPFAIL, .why = ""};
}

/* Makes the records point into the answer's own data. */
static void answer_bind(struct dns_answer *answer)
{
    size_t at = 0;

    for (size_t i = 0; i < answer->count && answer->data; i++) {
        answer->records[i].data = answer->data + at;
        at += answer->records[i].len;
    }
}

void dns_answer_copy(const struct dns_answer *from, struct dns_answer *to)
{
    *to = *from;
    to->records = NULL;
    to->data = NULL;
    if (from->count > 0) {
        to->records = pn_alloc_array(from->count, sizeof *to->records);
        memcpy(to->records, from->records, from->count * sizeof *to->records);
    }
    if (from->data) {
        to->data = pn_alloc(from->data_len + 1);
        memcpy(to->data, from->data, from->data_len);
        answer_bind(to);
    }
}

void dns_answer_fail(struct dns_answer *answer, const char *why)
{
    dns_answer_fini(answer);
    answer->why = why;
}

/* Follows one CNAME of *name, if there is one behind the cursor. False: the message is
 * broken. */
static bool follow_alias(struct cursor cursor, uint32_t answers, struct name *name,
                         bool *out_followed)
{
    *out_followed = false;
    for (uint32_t i = 0; i < answers && !*out_followed; i++) {
        struct record_head head;

        if (!cursor_record_head(&cursor, &head)) {
            return false;
        }
        if (head.type == TYPE_CNAME && head.class == CLASS_IN && name_eq(&head.owner, name)) {
            if (!cursor_name(&cursor, name) || cursor.at != head.end) {
                return false;
            }
            *out_followed = true;
        }
        cursor.at = head.end;
    }
    return true;
}

/* Replaces what was asked for by the name that its CNAMEs lead to. */
static bool follow_aliases(const struct cursor *cursor, uint32_t answers, struct name *name,
                           struct dns_answer *out)
{
    bool followed = true;

    for (int i = 0; i <= ALIASES_MAX && followed; i++) {
        if (!follow_alias(*cursor, answers, name, &followed)) {
            return false;
        }
        out->alias |= followed;
    }
    memcpy(out->canonical, name->text, name->len + 1);
    return !followed && name->plain;
}

/* Of too many MX records the most preferred are kept: the least preferred is overwritten. */
static void keep_preferred(struct dns_answer *answer, const struct resolver_record *record)
{
    struct resolver_record *worst = &answer->records[0];

    for (size_t i = 1; i < answer->count; i++) {
        worst = answer->records[i].preference > worst->preference ? &answer->records[i] : worst;
    }
    if (record->preference < worst->preference) {
        *worst = *record;
    }
}

static bool answer_add(struct cursor *cursor, const struct record_head *head,
                       struct dns_answer *out, size_t *out_unusable)
{
    struct resolver_record record;
    bool usable;

    if (out->count == RESOLVER_RECORDS_MAX && head->type != TYPE_MX) {
        return true;
    }
    if (!record_read(cursor, head, out, &record, &usable)) {
        return false;
    }
    if (!usable) {
        (*out_unusable)++;
    } else if (out->count < RESOLVER_RECORDS_MAX) {
        out->records[out->count++] = record;
    } else {
        keep_preferred(out, &record);
    }
    return true;
}

/* Reads all answer records. Returns false when the message does not add up. */
static bool answer_records(struct cursor *cursor, uint32_t answers, uint32_t wanted,
                           const struct name *owner, struct dns_answer *out,
                           size_t *out_unusable)
{
    for (uint32_t i = 0; i < answers; i++) {
        struct record_head head;

        if (!cursor_record_head(cursor, &head)) {
            return false;
        }
        /* A CNAME's TTL bounds what was found behind it. */
        out->ttl_s = head.ttl_s < out->ttl_s ? head.ttl_s : out->ttl_s;
        if (head.type == wanted && head.class == CLASS_IN && name_eq(&head.owner, owner) &&
            !answer_add(cursor, &head, out, out_unusable)) {
            return false;
        }
        cursor->at = head.end;
    }
    return true;
}

unsigned dns_message_rcode(struct pn_str message)
{
    return message.len >= HEADER_OCTETS ? (uint8_t)message.ptr[3] & 0x0f : 2;
}

bool dns_message_is_empty(struct pn_str message)
{
    return message.len >= HEADER_OCTETS && message.ptr[6] == 0 && message.ptr[7] == 0;
}

bool dns_message_is_truncated(struct pn_str message)
{
    return message.len >= HEADER_OCTETS && ((uint8_t)message.ptr[2] & 0x02);
}

/* Nothing is kept that is not needed: answers lie in the cache for long. */
static void answer_shrink(struct dns_answer *answer)
{
    answer->records = pn_realloc(answer->records, answer->count * sizeof *answer->records);
    if (answer->data_len == 0) {
        free(answer->data);
        answer->data = NULL;
    } else {
        answer->data = pn_realloc(answer->data, answer->data_len);
    }
    answer_bind(answer);
}

static void answer_nothing(struct dns_answer *answer)
{
    free(answer->records);
    free(answer->data);
    answer->records = NULL;
    answer->data = NULL;
    answer->status = RESOLVER_NODATA;
    answer->why = "the name has no such record";
}

void dns_answer_read(struct pn_str message, enum resolver_type type, struct dns_answer *out)
{
    struct cursor cursor = {.message = message};
    uint32_t wanted = (uint32_t)dns_type_number(type);
    struct name name;
    size_t unusable = 0;
    uint32_t answers = 0;

    *out = (struct dns_answer){.status = RESOLVER_FOUND, .why = "found", .ttl_s = TTL_MAX};
    out->records = pn_alloc_array(RESOLVER_RECORDS_MAX, sizeof *out->records);
    out->data = pn_alloc(message.len + 1); /* more than all the records' data */
    if (!cursor_begin(&cursor, &answers, &name)) {
        dns_answer_fail(out, "the DNS answer is malformed");
    } else if (dns_message_is_truncated(message)) {
        dns_answer_fail(out, "the DNS answer is truncated");
    } else if (!follow_aliases(&cursor, answers, &name, out)) {
        dns_answer_fail(out, "the DNS answer is malformed, or its aliases lead nowhere");
    } else if (!answer_records(&cursor, answers, wanted, &name, out, &unusable)) {
        dns_answer_fail(out, "the DNS answer is malformed");
    } else if (out->count == 0 && unusable > 0) {
        dns_answer_fail(out, "the DNS answer has only names that no host can have");
    } else {
        out->validated = ((uint8_t)message.ptr[3] & 0x20) != 0;
        if (out->count == 0) {
            answer_nothing(out);
        } else {
            answer_shrink(out);
        }
    }
}

bool dns_name_normalise(struct pn_str name, char out[RESOLVER_NAME_CHARS])
{
    struct name built = {.plain = true};

    if (pn_str_ends(name, PN_STR("."))) {
        name.len--;
    }
    if (name.len == 0 || name.len > NAME_MAX || name.ptr[name.len - 1] == '.') {
        return false;
    }
    while (name.len > 0) {
        struct pn_str label = pn_str_cut(&name, '.');

        if (label.len == 0 || label.len > LABEL_MAX || !name_add_label(&built, label)) {
            return false;
        }
    }
    memcpy(out, built.text, built.len + 1);
    return built.plain;
}

void dns_name_reverse(const struct pn_ip *ip, char out[RESOLVER_NAME_CHARS])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;

    if (ip->family == PN_IPV4) {
        (void)snprintf(out, RESOLVER_NAME_CHARS, "%u.%u.%u.%u.in-addr.arpa", ip->octets[3],
                       ip->octets[2], ip->octets[1], ip->octets[0]);
        return;
    }
    for (size_t i = sizeof ip->octets; i-- > 0;) {
        out[at++] = digits[ip->octets[i] & 15];
        out[at++] = '.';
        out[at++] = digits[ip->octets[i] >> 4];
        out[at++] = '.';
    }
    memcpy(out + at, "ip6.arpa", sizeof "ip6.arpa");
}
