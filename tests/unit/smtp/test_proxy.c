/* PROXY headers, whole and at every split, and what is none. */
#include "postern/base/mem.h"
#include "postern/smtp/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SIGN "\r\n\r\n\0\r\nQUIT\n"
#define V4   "\xc6\x33\x64\x07\xc0\x00\x02\x01\xd4\x31\x00\x19"
#define A8   "\x20\x01\x0d\xb8\0\0\0\0"
#define V6                                                                                     \
    A8 "\0\0\0\0\0\0\0\x07" A8 "\0\0\0\0\0\0\0\x19"                                            \
       "\xd4\x31\x00\x19"
#define MAP  "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x07"
#define X16  "xxxxxxxxxxxxxxxx"
#define X108 X16 X16 X16 X16 X16 X16 "xxxxxxxxxxxx"

struct row {
    const char *name;
    struct pn_str input;
    enum smtp_proxy_result want;
    const char *client; /* of TOLD */
    size_t octets;      /* 0: all of the input */
};

static const struct row rows[] = {
    {"IPv4", PN_STR(SIGN "\x21\x11\x00\x0c" V4), SMTP_PROXY_TOLD, "198.51.100.7:54321", 0},
    {"the client's octets follow", PN_STR(SIGN "\x21\x11\x00\x0c" V4 "EHLO c\r\n"),
     SMTP_PROXY_TOLD, "198.51.100.7:54321", 28},
    {"IPv6", PN_STR(SIGN "\x21\x21\x00\x24" V6), SMTP_PROXY_TOLD, "[2001:db8::7]:54321", 0},
    {"IPv4 in IPv6", PN_STR(SIGN "\x21\x21\x00\x24" MAP MAP "\x00\x07\x00\x19"),
     SMTP_PROXY_TOLD, "198.51.100.7:7", 0},
    {"values behind the addresses",
     PN_STR(SIGN "\x21\x11\x00\x15" V4 "\x04\x00\x06junkjuEHLO c\r\n"), SMTP_PROXY_TOLD,
     "198.51.100.7:54321", 37},
    {"values that do not add up", PN_STR(SIGN "\x21\x11\x00\x0f" V4 "\x04\xff\xff"),
     SMTP_PROXY_TOLD, "198.51.100.7:54321", 0},
    {"LOCAL", PN_STR(SIGN "\x20\x00\x00\x00"), SMTP_PROXY_OWN, NULL, 0},
    {"LOCAL with addresses", PN_STR(SIGN "\x20\x11\x00\x0c" V4 "EHLO"), SMTP_PROXY_OWN, NULL,
     28},
    {"LOCAL of a family that there is not", PN_STR(SIGN "\x20\xff\x00\x01x"), SMTP_PROXY_OWN,
     NULL, 0},
    {"no family", PN_STR(SIGN "\x21\x00\x00\x00"), SMTP_PROXY_OWN, NULL, 0},
    {"no family, with octets", PN_STR(SIGN "\x21\x00\x00\x03xxxQ"), SMTP_PROXY_OWN, NULL, 19},
    {"unix sockets", PN_STR(SIGN "\x21\x31\x00\xd8" X108 X108), SMTP_PROXY_OWN, NULL, 0},
    {"datagrams", PN_STR(SIGN "\x21\x12\x00\x0c" V4), SMTP_PROXY_BAD, NULL, 0},
    {"a family that there is not", PN_STR(SIGN "\x21\x41\x00\x0c" V4), SMTP_PROXY_BAD, NULL, 0},
    {"a command that there is not", PN_STR(SIGN "\x22\x11\x00\x0c" V4), SMTP_PROXY_BAD, NULL,
     0},
    {"version 1 in version 2's clothes", PN_STR(SIGN "\x11\x11\x00\x0c" V4), SMTP_PROXY_BAD,
     NULL, 0},
    {"too short for IPv4", PN_STR(SIGN "\x21\x11\x00\x0b" V4), SMTP_PROXY_BAD, NULL, 0},
    {"too short for IPv6", PN_STR(SIGN "\x21\x21\x00\x0c" V4), SMTP_PROXY_BAD, NULL, 0},
    {"from nowhere",
     PN_STR(SIGN "\x21\x11\x00\x0c"
                 "\0\0\0\0"
                 "\0\0\0\0"
                 "\0\0\0\0"),
     SMTP_PROXY_BAD, NULL, 0},
    {"longer than anybody needs", PN_STR(SIGN "\x21\x11\xff\xff" V4), SMTP_PROXY_BAD, NULL, 0},
    {"the text form", PN_STR("PROXY TCP4 198.51.100.7 192.0.2.1 54321 25\r\n"), SMTP_PROXY_BAD,
     NULL, 0},
    {"SMTP", PN_STR("EHLO c\r\n"), SMTP_PROXY_BAD, NULL, 0},
    {"TLS", PN_STR("\x16\x03\x01"), SMTP_PROXY_BAD, NULL, 0},
    {"almost a signature", PN_STR("\r\n\r\n\0\r\nQUIT\r"), SMTP_PROXY_BAD, NULL, 0},
    {"nothing", PN_STR(""), SMTP_PROXY_MORE, NULL, 0},
    {"half a signature", PN_STR("\r\n\r\n\0\r"), SMTP_PROXY_MORE, NULL, 0},
    {"half an address", PN_STR(SIGN "\x21\x11\x00\x0c\xc6\x33"), SMTP_PROXY_MORE, NULL, 0},
};

/* At an address of its own, so that a read beyond it is noticed. */
static enum smtp_proxy_result parse(struct pn_str input, size_t len, struct smtp_proxy *out)
{
    char *copy = pn_alloc(len + 1);
    enum smtp_proxy_result result;

    memcpy(copy, input.ptr, len);
    copy = pn_realloc(copy, len > 0 ? len : 1);
    result = smtp_proxy_parse((struct pn_str){copy, len}, out);
    free(copy);
    return result;
}

/* What comes first never changes what is said of the whole: BAD stays BAD, MORE is not that. */
static void check_prefixes(const struct row *row)
{
    enum smtp_proxy_result before = SMTP_PROXY_MORE;
    struct smtp_proxy out;

    for (size_t len = 0; len <= row->input.len; len++) {
        enum smtp_proxy_result now = parse(row->input, len, &out);

        if (before != SMTP_PROXY_MORE && now != before) {
            fail_msg("%s: at %zu octets %d became %d", row->name, len, (int)before, (int)now);
        }
        before = now;
    }
}

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        const struct row *row = &rows[i];
        struct smtp_proxy out = {0};
        char text[PN_ENDPOINT_CHARS];

        print_message("%s\n", row->name);
        assert_int_equal(parse(row->input, row->input.len, &out), row->want);
        if (row->client) {
            assert_string_equal(pn_endpoint_format(&out.client, text), row->client);
        }
        if (row->want == SMTP_PROXY_TOLD || row->want == SMTP_PROXY_OWN) {
            assert_int_equal(out.octets, row->octets ? row->octets : row->input.len);
        } else {
            assert_int_equal(out.octets, 0);
        }
        check_prefixes(row);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_headers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
