/*
 * Texts by DATA and by BDAT, each conversation whole, byte by byte and cut at every octet:
 * smuggling (FAULTS, section 1) and framing (section 4), seen from the whole server.
 */
#include "helper_talk.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define E     "EHLO c\r\n"
#define HI    "EHLO[c]=250"
#define M     "MAIL FROM:<a@b>\r\n"
#define FROM  "MAIL[a@b]=250"
#define R     "RCPT TO:<c@d>\r\n"
#define TO    "RCPT[c@d]=250"
#define ARGS  "ERROR=501/5.5.4"
#define ORDER "ERROR=503/5.5.1"
#define OPEN  E M R
#define BEGUN HI " " FROM " " TO " DATA=354 "

struct row {
    const char *name;
    struct pn_str input;
    const char *strict;
    const char *mended; /* NULL: the same */
};

static const struct row smuggling_rows[] = {
    {"1.1", PN_STR(OPEN "DATA\r\na\n.\nMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a]bare21=550 NOOP=250", BEGUN "END[a|.|MAIL FROM:<e@f>|]bare21=550 NOOP=250"},
    {"1.2", PN_STR(OPEN "DATA\r\na\n.\r\nMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a]bare22=550 NOOP=250", BEGUN "END[a|.|MAIL FROM:<e@f>|]bare22=550 NOOP=250"},
    {"1.3", PN_STR(OPEN "DATA\r\na\r\n.\nMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a|]bare21=550 NOOP=250", BEGUN "END[a||MAIL FROM:<e@f>|]bare21=550 NOOP=250"},
    {"1.4", PN_STR(OPEN "DATA\r\na\r\n.\r\r\nMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a|]bare23=550 NOOP=250", BEGUN "END[a|||MAIL FROM:<e@f>|]bare23=550 NOOP=250"},
    {"1.5 CR . CR", PN_STR(OPEN "DATA\r\na\r.\rMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a]bare21=550 NOOP=250", BEGUN "END[a|.|MAIL FROM:<e@f>|]bare21=550 NOOP=250"},
    {"1.5 CR . CR LF", PN_STR(OPEN "DATA\r\na\r.\r\nMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a]bare22=550 NOOP=250", BEGUN "END[a|.|MAIL FROM:<e@f>|]bare22=550 NOOP=250"},
    {"1.5 CR LF . CR", PN_STR(OPEN "DATA\r\na\r\n.\rMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a|]bare21=550 NOOP=250", BEGUN "END[a||MAIL FROM:<e@f>|]bare21=550 NOOP=250"},
    {"1.6 CR LF NUL . CR LF",
     PN_STR(OPEN "DATA\r\na\r\n\0.\r\nMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a|<00>.|MAIL FROM:<e@f>|]24=250 NOOP=250", NULL},
    {"1.6 CR LF . NUL CR LF",
     PN_STR(OPEN "DATA\r\na\r\n.\0\r\nMAIL FROM:<e@f>\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a|<00>|MAIL FROM:<e@f>|]23=250 NOOP=250", NULL},
    {"1.7", PN_STR(OPEN "BDAT 10 LAST\r\na\n.\nb\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a]bare10=550 NOOP=250", BEGUN "END[a|.|b|.|]bare10=550 NOOP=250"},
    {"1.8", PN_STR(OPEN "DATA\r\na\r\n..\r\n.b\r\n.\r\nNOOP\r\n"),
     BEGUN "END[a|.|b|]9=250 NOOP=250", NULL},
};

static const struct row chunk_rows[] = {
    {"one chunk", PN_STR(OPEN "BDAT 5 LAST\r\nabc\r\nNOOP\r\n"),
     BEGUN "END[abc|]5=250 NOOP=250", NULL},
    {"many chunks", PN_STR(OPEN "BDAT 4\r\na\r\nbbdat 2\r\n\r\nBDAT 1 last\r\nc" M),
     BEGUN "CHUNK[a|b]4=250 CHUNK[a|b|]6=250 END[a|b|c|]7=250 " FROM, NULL},
    {"4.3 an empty last chunk", PN_STR(OPEN "BDAT 3\r\na\r\nBDAT 0 LAST\r\n" M),
     BEGUN "CHUNK[a|]3=250 END[a|]3=250 " FROM, NULL},
    {"an empty text", PN_STR(OPEN "BDAT 0 LAST\r\n" M), BEGUN "END[]0=250 " FROM, NULL},
    {"empty chunks", PN_STR(OPEN "BDAT 0\r\nBDAT 0\r\nBDAT 3 LAST\r\na\r\n"),
     BEGUN "CHUNK[]0=250 CHUNK[]0=250 END[a|]3=250", NULL},
    {"dots and commands are text", PN_STR(OPEN "BDAT 9 LAST\r\n.\r\nRSET\r\nNOOP\r\n"),
     BEGUN "END[.|RSET|]9=250 NOOP=250", NULL},
    {"a CR LF cut by a chunk", PN_STR(OPEN "BDAT 2\r\na\rBDAT 2 LAST\r\n\nb"),
     BEGUN "CHUNK[a]1=250 END[a|b|]4=250", NULL},
    {"a CR at the end of all", PN_STR(OPEN "BDAT 2 LAST\r\na\rNOOP\r\n"),
     BEGUN "END[a]bare2=550 NOOP=250", BEGUN "END[a|]bare2=550 NOOP=250"},
    {"no line end at the end", PN_STR(OPEN "BDAT 1 LAST\r\naNOOP\r\n"),
     BEGUN "END[a|]1=250 NOOP=250", NULL},
    {"RSET ends it", PN_STR(OPEN "BDAT 1\r\naRSET\r\nBDAT 1 LAST\r\nxNOOP\r\n"),
     BEGUN "CHUNK[a]1=250 RSET=250 " ORDER " NOOP=250", NULL},
    {"what may stand between chunks",
     PN_STR(OPEN "BDAT 1\r\naNOOP\r\n" M R "DATA\r\nVRFY x\r\n"
                 "BDAT 1 LAST\r\nb"),
     BEGUN "CHUNK[a]1=250 NOOP=250 " ORDER " " ORDER " " ORDER " VRFY=250 END[ab|]2=250", NULL},
    {"4.1 no recipient", PN_STR(E M "RCPT TO:<no@d>\r\nBDAT 6 LAST\r\nNOOP\r\n" R),
     HI " " FROM " RCPT[no@d]=550 " ORDER " " TO, NULL},
    {"4.1 no transaction", PN_STR("BDAT 6\r\nNOOP\r\n" E "BDAT 6\r\nNOOP\r\nBDAT 0\r\n" M),
     ORDER " " HI " " ORDER " " ORDER " " FROM, NULL},
    {"4.2 a refused chunk is no command",
     PN_STR(E M "RCPT TO:<nodata@d>\r\nBDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\n" M),
     HI " " FROM " RCPT[nodata@d]=250 DATA=451 " ORDER " " FROM, NULL},
    {"a refused empty chunk", PN_STR(E M "RCPT TO:<nodata@d>\r\nBDAT 0 LAST\r\n" M),
     HI " " FROM " RCPT[nodata@d]=250 DATA=451 " FROM, NULL},
    {"refused after its octets",
     PN_STR(E M "RCPT TO:<nochunk@d>\r\nBDAT 1\r\naBDAT 6 LAST\r\nNOOP\r\n" M),
     HI " " FROM " RCPT[nochunk@d]=250 DATA=354 CHUNK[a]1=552 " ORDER " " FROM, NULL},
    {"4.3 LAST and more", PN_STR(OPEN "BDAT 5 LAST x\r\nabc\r\nNOOP\r\n"),
     HI " " FROM " " TO " " ARGS " STRANGER", NULL},
    {"another word", PN_STR(OPEN "BDAT 5 FIRST\r\nabc\r\n"),
     HI " " FROM " " TO " " ARGS " STRANGER", NULL},
    {"4.3 below 0", PN_STR(OPEN "BDAT -1\r\nNOOP\r\n"), HI " " FROM " " TO " " ARGS " STRANGER",
     NULL},
    {"4.3 in hex", PN_STR(OPEN "BDAT 0x5\r\nabc\r\n"), HI " " FROM " " TO " " ARGS " STRANGER",
     NULL},
    {"4.3 2^63", PN_STR(OPEN "BDAT 9223372036854775808\r\n"),
     HI " " FROM " " TO " " ARGS " STRANGER", NULL},
    {"4.3 2^64 and 1", PN_STR(OPEN "BDAT 18446744073709551617\r\n"),
     HI " " FROM " " TO " " ARGS " STRANGER", NULL},
    {"no size", PN_STR(OPEN "BDAT\r\nBDAT LAST\r\n"), HI " " FROM " " TO " " ARGS " STRANGER",
     NULL},
    {"a bad size without a transaction", PN_STR(E "BDAT x\r\n"), HI " " ARGS " STRANGER", NULL},
    {"2^63 less 1", PN_STR(OPEN "BDAT 9223372036854775807\r\nabc\r\nNOOP\r\n"),
     HI " " FROM " " TO " DATA=354", NULL},
    {"4.4 longer than the limit",
     PN_STR(OPEN "BDAT 42 LAST\r\n0123456789012345678901234567890123"
                 "456789\r\nNOOP\r\n"),
     BEGUN "END[0123456789012345678901234567890123456789]long42=552 NOOP=250", NULL},
    {"4.4 over two chunks",
     PN_STR(OPEN "BDAT 21\r\n0123456789012345678\r\nBDAT 21 LAST\r\n"
                 "0123456789012345678\r\nNOOP\r\n"),
     BEGUN "CHUNK[0123456789012345678|]21=250 "
           "END[0123456789012345678|0123456789012345678]long42=552 NOOP=250",
     NULL},
    {"as long as the limit",
     PN_STR(OPEN "DATA\r\n01234567890123456789012345678901234567\r\n.\r\n"),
     BEGUN "END[01234567890123456789012345678901234567|]40=250", NULL},
    {"longer by DATA", PN_STR(OPEN "DATA\r\n012345678901234567890123456789012345678\r\n.\r\n"),
     BEGUN "END[012345678901234567890123456789012345678<0d>]long41=552", NULL},
};

static void check(const struct row *row, bool mend, size_t cut, size_t others)
{
    struct smtp_server_options options = {.hostname = {"mx2.example.net", 15},
                                          .command_length = 512,
                                          .message_octets = 40,
                                          .normalise_newlines = mend};
    const char *want = mend && row->mended ? row->mended : row->strict;
    struct talk talk;

    talk_init(&talk, &options);
    talk_run(&talk, row->input, cut, others);
    if (!pn_str_eq(pn_buf_str(&talk.trace), pn_str_z(want))) {
        fail_msg("%s, mend %d, cut %zu/%zu:\n%.*s, not\n%s", row->name, mend, cut, others,
                 PN_FMT(pn_buf_str(&talk.trace)), want);
    }
    talk_fini(&talk);
}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < 2 * count; i++) {
        const struct row *row = &rows[i / 2];

        check(row, i % 2, 0, SIZE_MAX);
        check(row, i % 2, 0, 1);
        for (size_t cut = 1; cut < row->input.len; cut++) {
            check(row, i % 2, cut, SIZE_MAX);
        }
    }
}

static void test_smuggling(void **state)
{
    (void)state;
    check_rows(smuggling_rows, PN_COUNT(smuggling_rows));
}

static void test_chunks(void **state)
{
    (void)state;
    check_rows(chunk_rows, PN_COUNT(chunk_rows));
}

/* The answer to a refused chunk leaves when its octets have come, not before. */
static void test_refused_chunk_is_answered_late(void **state)
{
    static const struct smtp_server_options options = {
        .hostname = {"h", 1}, .command_length = 512, .message_octets = 1000};
    struct talk talk;

    (void)state;
    talk_init(&talk, &options);
    talk_run(&talk, PN_STR(E M "RCPT TO:<nodata@d>\r\n"), 0, SIZE_MAX);
    pn_buf_clear(&talk.output);
    talk_run(&talk, PN_STR("BDAT 6 LAST\r\nNOOP\r"), 0, SIZE_MAX);
    assert_int_equal(pn_buf_str(&talk.output).len, 0);
    assert_true(smtp_server_in_text(talk.server));
    talk_run(&talk, PN_STR("\n"), 0, SIZE_MAX);
    assert_true(pn_str_eq(pn_buf_str(&talk.output), PN_STR("451 4.3.0 Later\r\n")));
    assert_false(smtp_server_in_text(talk.server));
    talk_fini(&talk);
}

/* A clean text is handed on where it is: one event for one feed, and no copy. */
static void test_text_is_not_copied(void **state)
{
    static const struct smtp_server_options options = {
        .hostname = {"h", 1}, .command_length = 512, .message_octets = 1000};
    static const struct pn_str text = PN_STR("a: b\r\n\r\nc\r\n");
    struct smtp_event event;
    struct talk talk;

    (void)state;
    talk_init(&talk, &options);
    talk_run(&talk, PN_STR(OPEN "DATA\r\n"), 0, SIZE_MAX);
    assert_true(smtp_server_in_text(talk.server));
    assert_int_equal(smtp_server_feed(talk.server, text), text.len);
    assert_int_equal(smtp_server_feed(talk.server, text), 0);
    assert_true(smtp_server_next(talk.server, &event));
    assert_int_equal(event.kind, SMTP_EV_TEXT);
    assert_ptr_equal(event.data.ptr, text.ptr);
    assert_int_equal(event.data.len, text.len);
    assert_false(smtp_server_next(talk.server, &event));
    talk_fini(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_smuggling),
        cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_refused_chunk_is_answered_late),
        cmocka_unit_test(test_text_is_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
