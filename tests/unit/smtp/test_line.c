/* Lines: only CR LF ends one, however the octets are cut. */
#include "postern/smtp/line.h"

#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LINE_MAX_OCTETS 16

struct row {
    const char *name;
    struct pn_str input;
    const char *want; /* one letter and the text for each line: "O[…]" */
};

static const struct row rows[] = {
    {"two lines", PN_STR("NOOP\r\nQUIT\r\n"), "O[NOOP]O[QUIT]"},
    {"an empty line", PN_STR("\r\nQUIT\r\n"), "O[]O[QUIT]"},
    {"no end", PN_STR("NOOP"), "M[NOOP]"},
    {"no end but a CR", PN_STR("NOOP\r"), "M[NOOP.]"},
    {"LF alone joins (1.11)", PN_STR("MAIL\nRCPT\r\nX\r\n"), "B[MAIL.RCPT]O[X]"},
    {"CR alone joins", PN_STR("MAIL\rRCPT\r\nX\r\n"), "B[MAIL.RCPT]O[X]"},
    {"CR CR LF", PN_STR("MAIL\r\r\nX\r\n"), "B[MAIL.]O[X]"},
    {"LF CR LF", PN_STR("MAIL\n\r\nX\r\n"), "B[MAIL.]O[X]"},
    {"LF CR", PN_STR("MAIL\n\rX\r\nX\r\n"), "B[MAIL..X]O[X]"},
    {"NUL", PN_STR("MA\0IL\r\nX\r\n"), "B[MA.IL]O[X]"},
    {"the longest", PN_STR("12345678901234\r\nX\r\n"), "O[12345678901234]O[X]"},
    {"one too long", PN_STR("123456789012345\r\nX\r\n"), "L[123456789012345.]O[X]"},
    {"much too long", PN_STR("12345678901234567890123\n4567\r\nX\r\n"),
     "L[1234567890123456]O[X]"},
    {"too long, CR at the border", PN_STR("123456789012345\rx\r\nX\r\n"),
     "L[123456789012345.]O[X]"},
};

static void take_all(struct smtp_line *line, char *got, size_t size, bool more)
{
    struct pn_str text;
    enum smtp_line_result result = smtp_line_take(line, &text);
    size_t len = strlen(got);

    if (result == SMTP_LINE_MORE && (!more || text.len == 0)) {
        return;
    }
    got[len++] = "MOBLE"[result];
    got[len++] = '[';
    for (size_t i = 0; i < text.len && i < 64; i++) {
        got[len++] = pn_is_control(text.ptr[i]) ? '.' : text.ptr[i];
    }
    snprintf(got + len, size - len, "]");
}

static void run_pieces(const struct row *row, size_t first, size_t others)
{
    char got[256] = "";
    struct smtp_line line;
    size_t at = 0;

    smtp_line_init(&line, LINE_MAX_OCTETS);
    while (at < row->input.len) {
        struct pn_str piece = pn_str_sub(row->input, at, at < first ? first - at : others);

        at += smtp_line_feed(&line, piece);
        take_all(&line, got, sizeof got, false);
    }
    take_all(&line, got, sizeof got, true);
    if (strcmp(got, row->want) != 0) {
        fail_msg("%s, cut %zu/%zu: got %s, want %s", row->name, first, others, got, row->want);
    }
    smtp_line_fini(&line);
}

static void test_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        run_pieces(&rows[i], 0, rows[i].input.len);
        run_pieces(&rows[i], 0, 1);
        for (size_t cut = 1; cut < rows[i].input.len; cut++) {
            run_pieces(&rows[i], cut, rows[i].input.len);
        }
    }
}

static void test_a_line_waits_until_taken(void **state)
{
    struct smtp_line line;
    struct pn_str text;

    (void)state;
    smtp_line_init(&line, LINE_MAX_OCTETS);
    assert_int_equal(smtp_line_feed(&line, PN_STR("A\r\nB\r\n")), 3);
    assert_int_equal(smtp_line_feed(&line, PN_STR("B\r\n")), 0);
    assert_int_equal(smtp_line_take(&line, &text), SMTP_LINE_OK);
    assert_int_equal(smtp_line_feed(&line, PN_STR("B\r\n")), 3);
    smtp_line_clear(&line);
    assert_int_equal(smtp_line_take(&line, &text), SMTP_LINE_MORE);
    smtp_line_fini(&line);
}

/* FAULTS 3.24: a line that never ends keeps no memory and is given up. */
static void test_endless_line(void **state)
{
    static char junk[SMTP_LINE_SKIP_MAX + 1];
    static const size_t cuts[] = {1, 7, 4096, sizeof junk};

    (void)state;
    memset(junk, 'x', sizeof junk);
    for (size_t i = 0; i < PN_COUNT(cuts); i++) {
        struct smtp_line line;
        struct pn_str text;
        size_t at = 0;

        smtp_line_init(&line, LINE_MAX_OCTETS);
        while (at < sizeof junk) {
            size_t piece = sizeof junk - at < cuts[i] ? sizeof junk - at : cuts[i];

            assert_int_equal(smtp_line_take(&line, &text), SMTP_LINE_MORE);
            at += smtp_line_feed(&line, (struct pn_str){junk + at, piece});
        }
        assert_int_equal(smtp_line_take(&line, &text), SMTP_LINE_ENDLESS);
        assert_true(line.buf.cap <= LINE_MAX_OCTETS);
        smtp_line_fini(&line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_a_line_waits_until_taken),
        cmocka_unit_test(test_endless_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
