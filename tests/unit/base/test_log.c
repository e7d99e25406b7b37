/* What base/log promises: one event is one line, whatever the outside puts into it. */
#include "postern/base/log.h"
#include "postern/base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct memory_sink {
    struct pn_log_sink sink;
    unsigned lines, counted;
    enum pn_event event;
    char text[PN_LOG_LINE_MAX + 1];
};

static void on_line(struct pn_log_sink *sink, enum pn_event event, struct pn_str line)
{
    struct memory_sink *memory = PN_CONTAINER(sink, struct memory_sink, sink);

    assert_true(line.len <= PN_LOG_LINE_MAX);
    memory->lines++;
    memory->event = event;
    memcpy(memory->text, line.ptr, line.len);
    memory->text[line.len] = '\0';
}

static void on_event(struct pn_log_sink *sink, enum pn_event event)
{
    struct memory_sink *memory = PN_CONTAINER(sink, struct memory_sink, sink);

    memory->counted++;
    memory->event = event;
}

static void init(struct memory_sink *memory, struct pn_log *log)
{
    *memory = (struct memory_sink){
        .sink = {.on_line = on_line, .on_event = on_event, .least = PN_LOG_DEBUG}};
    pn_log_init(log, &memory->sink);
}

static void test_escapes_values(void **state)
{
    static const struct {
        const char *name;
        struct pn_str value;
        const char *want;
    } rows[] = {
        {"plain", {"a@b.example", 11}, "a@b.example"},
        {"empty", {NULL, 0}, "\"\""},
        {"blank", {"a b", 3}, "\"a b\""},
        {"quote", {"a\"b", 3}, "\"a\\\"b\""},
        {"backslash", {"a\\b", 3}, "\"a\\\\b\""},
        {"equals sign", {"a=b", 3}, "a=b"},
        {"line ends", {"a\r\nb", 4}, "\"a\\x0d\\x0ab\""},
        {"tab", {"\t", 1}, "\"\\x09\""},
        {"NUL", {"a\0b", 3}, "\"a\\x00b\""},
        {"DEL", {"\x7f", 1}, "\"\\x7f\""},
        {"escape sequence", {"\x1b[31m", 5}, "\"\\x1b[31m\""},
        {"UTF-8 passes", {"gr\xc3\xbc\xc3\x9f", 6}, "gr\xc3\xbc\xc3\x9f"},
        {"emoji passes", {"\xf0\x9f\x93\xac", 4}, "\xf0\x9f\x93\xac"},
        {"invalid UTF-8", {"a\xff\xc3", 3}, "\"a\\xff\\xc3\""},
        {"cut UTF-8", {"\xe2\x82", 2}, "\"\\xe2\\x82\""},
        {"surrogate", {"\xed\xa0\x80", 3}, "\"\\xed\\xa0\\x80\""},
        {"U+0080", {"\xc2\x80", 2}, "\"\\xc2\\x80\""},
        {"U+0085, a line end", {"\xc2\x85", 2}, "\"\\xc2\\x85\""},
        {"U+009F", {"\xc2\x9f", 2}, "\"\\xc2\\x9f\""},
        {"U+00A1 passes", {"\xc2\xa1", 2}, "\xc2\xa1"},
        {"U+2027 passes", {"\xe2\x80\xa7", 3}, "\xe2\x80\xa7"},
        {"line separator", {"\xe2\x80\xa8", 3}, "\"\\xe2\\x80\\xa8\""},
        {"paragraph separator", {"\xe2\x80\xa9", 3}, "\"\\xe2\\x80\\xa9\""},
        {"first bidi control", {"\xe2\x80\xaa", 3}, "\"\\xe2\\x80\\xaa\""},
        {"right-to-left override", {"\xe2\x80\xae", 3}, "\"\\xe2\\x80\\xae\""},
        {"U+202F passes", {"\xe2\x80\xaf", 3}, "\xe2\x80\xaf"},
        {"first isolate", {"\xe2\x81\xa6", 3}, "\"\\xe2\\x81\\xa6\""},
        {"last isolate", {"\xe2\x81\xa9", 3}, "\"\\xe2\\x81\\xa9\""},
        {"mixed", {"\xc3\xbc \xff", 4}, "\"\xc3\xbc \\xff\""},
        {"a forged event", {"x\nmessage.stored qid=1", 22}, "\"x\\x0amessage.stored qid=1\""},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct memory_sink memory;
        struct pn_log log;
        struct pn_log_line line;
        char want[256];

        init(&memory, &log);
        pn_log_begin(&line, &log, PN_EV_STORED);
        pn_log_str(&line, "v", rows[i].value);
        pn_log_u64(&line, "n", 1);
        pn_log_end(&line);
        (void)snprintf(want, sizeof want, "message.stored v=%s n=1", rows[i].want);
        if (strcmp(memory.text, want) != 0) {
            fail_msg("%s: got '%s', want '%s'", rows[i].name, memory.text, want);
        }
    }
}

static void test_writes_every_kind(void **state)
{
    struct memory_sink memory;
    struct pn_log log;
    struct pn_log_line line;
    struct pn_ip ip = pn_ip_v4(0x7f000001);
    struct pn_id id = {{0}};

    (void)state;
    init(&memory, &log);
    pn_log_begin(&line, &log, PN_EV_DEFERRED);
    pn_log_z(&line, "z", "text");
    pn_log_z(&line, "null", NULL);
    pn_log_u64(&line, "u", UINT64_MAX);
    pn_log_ms(&line, "t", 1204);
    pn_log_ms(&line, "ago", -50);
    pn_log_ms(&line, "least", INT64_MIN);
    pn_log_id(&line, "qid", &id);
    pn_log_ip(&line, "peer", &ip);
    pn_log_end(&line);
    assert_string_equal(memory.text,
                        "delivery.deferred z=text null=\"\" u=18446744073709551615 t=1.204s "
                        "ago=-0.050s least=-9223372036854775.808s "
                        "qid=00000000000000000000000000 peer=127.0.0.1");
    pn_log_say(&log, PN_EV_ALARM, "disk %d is \"full\"", 3);
    assert_string_equal(memory.text, "alarm what=\"disk 3 is \\\"full\\\"\"");
    assert_int_equal(memory.lines, 2);
    assert_int_equal(memory.counted, 2);
}

static void test_carries_its_context(void **state)
{
    struct memory_sink memory;
    struct pn_log log, child;

    (void)state;
    init(&memory, &log);
    pn_log_context(&log, "peer", PN_STR("192.0.2.1"));
    pn_log_child(&child, &log);
    pn_log_context(&child, "helo", PN_STR("a b"));
    pn_log_say(&child, PN_EV_CONNECT, "x");
    assert_string_equal(memory.text, "smtp.connect peer=192.0.2.1 helo=\"a b\" what=x");
    pn_log_say(&log, PN_EV_CONNECT, "x");
    assert_string_equal(memory.text, "smtp.connect peer=192.0.2.1 what=x");
}

static void test_context_is_bounded(void **state)
{
    static const char octets[300] = {[0 ... 299] = 'x'};
    struct memory_sink memory;
    struct pn_log log;

    (void)state;
    init(&memory, &log);
    pn_log_context(&log, "a", (struct pn_str){octets, 170});
    pn_log_context(&log, "b", (struct pn_str){"\n\n\n\n\n\n\n\n", 8});
    pn_log_context(&log, "c", (struct pn_str){octets, 300});
    pn_log_context(&log, "d", (struct pn_str){octets, 300});
    assert_true(log.context_len <= PN_LOG_CONTEXT_MAX);
    assert_memory_equal(log.context + 173, " b=\"\\x0a\\x0a\\x0a\"", 17);
    assert_int_equal(log.context_len, 190);
}

static void test_below_the_level_it_only_counts(void **state)
{
    static const struct {
        const char *name;
        enum pn_log_level least;
        unsigned lines;
    } rows[] = {
        {"all", PN_LOG_DEBUG, 5},    {"info", PN_LOG_INFO, 4},    {"warnings", PN_LOG_WARN, 3},
        {"errors", PN_LOG_ERROR, 2}, {"alarms", PN_LOG_ALARM, 1},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct memory_sink memory;
        struct pn_log log;

        init(&memory, &log);
        memory.sink.least = rows[i].least;
        pn_log_say(&log, PN_EV_CONNECT, "debug");
        pn_log_say(&log, PN_EV_START, "info");
        pn_log_say(&log, PN_EV_DEST_DOWN, "warn");
        pn_log_say(&log, PN_EV_CONFIG_REFUSED, "error");
        pn_log_say(&log, PN_EV_ALARM, "alarm");
        if (memory.lines != rows[i].lines || memory.counted != 5) {
            fail_msg("%s: %u lines, %u counted", rows[i].name, memory.lines, memory.counted);
        }
    }
}

static void test_nobody_listens(void **state)
{
    struct memory_sink memory;
    struct pn_log log;
    struct pn_log_line line;

    (void)state;
    pn_log_init(&log, NULL);
    pn_log_context(&log, "peer", PN_STR("x"));
    pn_log_say(&log, PN_EV_ALARM, "%s", "lost");
    pn_log_begin(&line, &log, PN_EV_ALARM);
    pn_log_u64(&line, "n", 1);
    pn_log_end(&line);
    pn_log_say(NULL, PN_EV_ALARM, "%s", "lost");
    init(&memory, &log);
    memory.sink.on_event = NULL;
    pn_log_say(&log, PN_EV_ALARM, "x");
    assert_int_equal(memory.lines, 1);
}

/* Values of every length near the end of a line: always whole, marked when cut. */
static void test_long_lines_are_cut(void **state)
{
    static const struct {
        const char *name;
        char fill;
        const char *end; /* of a line that is cut inside the value */
    } rows[] = {
        {"plain", 'x', "x cut=yes"},
        {"quoted", ' ', " \" cut=yes"},
        {"escaped", '\n', "\\x0a\" cut=yes"},
        {"backslashes", '\\', "\\\\\" cut=yes"},
    };
    char value[PN_LOG_LINE_MAX + 200];

    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        size_t cuts = 0;

        memset(value, rows[i].fill, sizeof value);
        for (size_t len = 1; len <= sizeof value; len++) {
            struct memory_sink memory;
            struct pn_log log;
            struct pn_log_line line;
            size_t end = strlen(rows[i].end);
            size_t text;

            init(&memory, &log);
            pn_log_begin(&line, &log, PN_EV_STORED);
            pn_log_str(&line, "v", (struct pn_str){value, len});
            if (line.cut) {
                pn_log_u64(&line, "n", 1);
                pn_log_end(&line);
                cuts++;
                text = strlen(memory.text);
                if (text > PN_LOG_LINE_MAX ||
                    strcmp(memory.text + text - end, rows[i].end) != 0) {
                    fail_msg("%s %zu: '%s'", rows[i].name, len, memory.text + text - end);
                }
            } else {
                assert_int_equal(cuts, 0);
            }
        }
        assert_true(cuts > 100);
    }
}

static void test_a_field_without_room_is_left_out(void **state)
{
    struct memory_sink memory;
    struct pn_log log;
    struct pn_log_line line;

    (void)state;
    init(&memory, &log);
    pn_log_begin(&line, &log, PN_EV_STORED);
    for (unsigned i = 0; i < 1000; i++) {
        pn_log_u64(&line, "number", i);
    }
    pn_log_end(&line);
    assert_non_null(strstr(memory.text, " cut=yes"));
    assert_true(strlen(memory.text) > PN_LOG_LINE_MAX - 32);

    /* Nothing follows what was cut, even where something short would fit. */
    pn_log_begin(&line, &log, PN_EV_OPERATOR);
    for (unsigned i = 0; i < 1000; i++) {
        pn_log_u64(&line, "number", i);
    }
    pn_log_z(&line, "n", "x");
    pn_log_end(&line);
    assert_null(strstr(memory.text, " n=x"));
    pn_log_say(&log, PN_EV_STORED, "%03000d", 1);
    assert_non_null(strstr(memory.text, "000 cut=yes"));
}

static void test_every_event_is_described(void **state)
{
    (void)state;
    for (unsigned i = 0; i < PN_EV_COUNT; i++) {
        const struct pn_event_info *info = pn_event_info((enum pn_event)i);

        assert_true(strlen(info->name) > 0 && strlen(info->help) > 0);
        assert_true(strlen(info->name) + PN_LOG_CONTEXT_MAX < PN_LOG_LINE_MAX / 2);
        for (unsigned j = 0; j < i; j++) {
            assert_string_not_equal(info->name, pn_event_info((enum pn_event)j)->name);
        }
    }
    assert_string_equal(pn_event_info(PN_EV_STORED)->name, "message.stored");
    assert_int_equal(pn_event_info(PN_EV_ALARM)->level, PN_LOG_ALARM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escapes_values),
        cmocka_unit_test(test_writes_every_kind),
        cmocka_unit_test(test_carries_its_context),
        cmocka_unit_test(test_context_is_bounded),
        cmocka_unit_test(test_below_the_level_it_only_counts),
        cmocka_unit_test(test_nobody_listens),
        cmocka_unit_test(test_long_lines_are_cut),
        cmocka_unit_test(test_a_field_without_room_is_left_out),
        cmocka_unit_test(test_every_event_is_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
