/* Mailboxes: what is one, and what is refused for good. */
#include "postern/mail/address.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define OK     MAIL_ADDRESS_OK
#define SYNTAX MAIL_ADDRESS_SYNTAX
#define LONG   MAIL_ADDRESS_TOO_LONG
#define DOMAIN MAIL_ADDRESS_DOMAIN

struct row {
    const char *name;
    struct pn_str path;
    enum mail_address_result result;
    struct pn_str text;
    const char *ascii;
};

#define X10  "xxxxxxxxxx"
#define X60  X10 X10 X10 X10 X10 X10
#define X63  X60 "xxx"
#define NONE PN_STR(""), ""

/* All of these are tried with null_ok, postmaster_ok and utf8_ok. */
static const struct row rows[] = {
    {"plain", PN_STR("<a@b.example>"), OK, PN_STR("a@b.example"), "b.example"},
    {"case", PN_STR("<A.b@B.Example>"), OK, PN_STR("A.b@B.Example"), "b.example"},
    {"null", PN_STR("<>"), OK, PN_STR(""), ""},
    {"postmaster (3.28)", PN_STR("<PostMaster>"), OK, PN_STR("PostMaster"), ""},
    {"postmaster@", PN_STR("<postmaster@b.example>"), OK, PN_STR("postmaster@b.example"),
     "b.example"},
    {"postmaster and more", PN_STR("<postmasters>"), SYNTAX, NONE},
    {"all of atext", PN_STR("<!#$%&'*+-/=?^_`{|}~@b>"), OK, PN_STR("!#$%&'*+-/=?^_`{|}~@b"),
     "b"},
    {"a quoted blank", PN_STR("<\"a b\"@c>"), OK, PN_STR("\"a b\"@c"), "c"},
    {"a quoted quote (3.17)", PN_STR("<\"a\\\"b\"@c>"), OK, PN_STR("\"a\\\"b\"@c"), "c"},
    {"a quoted angle", PN_STR("<\"a>b\"@c>"), OK, PN_STR("\"a>b\"@c"), "c"},
    {"an empty quoted string", PN_STR("<\"\"@c>"), OK, PN_STR("\"\"@c"), "c"},
    {"underscore", PN_STR("<a@_b.c_d.example>"), OK, PN_STR("a@_b.c_d.example"),
     "_b.c_d.example"},
    {"A-label", PN_STR("<a@XN--bcher-kva.example>"), OK, PN_STR("a@XN--bcher-kva.example"),
     "xn--bcher-kva.example"},
    {"U-label",
     PN_STR("<a@b\xc3\xbc"
            "cher.Example>"),
     OK,
     PN_STR("a@b\xc3\xbc"
            "cher.Example"),
     "xn--bcher-kva.example"},
    {"NFD is compared as NFC (3.21)",
     PN_STR("<a@bu\xcc\x88"
            "cher.example>"),
     OK,
     PN_STR("a@bu\xcc\x88"
            "cher.example"),
     "xn--bcher-kva.example"},
    {"UTF-8 local part", PN_STR("<\xc3\xbc@b>"), OK, PN_STR("\xc3\xbc@b"), "b"},
    {"UTF-8 in quotes", PN_STR("<\"\xc3\xbc \"@b>"), OK, PN_STR("\"\xc3\xbc \"@b"), "b"},
    {"IPv4 literal", PN_STR("<a@[192.0.2.1]>"), OK, PN_STR("a@[192.0.2.1]"), ""},
    {"IPv6 literal", PN_STR("<a@[ipv6:2001:db8::1]>"), OK, PN_STR("a@[ipv6:2001:db8::1]"), ""},
    {"::ffff: literal (3.20)", PN_STR("<a@[IPv6:::ffff:127.0.0.1]>"), OK,
     PN_STR("a@[IPv6:::ffff:127.0.0.1]"), ""},
    {"the longest local part", PN_STR("<" X60 "xxxx@b>"), OK, PN_STR(X60 "xxxx@b"), "b"},
    {"the longest label", PN_STR("<a@" X63 ".b>"), OK, PN_STR("a@" X63 ".b"), X63 ".b"},
    {"the longest domain", PN_STR("<a@" X63 "." X63 "." X63 "." X63 ">"), OK,
     PN_STR("a@" X63 "." X63 "." X63 "." X63), X63 "." X63 "." X63 "." X63},
    {"a shell's template (3.1)", PN_STR("<${run{x}}@b>"), OK, PN_STR("${run{x}}@b"), "b"},

    {"no angles", PN_STR("a@b"), SYNTAX, NONE},
    {"no end", PN_STR("<a@b"), SYNTAX, NONE},
    {"no end of null", PN_STR("<"), SYNTAX, NONE},
    {"nothing", PN_STR(""), SYNTAX, NONE},
    {"no domain", PN_STR("<a>"), SYNTAX, NONE},
    {"an empty domain", PN_STR("<a@>"), SYNTAX, NONE},
    {"no local part", PN_STR("<@b>"), SYNTAX, NONE},
    {"a shell command (3.2)", PN_STR("<;sleep 66;>"), SYNTAX, NONE},
    {"a blank", PN_STR("<a b@c>"), SYNTAX, NONE},
    {"blanks inside", PN_STR("< a@c >"), SYNTAX, NONE},
    {"a dot first", PN_STR("<.a@b>"), SYNTAX, NONE},
    {"a dot last", PN_STR("<a.@b>"), SYNTAX, NONE},
    {"two dots", PN_STR("<a..b@c>"), SYNTAX, NONE},
    {"a comment (3.17)", PN_STR("<a(c)@b>"), SYNTAX, NONE},
    {"two angles", PN_STR("<<a@b>>"), SYNTAX, NONE},
    {"NUL (3.16)", PN_STR("<a@evil\0.relay.test>"), SYNTAX, NONE},
    {"NUL in the local part", PN_STR("<a\0@b>"), SYNTAX, NONE},
    {"NUL in quotes", PN_STR("<\"a\0\"@b>"), SYNTAX, NONE},
    {"a tab in quotes", PN_STR("<\"a\t\"@b>"), SYNTAX, NONE},
    {"a newline behind a backslash", PN_STR("<\"a\\\n\"@b>"), SYNTAX, NONE},
    {"UTF-8 behind a backslash", PN_STR("<\"\\\xc3\xbc\"@b>"), SYNTAX, NONE},
    {"an open quote", PN_STR("<\"a@b>"), SYNTAX, NONE},
    {"a backslash at the end", PN_STR("<\"a\\"), SYNTAX, NONE},
    {"text behind quotes", PN_STR("<\"a\"b@c>"), SYNTAX, NONE},
    {"quotes in the middle", PN_STR("<a.\"b\"@c>"), SYNTAX, NONE},
    {"half a character (3.15)", PN_STR("<a\xc3@b>"), SYNTAX, NONE},
    {"half a character at the end", PN_STR("<a@b\xc3>"), SYNTAX, NONE},
    {"a C1 control", PN_STR("<a\xc2\x9b@b>"), SYNTAX, NONE},
    {"a route without end", PN_STR("<@a,@b>"), SYNTAX, NONE},
    {"a route with a comma at the end", PN_STR("<@a,:x@b>"), SYNTAX, NONE},

    {"local part too long", PN_STR("<" X60 "xxxxx@b>"), LONG, NONE},
    {"label too long", PN_STR("<a@x" X63 ".b>"), DOMAIN, NONE},
    {"domain too long", PN_STR("<a@" X63 "." X63 "." X63 "." X63 ".b>"), LONG, NONE},
    {"a dot behind the domain", PN_STR("<x@U.>"), DOMAIN, NONE},
    {"a dot before the domain", PN_STR("<x@.U>"), DOMAIN, NONE},
    {"an empty label", PN_STR("<x@U..V>"), DOMAIN, NONE},
    {"a hyphen first", PN_STR("<x@-U>"), DOMAIN, NONE},
    {"a hyphen last", PN_STR("<x@U-.V>"), DOMAIN, NONE},
    {"an address without brackets", PN_STR("<x@127.0.0.1>"), DOMAIN, NONE},
    {"no address in brackets", PN_STR("<x@[U]>"), DOMAIN, NONE},
    {"an empty literal", PN_STR("<x@[]>"), DOMAIN, NONE},
    {"IPv6 without its tag", PN_STR("<x@[::1]>"), DOMAIN, NONE},
    {"IPv4 with the tag", PN_STR("<x@[IPv6:127.0.0.1]>"), DOMAIN, NONE},
    {"a zone", PN_STR("<x@[IPv6:fe80::1%lo]>"), DOMAIN, NONE},
    {"a literal without end", PN_STR("<x@[127.0.0.1>"), SYNTAX, NONE},
    {"a zero-width blank (3.21)",
     PN_STR("<a@b\xe2\x80\x8b"
            "c.example>"),
     DOMAIN, NONE},
    {"a full-width letter", PN_STR("<a@\xef\xbd\x85xample.org>"), DOMAIN, NONE},
    {"an ideographic dot",
     PN_STR("<a@b\xe3\x80\x82"
            "c>"),
     DOMAIN, NONE},

    /* The classic third-party relay tests of FAULTS section 3: U other, D ours, I we. */
    {"relay 1-3", PN_STR("<x@U>"), OK, PN_STR("x@U"), "u"},
    {"relay 4", PN_STR("<s@localhost>"), OK, PN_STR("s@localhost"), "localhost"},
    {"relay 5", PN_STR("<s@[192.0.2.9]>"), OK, PN_STR("s@[192.0.2.9]"), ""},
    {"relay 6", PN_STR("<x%U@D>"), OK, PN_STR("x%U@D"), "d"},
    {"relay 7", PN_STR("<x%U@[192.0.2.9]>"), OK, PN_STR("x%U@[192.0.2.9]"), ""},
    {"relay 8", PN_STR("<\"x@U\">"), SYNTAX, NONE},
    {"relay 9", PN_STR("<\"x%U\">"), SYNTAX, NONE},
    {"relay 10", PN_STR("<x@U@D>"), SYNTAX, NONE},
    {"relay 11", PN_STR("<\"x@U\"@D>"), OK, PN_STR("\"x@U\"@D"), "d"},
    {"relay 12", PN_STR("<x@U@[192.0.2.9]>"), SYNTAX, NONE},
    {"relay 13", PN_STR("<@D:x@U>"), OK, PN_STR("x@U"), "u"},
    {"relay 13 by two", PN_STR("<@D,@E:x@U>"), OK, PN_STR("x@U"), "u"},
    {"relay 14", PN_STR("<@[192.0.2.9]:x@U>"), OK, PN_STR("x@U"), "u"},
    {"relay 15", PN_STR("<U!x>"), SYNTAX, NONE},
    {"relay 16", PN_STR("<U!x@D>"), OK, PN_STR("U!x@D"), "d"},
    {"relay 17", PN_STR("<U!x@[192.0.2.9]>"), OK, PN_STR("U!x@[192.0.2.9]"), ""},
    {"relay, ours 1", PN_STR("<x@U.>"), DOMAIN, NONE},
    {"relay, ours 2", PN_STR("<x@[127.0.0.1]>"), OK, PN_STR("x@[127.0.0.1]"), ""},
    {"relay, ours 3", PN_STR("<x@localhost>"), OK, PN_STR("x@localhost"), "localhost"},
    {"relay, ours 4", PN_STR("<x@D.U>"), OK, PN_STR("x@D.U"), "d.u"},
    {"relay, ours 5", PN_STR("<x@xD>"), OK, PN_STR("x@xD"), "xd"},
    {"relay, ours 6", PN_STR("<x@U(D)>"), SYNTAX, NONE},
    {"relay, ours 7", PN_STR("<x@U#@D>"), SYNTAX, NONE},
};

/* Each row stands in memory of exactly its size, so that a read beyond it is seen. */
static struct pn_str exactly(struct pn_str s)
{
    char *copy = pn_alloc(s.len + !s.len);

    memcpy(copy, s.ptr, s.len);
    return (struct pn_str){copy, s.len};
}

static void check_row(const struct row *row)
{
    struct mail_address address = {.text = PN_STR("untouched")};
    struct pn_str memory = exactly(row->path);
    struct pn_str text = memory;
    enum mail_address_result result = mail_path_parse(&text, true, true, true, &address);

    if (result != row->result) {
        fail_msg("%s: %d instead of %d", row->name, result, row->result);
    }
    if (result != OK) {
        assert_true(pn_str_eq(address.text, PN_STR("untouched")));
        assert_true(pn_str_eq(text, row->path));
    } else if (!pn_str_eq(address.text, row->text) || strcmp(address.ascii, row->ascii) != 0) {
        fail_msg("%s: %.*s in %s", row->name, PN_FMT(address.text), address.ascii);
    } else {
        assert_int_equal(text.len, 0);
        assert_int_equal(address.utf8, !pn_str_is_ascii(row->text));
        assert_int_equal(address.literal, pn_str_ends(row->text, PN_STR("]")));
    }
    pn_wipe((void *)(uintptr_t)memory.ptr, memory.len);
    free((void *)(uintptr_t)memory.ptr);
}

static void test_paths(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        check_row(&rows[i]);
    }
}

/* No prefix of a path is one, and reading it never leaves its memory. */
static void test_prefixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        for (size_t len = 0; rows[i].result == OK && len < rows[i].path.len; len++) {
            struct pn_str memory = exactly(pn_str_sub(rows[i].path, 0, len));
            struct pn_str text = memory;
            struct mail_address address;

            assert_int_not_equal(mail_path_parse(&text, true, true, true, &address), OK);
            free((void *)(uintptr_t)memory.ptr);
        }
    }
}

static void test_what_is_allowed_where(void **state)
{
    struct mail_address address;
    struct pn_str text = PN_STR("<>");

    (void)state;
    assert_int_equal(mail_path_parse(&text, false, true, true, &address), SYNTAX);
    text = PN_STR("<postmaster>");
    assert_int_equal(mail_path_parse(&text, true, false, true, &address), SYNTAX);
    text = PN_STR("<\xc3\xbc@b>");
    assert_int_equal(mail_path_parse(&text, true, true, false, &address), SYNTAX);
    text = PN_STR("<a@\xc3\xbc.example>");
    assert_int_equal(mail_path_parse(&text, true, true, false, &address), SYNTAX);
    text = PN_STR("<a@b> SIZE=1");
    assert_int_equal(mail_path_parse(&text, true, true, false, &address), OK);
    assert_true(pn_str_eq(text, PN_STR(" SIZE=1")));
    text = PN_STR("<a@b><c@d>");
    assert_int_equal(mail_path_parse(&text, true, true, false, &address), OK);
    assert_true(pn_str_eq(text, PN_STR("<c@d>")));
}

static void test_parts(void **state)
{
    struct mail_address address;
    struct pn_str text = PN_STR("<@r:\"a b\"@C.d>");

    (void)state;
    assert_int_equal(mail_path_parse(&text, false, false, false, &address), OK);
    assert_true(pn_str_eq(address.local, PN_STR("\"a b\"")));
    assert_true(pn_str_eq(address.domain, PN_STR("C.d")));
    assert_false(address.literal);
    assert_false(address.utf8);
}

static void test_bare_addresses(void **state)
{
    struct mail_address address;

    (void)state;
    assert_int_equal(mail_address_parse(PN_STR("a@B"), false, &address), OK);
    assert_string_equal(address.ascii, "b");
    assert_true(pn_str_eq(address.text, PN_STR("a@B")));
    assert_int_equal(mail_address_parse(PN_STR("a@b "), false, &address), SYNTAX);
    assert_int_equal(mail_address_parse(PN_STR("a@b\n"), false, &address), SYNTAX);
    assert_int_equal(mail_address_parse(PN_STR("<a@b>"), false, &address), SYNTAX);
    assert_int_equal(mail_address_parse(PN_STR("@r:a@b"), false, &address), SYNTAX);
    assert_int_equal(mail_address_parse(PN_STR(""), false, &address), SYNTAX);
    assert_int_equal(mail_address_parse(PN_STR("postmaster"), false, &address), SYNTAX);
    assert_int_equal(mail_address_parse(PN_STR("a@b..c"), false, &address), DOMAIN);
    assert_int_equal(mail_address_parse(PN_STR("\xc3\xbc@b"), false, &address), SYNTAX);
    assert_int_equal(mail_address_parse(PN_STR("\xc3\xbc@b"), true, &address), OK);
}

static void test_local_routes(void **state)
{
    (void)state;
    assert_true(mail_local_routes(PN_STR("x%U")));
    assert_true(mail_local_routes(PN_STR("U!x")));
    assert_true(mail_local_routes(PN_STR("\"x@U\"")));
    assert_false(mail_local_routes(PN_STR("x+y=z")));
    assert_false(mail_local_routes(PN_STR("")));
}

static void test_domains(void **state)
{
    char out[MAIL_DOMAIN_MAX + 1] = "untouched";

    (void)state;
    assert_false(mail_domain_ascii(PN_STR(""), out));
    assert_false(mail_domain_ascii(PN_STR("a."), out));
    assert_false(mail_domain_ascii(PN_STR("[192.0.2.1]"), out));
    assert_false(mail_domain_ascii(PN_STR("a b"), out));
    assert_false(mail_domain_ascii(PN_STR("a/b"), out));
    assert_false(mail_domain_ascii(PN_STR("a\0b"), out));
    assert_false(mail_domain_ascii(PN_STR("\xff"), out));
    assert_false(mail_domain_ascii(PN_STR("a.1"), out));
    assert_string_equal(out, "untouched");
    assert_true(mail_domain_ascii(PN_STR("MX2.Example.net"), out));
    assert_string_equal(out, "mx2.example.net");
    assert_true(mail_domain_ascii(PN_STR("1.a1"), out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_what_is_allowed_where),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_bare_addresses),
        cmocka_unit_test(test_local_routes),
        cmocka_unit_test(test_domains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
