/* The text of a message: where it ends (FAULTS, section 1), unstuffed and stuffed. */
#include "postern/smtp/body.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NEVER SIZE_MAX

struct row {
    const char *name;
    struct pn_str input;
    struct pn_str strict; /* what comes out when bare newlines are refused */
    struct pn_str mended; /* and when they are mended */
    size_t left;          /* octets behind the end; NEVER: the end has not come */
    bool bare;
    size_t octets;
};

#define SAME(text) PN_STR(text), PN_STR(text)
#define TAIL       "\r\n.\r\nQUIT\r\n"

static const struct row rows[] = {
    {"a message", PN_STR("a: b\r\n\r\nc" TAIL), SAME("a: b\r\n\r\nc\r\n"), 6, false, 11},
    {"no text at all", PN_STR(".\r\nQUIT\r\n"), SAME(""), 6, false, 0},
    {"one empty line", PN_STR("\r\n.\r\n"), SAME("\r\n"), 0, false, 2},
    {"no end yet", PN_STR("a\r\n.\r"), SAME("a\r\n"), NEVER, false, 3},
    {"stuffed dots", PN_STR("..\r\n...\r\n.x\r\na.\r\n.\r\n"), SAME(".\r\n..\r\nx\r\na.\r\n"),
     0, false, 14},
    {"NUL and 8 bits pass", PN_STR("\0\xff\r\n.\r\n"), SAME("\0\xff\r\n"), 0, false, 4},
    {"1.1 LF . LF", PN_STR("a\n.\nMAIL FROM:<>" TAIL), PN_STR("a"),
     PN_STR("a\r\n.\r\nMAIL FROM:<>\r\n"), 6, true, 18},
    {"1.2 LF . CR LF", PN_STR("a\n.\r\nMAIL" TAIL), PN_STR("a"), PN_STR("a\r\n.\r\nMAIL\r\n"),
     6, true, 11},
    {"1.3 CR LF . LF", PN_STR("a\r\n.\nMAIL" TAIL), PN_STR("a\r\n"),
     PN_STR("a\r\n\r\nMAIL\r\n"), 6, true, 10},
    {"1.4 CR LF . CR CR LF", PN_STR("a\r\n.\r\r\nMAIL" TAIL), PN_STR("a\r\n"),
     PN_STR("a\r\n\r\n\r\nMAIL\r\n"), 6, true, 12},
    {"1.5 CR . CR", PN_STR("a\r.\rMAIL" TAIL), PN_STR("a"), PN_STR("a\r\n.\r\nMAIL\r\n"), 6,
     true, 10},
    {"1.5 CR . CR LF", PN_STR("a\r.\r\nMAIL" TAIL), PN_STR("a"), PN_STR("a\r\n.\r\nMAIL\r\n"),
     6, true, 11},
    {"1.5 CR LF . CR", PN_STR("a\r\n.\rMAIL" TAIL), PN_STR("a\r\n"),
     PN_STR("a\r\n\r\nMAIL\r\n"), 6, true, 10},
    {"1.6 CR LF NUL . CR LF", PN_STR("a\r\n\0.\r\nMAIL" TAIL), SAME("a\r\n\0.\r\nMAIL\r\n"), 6,
     false, 13},
    {"1.6 CR LF . NUL CR LF", PN_STR("a\r\n.\0\r\nMAIL" TAIL), SAME("a\r\n\0\r\nMAIL\r\n"), 6,
     false, 12},
    {"LF CR LF . CR LF is an end", PN_STR("a\n\r\n.\r\n"), PN_STR("a"), PN_STR("a\r\n\r\n"), 0,
     true, 4},
    {"LF CR . CR LF is none", PN_STR("a\n\r.\r\nMAIL" TAIL), PN_STR("a"),
     PN_STR("a\r\n\r\n.\r\nMAIL\r\n"), 6, true, 12},
    {"CR CR LF", PN_STR("a\r\r\n.\r\n"), PN_STR("a"), PN_STR("a\r\n\r\n"), 0, true, 4},
    {"LF first", PN_STR("\n.\r\n.\r\n"), PN_STR(""), PN_STR("\r\n.\r\n"), 0, true, 4},
    {"dot dot LF", PN_STR("..\n.\r\n.\r\n"), PN_STR("."), PN_STR(".\r\n.\r\n"), 0, true, 5},
    {"many LF", PN_STR("\n\n\n\n\r\n.\r\n"), PN_STR(""), PN_STR("\r\n\r\n\r\n\r\n\r\n"), 0,
     true, 6},
};

static void decode(const struct row *row, bool mend, size_t first, size_t others)
{
    struct pn_str want = mend ? row->mended : row->strict;
    struct smtp_decoder decoder;
    struct pn_buf got;
    size_t at = 0;
    size_t left = NEVER;

    pn_buf_init(&got, 4096);
    smtp_decoder_init(&decoder, true, mend, 4096);
    while (at < row->input.len && left == NEVER) {
        struct pn_str piece = pn_str_sub(row->input, at, at < first ? first - at : others);
        struct pn_str text;
        enum smtp_body_result result;

        at += piece.len;
        while ((result = smtp_decoder_next(&decoder, &piece, &text)) == SMTP_BODY_TEXT) {
            assert_true(text.len > 0);
            assert_int_equal(pn_buf_append(&got, text), 0);
        }
        if (result == SMTP_BODY_END) {
            left = row->input.len - at + piece.len;
        }
    }
    if (!pn_str_eq(pn_buf_str(&got), want) || left != row->left ||
        decoder.bare_newline != row->bare ||
        (left != NEVER && decoder.text_octets != row->octets)) {
        fail_msg("%s, mend %d, cut %zu/%zu: left %zu, octets %zu, bare %d, got %.*s", row->name,
                 mend, first, others, left, (size_t)decoder.text_octets, decoder.bare_newline,
                 PN_FMT(pn_buf_str(&got)));
    }
    assert_int_equal(smtp_decoder_ended(&decoder), left != NEVER);
    assert_false(decoder.too_long);
    pn_buf_fini(&got);
}

static void test_decoder(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * PN_COUNT(rows); i++) {
        const struct row *row = &rows[i / 2];

        decode(row, i % 2, 0, row->input.len);
        decode(row, i % 2, 0, 1);
        for (size_t cut = 1; cut < row->input.len; cut++) {
            decode(row, i % 2, cut, row->input.len);
        }
    }
}

/* Text longer than the limit is cut at the same octet, however it is fed. */
static void test_limit(void **state)
{
    static const struct pn_str input = PN_STR("abc\r\n..def\r\n.\r\n");

    (void)state;
    for (size_t max = 0; max <= 12; max++) {
        for (size_t cut = 1; cut <= input.len; cut++) {
            struct smtp_decoder decoder;
            struct pn_buf got;
            struct pn_str text;
            size_t at = 0;

            pn_buf_init(&got, 64);
            smtp_decoder_init(&decoder, true, false, max);
            while (!smtp_decoder_ended(&decoder)) {
                struct pn_str piece = pn_str_sub(input, at, cut);

                at += piece.len;
                while (smtp_decoder_next(&decoder, &piece, &text) == SMTP_BODY_TEXT) {
                    assert_int_equal(pn_buf_append(&got, text), 0);
                }
            }
            assert_true(
                pn_str_eq(pn_buf_str(&got), pn_str_sub(PN_STR("abc\r\n.def\r\n"), 0, max)));
            assert_int_equal(decoder.too_long, max < 11);
            assert_int_equal(decoder.text_octets, 11);
            pn_buf_fini(&got);
        }
    }
}

struct chunk_row {
    const char *name;
    struct pn_str input;
    struct pn_str strict;
    struct pn_str mended;
    bool bare;
};

static const struct chunk_row chunk_rows[] = {
    {"nothing", PN_STR(""), SAME(""), false},
    {"whole lines", PN_STR("a\r\n.\r\n..\r\n"), SAME("a\r\n.\r\n..\r\n"), false},
    {"1.7 LF . LF", PN_STR("a\n.\nb\r\n"), PN_STR("a"), PN_STR("a\r\n.\r\nb\r\n"), true},
    {"no line end", PN_STR("a\r\nb"), SAME("a\r\nb\r\n"), false},
    {"CR at the end", PN_STR("a\r"), PN_STR("a"), PN_STR("a\r\n"), true},
    {"LF at the end", PN_STR("a\n"), PN_STR("a"), PN_STR("a\r\n"), true},
    {"a dot at the end", PN_STR("."), SAME(".\r\n"), false},
};

static void decode_chunks(const struct chunk_row *row, bool mend, size_t cut, size_t others)
{
    struct smtp_decoder decoder;
    struct pn_buf got;
    struct pn_str text;

    pn_buf_init(&got, 64);
    smtp_decoder_init(&decoder, false, mend, 64);
    for (size_t at = 0; at < row->input.len;) {
        struct pn_str piece = pn_str_sub(row->input, at, at < cut ? cut - at : others);

        at += piece.len;
        while (smtp_decoder_next(&decoder, &piece, &text) == SMTP_BODY_TEXT) {
            assert_int_equal(pn_buf_append(&got, text), 0);
        }
        assert_int_equal(piece.len, 0);
    }
    while (smtp_decoder_finish(&decoder, &text)) {
        assert_int_equal(pn_buf_append(&got, text), 0);
    }
    if (!pn_str_eq(pn_buf_str(&got), mend ? row->mended : row->strict) ||
        decoder.bare_newline != row->bare) {
        fail_msg("%s, mend %d, cut %zu/%zu: bare %d, got %.*s", row->name, mend, cut, others,
                 decoder.bare_newline, PN_FMT(pn_buf_str(&got)));
    }
    assert_int_equal(decoder.text_octets <= row->input.len, 1);
    pn_buf_fini(&got);
}

static void test_chunks(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * PN_COUNT(chunk_rows); i++) {
        const struct chunk_row *row = &chunk_rows[i / 2];

        decode_chunks(row, i % 2, 0, 64);
        decode_chunks(row, i % 2, 0, 1);
        for (size_t cut = 1; cut < row->input.len; cut++) {
            decode_chunks(row, i % 2, cut, 64);
        }
    }
}

/* Text made of surprises alone costs time in proportion to its length, not to its square. */
static void test_hostile_text_is_taken_whole(void **state)
{
    static const char *const patterns[] = {"\r", "\n", ".\r\n", "\n\r", "\r\n."};

    (void)state;
    for (size_t i = 0; i < PN_COUNT(patterns); i++) {
        static char text[65536];
        struct pn_str data = {text, sizeof text};
        struct pn_str piece;
        struct smtp_decoder decoder;

        for (size_t at = 0; at < sizeof text; at++) {
            text[at] = patterns[i][at % strlen(patterns[i])];
        }
        smtp_decoder_init(&decoder, false, true, UINT64_MAX);
        while (smtp_decoder_next(&decoder, &data, &piece) == SMTP_BODY_TEXT) {
            assert_true(piece.len > 0);
        }
        assert_int_equal(data.len, 0);
    }
}

struct stuff_row {
    const char *name;
    struct pn_str text;
    struct pn_str want;
};

static const struct stuff_row stuff_rows[] = {
    {"nothing", PN_STR(""), PN_STR(".\r\n")},
    {"lines", PN_STR("a\r\n\r\nb\r\n"), PN_STR("a\r\n\r\nb\r\n.\r\n")},
    {"dots", PN_STR(".\r\n..\r\na.\r\n.b\r\n"), PN_STR("..\r\n...\r\na.\r\n..b\r\n.\r\n")},
    {"no end of line", PN_STR("a"), PN_STR("a\r\n.\r\n")},
    {"a dot at the end", PN_STR("a\r\n."), PN_STR("a\r\n..\r\n.\r\n")},
    {"1.9 LF . LF", PN_STR("a\n.\nb\r\n"), PN_STR("a\r\n..\r\nb\r\n.\r\n")},
    {"CR . CR", PN_STR("a\r.\rb\r\n"), PN_STR("a\r\n..\r\nb\r\n.\r\n")},
    {"CR LF . CR CR LF", PN_STR("\r\n.\r\r\nb\r\n"), PN_STR("\r\n..\r\n\r\nb\r\n.\r\n")},
    {"CR at the end", PN_STR("a\r"), PN_STR("a\r\n.\r\n")},
};

static void stuff(const struct stuff_row *row, size_t cut, size_t others, size_t room)
{
    struct smtp_stuffer stuffer;
    struct pn_buf out;
    struct pn_buf got;
    int result;

    pn_buf_init(&out, room);
    pn_buf_init(&got, 256);
    smtp_stuffer_init(&stuffer);
    for (size_t at = 0; at < row->text.len;) {
        at += smtp_stuffer_feed(&stuffer,
                                pn_str_sub(row->text, at, at < cut ? cut - at : others), &out);
        assert_int_equal(pn_buf_append(&got, pn_buf_str(&out)), 0);
        pn_buf_clear(&out);
    }
    result = smtp_stuffer_finish(&stuffer, &out);
    assert_int_equal(result, 0);
    assert_int_equal(pn_buf_append(&got, pn_buf_str(&out)), 0);
    if (!pn_str_eq(pn_buf_str(&got), row->want)) {
        fail_msg("%s, cut %zu/%zu, room %zu: got %.*s", row->name, cut, others, room,
                 PN_FMT(pn_buf_str(&got)));
    }
    pn_buf_fini(&out);
    pn_buf_fini(&got);
}

static void test_stuffer(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(stuff_rows); i++) {
        for (size_t room = 5; room < 30; room++) {
            stuff(&stuff_rows[i], 0, 64, room);
            stuff(&stuff_rows[i], 0, 1, room);
            for (size_t cut = 1; cut < stuff_rows[i].text.len; cut++) {
                stuff(&stuff_rows[i], cut, 64, room);
            }
        }
    }
}

static void test_stuffer_without_room(void **state)
{
    struct smtp_stuffer stuffer;
    struct pn_buf out;

    (void)state;
    pn_buf_init(&out, 1);
    smtp_stuffer_init(&stuffer);
    assert_int_equal(smtp_stuffer_feed(&stuffer, PN_STR("."), &out), 0);
    assert_int_equal(smtp_stuffer_feed(&stuffer, PN_STR("ab"), &out), 1);
    assert_int_equal(smtp_stuffer_finish(&stuffer, &out), PN_ENOSPACE);
    pn_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoder), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_chunks),  cmocka_unit_test(test_hostile_text_is_taken_whole),
        cmocka_unit_test(test_stuffer), cmocka_unit_test(test_stuffer_without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
