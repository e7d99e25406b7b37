/*
 * Conversations with the server's half, each whole, byte by byte and cut at every octet:
 * order, addresses, parameters, and what is no SMTP at all (FAULTS, section 3).
 */
#include "helper_talk.h"

#include "postern/base/mem.h"
#include "postern/smtp/line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct smtp_server_options options = {
    .hostname = {"mx2.example.net", 15},
    .command_length = 1024,
    .message_octets = 1000,
};

struct row {
    const char *name;
    struct pn_str input;
    const char *want;
};

#define E       "EHLO c\r\n"
#define HI      "EHLO[c]=250"
#define M       "MAIL FROM:<a@b>\r\n"
#define FROM    "MAIL[a@b]=250"
#define R       "RCPT TO:<c@d>\r\n"
#define TO      "RCPT[c@d]=250"
#define BAD     "ERROR=500/5.5.2"
#define ARGS    "ERROR=501/5.5.4"
#define UNKNOWN "ERROR=555/5.5.4"
#define ORDER   "ERROR=503/5.5.1"
#define X10     "xxxxxxxxxx"
#define X100    X10 X10 X10 X10 X10 X10 X10 X10 X10 X10
#define X500    X100 X100 X100 X100 X100

static const struct row order_rows[] = {
    {"a whole session", PN_STR(E M R "DATA\r\nx\r\n.\r\nQUIT\r\n"),
     HI " " FROM " " TO " DATA=354 END[x|]3=250 QUIT=221"},
    {"HELO", PN_STR("helo c\r\nmail from:<a@b>\r\n"), "HELO[c]=250 " FROM},
    {"two mails", PN_STR(E M R "DATA\r\n.\r\n" M R "DATA\r\n.\r\n"),
     HI " " FROM " " TO " DATA=354 END[]0=250 " FROM " " TO " DATA=354 END[]0=250"},
    {"MAIL before EHLO", PN_STR(M E), ORDER " " HI},
    {"RCPT before MAIL", PN_STR(E R), HI " " ORDER},
    {"nested MAIL", PN_STR(E M M R M), HI " " FROM " " ORDER " " TO " " ORDER},
    {"DATA before RCPT", PN_STR(E "DATA\r\n" M "DATA\r\n"), HI " " ORDER " " FROM " " ORDER},
    {"DATA after a refused RCPT", PN_STR(E M "RCPT TO:<no@d>\r\nDATA\r\n" R "DATA\r\n.\r\n"),
     HI " " FROM " RCPT[no@d]=550 " ORDER " " TO " DATA=354 END[]0=250"},
    {"a refused MAIL", PN_STR(E "MAIL FROM:<no@b>\r\n" R M),
     HI " MAIL[no@b]=550 " ORDER " " FROM},
    {"a refused DATA ends the transaction", PN_STR(E M "RCPT TO:<nodata@d>\r\nDATA\r\n" R M),
     HI " " FROM " RCPT[nodata@d]=250 DATA=451 " ORDER " " FROM},
    {"a refused text ends the transaction", PN_STR(E M R "DATA\r\n\n\r\n.\r\n" R M),
     HI " " FROM " " TO " DATA=354 END[]bare3=550 " ORDER " " FROM},
    {"RSET", PN_STR(E "RSET\r\n" M "RSET\r\n" R M R "RSET\r\n" R),
     HI " RSET=250 " FROM " RSET=250 " ORDER " " FROM " " TO " RSET=250 " ORDER},
    {"RSET is no EHLO", PN_STR("RSET\r\n" M), "RSET=250 " ORDER},
    {"EHLO resets", PN_STR(E M R E R), HI " " FROM " " TO " " HI " " ORDER},
    {"NOOP and its like go everywhere",
     PN_STR("NOOP\r\nHELP x\r\n" E M "VRFY a\r\nEXPN a\r\nNOOP x y\r\n" R "HELP\r\n"),
     "NOOP=250 HELP=250 " HI " " FROM " VRFY=250 VRFY=250 NOOP=250 " TO " HELP=250"},
    {"QUIT ends it", PN_STR("QUIT\r\nNOOP\r\n"), "QUIT=221"},
    {"421 ends it", PN_STR(E "MAIL FROM:<never@b>\r\nNOOP\r\n"), HI " MAIL[never@b]=421"},
    {"commands behind DATA are text (4.5)",
     PN_STR(E M R "DATA\r\nRSET\r\nQUIT\r\n.\r\nNOOP\r\n"),
     HI " " FROM " " TO " DATA=354 END[RSET|QUIT|]12=250 NOOP=250"},
    {"commands behind a refused DATA are commands",
     PN_STR(E M "RCPT TO:<nodata@d>\r\nDATA\r\nRSET\r\n.\r\n"),
     HI " " FROM " RCPT[nodata@d]=250 DATA=451 RSET=250 " BAD},
    {"ETRN", PN_STR("ETRN d\r\n" E "ETRN d.example\r\nETRN #',('x')\r\n" M "ETRN d\r\n"),
     ORDER " " HI " ETRN[d.example]=250 ETRN[#',('x')]=250 " FROM " " ORDER},
    {"ETRN of nothing, of two, of controls",
     PN_STR(E "ETRN\r\nETRN a b\r\nETRN a\tb\r\nETRN \xc3\xbc\r\n"),
     HI " " ARGS " " ARGS " " ARGS " " ARGS},
    {"STARTTLS is not offered", PN_STR(E "STARTTLS\r\n"), HI " ERROR=502/5.5.1"},
};

static const struct row line_rows[] = {
    {"an empty line", PN_STR("\r\n \r\n"), BAD " " BAD},
    {"unknown verbs",
     PN_STR("LHLO c\r\nAUTH PLAIN\r\nAUTH\r\nXFORWARD\r\nEHLOO c\r\nEHL c\r\n"),
     BAD " " BAD " " BAD " " BAD " " BAD " " BAD},
    {"a tab is no blank", PN_STR("EHLO\tc\r\nNOOP\r\n"), BAD " NOOP=250"},
    {"1.11 a bare LF", PN_STR(E "MAIL FROM:<a@b>\nRCPT TO:<c@d>\r\nNOOP\r\n"),
     HI " " BAD " NOOP=250"},
    {"1.11 a bare CR", PN_STR(E "MAIL FROM:<a@b>\rRCPT TO:<c@d>\r\nNOOP\r\n"),
     HI " " BAD " NOOP=250"},
    {"1.11 LF in front", PN_STR("\nNOOP\r\nNOOP\r\n"), BAD " NOOP=250"},
    {"CR CR LF", PN_STR("NOOP\r\r\nNOOP\r\n"), BAD " NOOP=250"},
    {"3.16 NUL", PN_STR(E M "RCPT TO:<user@evil\0.relay.test>\r\nNOOP\0\r\n"),
     HI " " FROM " " BAD " " BAD},
    {"the longest command", PN_STR("NOOP " X500 X500 X10 "1234567\r\nNOOP\r\n"),
     "NOOP=250 NOOP=250"},
    {"3.24 one octet too long", PN_STR("NOOP " X500 X500 X10 "12345678\r\nNOOP\r\n"),
     BAD " NOOP=250"},
    {"arguments where none belong", PN_STR(E "RSET x\r\nQUIT x\r\n" M R "DATA x\r\n"),
     HI " " ARGS " " ARGS " " FROM " " TO " " ARGS},
    {"blanks at the end", PN_STR("EHLO c  \r\nMAIL FROM:<a@b> \r\nRSET  \r\nQUIT \r\n"),
     HI " " FROM " RSET=250 QUIT=221"},
    {"EHLO takes junk", PN_STR("EHLO [1.2\r\nEHLO ::1\r\nHELO a_b!\r\nEHLO a b\r\n"),
     "EHLO[[1.2]=250 EHLO[::1]=250 HELO[a_b!]=250 EHLO[a b]=250"},
    {"EHLO takes no controls", PN_STR("EHLO\r\nEHLO  \r\nHELO a\tb\r\nEHLO \xff\r\n" M),
     ARGS " " ARGS " " ARGS " " ARGS " " ORDER},
    {"3.8 a long EHLO",
     PN_STR("EHLO " X100 X100 X10 X10 X10 X10 X10 "12345\r\nEHLO " X100 X100 X10 X10 X10 X10 X10
            "123456\r\n"),
     "EHLO[" X100 X100 X10 X10 X10 X10 X10 "12345]=250 " ARGS},
    {"HTTP", PN_STR("GET / HTTP/1.1\r\nNOOP\r\n"), "STRANGER"},
    {"HTTP, lower case", PN_STR("post /\r\nNOOP\r\n"), "STRANGER"},
    {"HTTP, late", PN_STR(E M "Content-Length: 1\r\nNOOP\r\n"), HI " " FROM " STRANGER"},
    {"HTTP, another method", PN_STR("PROPFIND / HTTP/1.0\r\nNOOP\r\n"), "STRANGER"},
    {"HTTP with bare LF", PN_STR("HEAD /\nHost: x\r\nNOOP\r\n"), "STRANGER"},
    {"HTTP, long", PN_STR("PUT /" X500 X500 X100 "\r\nNOOP\r\n"), "STRANGER"},
    {"a host header", PN_STR("host: x\r\nNOOP\r\n"), "STRANGER"},
    {"TLS", PN_STR("\x16\x03\x01\x02\0\r\nNOOP\r\n"), "STRANGER"},
    {"TLS without a line end", PN_STR("\x16\x03"), "STRANGER"},
};

static const struct row path_rows[] = {
    {"one blank behind the colon", PN_STR(E "MAIL FROM: <a@b>\r\nRCPT TO: <c@d>\r\n"),
     HI " " FROM " " TO},
    {"two blanks", PN_STR(E "MAIL FROM:  <a@b>\r\n"), HI " ERROR=501/5.1.7"},
    {"a blank before the colon", PN_STR(E "MAIL FROM :<a@b>\r\nMAIL  FROM:<a@b>\r\n"),
     HI " " ARGS " " ARGS},
    {"the wrong word", PN_STR(E "MAIL TO:<a@b>\r\nMAIL\r\n" M "RCPT FROM:<c@d>\r\nRCPT\r\n"),
     HI " " ARGS " " ARGS " " FROM " " ARGS " " ARGS},
    {"the null sender", PN_STR(E "MAIL FROM:<>\r\nRCPT TO:<>\r\n"),
     HI " MAIL[]=250 ERROR=501/5.1.3"},
    {"3.28 postmaster", PN_STR(E M "RCPT TO:<Postmaster>\r\n"),
     HI " " FROM " RCPT[Postmaster]=250"},
    {"no postmaster as sender", PN_STR(E "MAIL FROM:<postmaster>\r\n"), HI " ERROR=501/5.1.7"},
    {"3.2 no address", PN_STR(E "MAIL FROM:<;sleep 66;>\r\nMAIL FROM:\r\nMAIL FROM:a@b\r\n"),
     HI " ERROR=501/5.1.7 ERROR=501/5.1.7 ERROR=501/5.1.7"},
    {"3.17 two addresses", PN_STR(E M "RCPT TO:<a@b><c@d>\r\nRCPT TO:<a@b>,<c@d>\r\n"),
     HI " " FROM " " ARGS " " ARGS},
    {"3.18 a source route", PN_STR(E M "RCPT TO:<@x,@y:c@d>\r\n"), HI " " FROM " " TO},
    {"domains and lengths", PN_STR(E M "RCPT TO:<c@d.>\r\nRCPT TO:<" X100 "@d>\r\n"),
     HI " " FROM " ERROR=501/5.1.3 ERROR=501/5.1.3"},
    {"3.22 UTF-8 without SMTPUTF8",
     PN_STR(E "MAIL FROM:<\xc3\xbc@b>\r\n" M "RCPT TO:<\xc3\xbc@b>\r\n"),
     HI " ERROR=553/5.6.7 " FROM " ERROR=553/5.6.7"},
    {"UTF-8 with it", PN_STR(E "MAIL FROM:<\xc3\xbc@b> SMTPUTF8\r\nRCPT TO:<c@\xc3\xbc.d>\r\n"),
     HI " MAIL[\xc3\xbc@b UTF8 UTF8-ADDRESS]=250 RCPT[c@\xc3\xbc.d UTF8-ADDRESS]=250"},
    {"SMTPUTF8 counts for one transaction",
     PN_STR(E "MAIL FROM:<a@b> SMTPUTF8\r\nRSET\r\n" M "RCPT TO:<\xc3\xbc@b>\r\n"),
     HI " MAIL[a@b UTF8]=250 RSET=250 " FROM " ERROR=553/5.6.7"},
};

#define MAIL_WITH(params) PN_STR(E "MAIL FROM:<a@b> " params "\r\n")
#define RCPT_WITH(params) PN_STR(E M "RCPT TO:<c@d> " params "\r\n")
#define MAILED(params)    HI " MAIL[a@b " params "]=250"
#define RCPTED(params)    HI " " FROM " RCPT[c@d " params "]=250"

static const struct row param_rows[] = {
    {"all of MAIL", MAIL_WITH("SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x+2B"),
     MAILED("SIZE=1000 8BIT UTF8 FULL ENVID=x+2B")},
    {"case and blanks", MAIL_WITH(" size=1  body=7bit ret=hdrs "), MAILED("SIZE=1 HDRS")},
    {"no blank before", PN_STR(E "MAIL FROM:<a@b>SIZE=1\r\n"), HI " " ARGS},
    {"no blank but a tab", PN_STR(E "MAIL FROM:<a@b>\tSIZE=1\r\n"), HI " " ARGS},
    {"SIZE 0", MAIL_WITH("SIZE=0"), MAILED("SIZE=0")},
    {"SIZE too large", MAIL_WITH("SIZE=1001"), HI " ERROR=552/5.3.4"},
    {"3.23 SIZE beyond 64 bits", MAIL_WITH("SIZE=18446744073709551617"), HI " ERROR=552/5.3.4"},
    {"3.23 SIZE below 0", MAIL_WITH("SIZE=-1"), HI " " ARGS},
    {"3.23 SIZE in hex", MAIL_WITH("SIZE=0x10"), HI " " ARGS},
    {"SIZE with a sign", MAIL_WITH("SIZE=+1"), HI " " ARGS},
    {"SIZE of nothing", MAIL_WITH("SIZE="), HI " " ARGS},
    {"SIZE without value", MAIL_WITH("SIZE"), HI " " ARGS},
    {"SIZE twice", MAIL_WITH("SIZE=1 SIZE=1"), HI " " ARGS},
    {"BODY of another kind", MAIL_WITH("BODY=8BIT"), HI " " ARGS},
    {"BINARYMIME", MAIL_WITH("BODY=BINARYMIME"), HI " " UNKNOWN},
    {"SMTPUTF8 with a value", MAIL_WITH("SMTPUTF8=1"), HI " " ARGS},
    {"RET of another kind", MAIL_WITH("RET=ALL"), HI " " ARGS},
    {"AUTH", MAIL_WITH("AUTH=<>"), HI " " UNKNOWN},
    {"an unknown one", MAIL_WITH("X-Y=1"), HI " " UNKNOWN},
    {"no name", MAIL_WITH("=1"), HI " " ARGS},
    {"a bad name", MAIL_WITH("SI_ZE=1"), HI " " ARGS},
    {"half of a name", MAIL_WITH("SIZ=1"), HI " " UNKNOWN},
    {"of RCPT in MAIL", MAIL_WITH("NOTIFY=NEVER"), HI " " UNKNOWN},
    {"of MAIL in RCPT", RCPT_WITH("SIZE=1"), HI " " FROM " " UNKNOWN},
    {"a control", MAIL_WITH("ENVID=a\tb"), HI " " ARGS},
    {"ENVID of 100", MAIL_WITH("ENVID=" X100), MAILED("ENVID=" X100)},
    {"3.25 ENVID of 101", MAIL_WITH("ENVID=" X100 "x"), HI " " ARGS},
    {"ENVID of 100 once decoded",
     MAIL_WITH("ENVID=+41+41" X10 X10 X10 X10 X10 X10 X10 X10 X10 "12345678"),
     MAILED("ENVID=+41+41" X10 X10 X10 X10 X10 X10 X10 X10 X10 "12345678")},
    {"3.3 a newline in ENVID", MAIL_WITH("ENVID=a+0D+0Ab"), HI " " ARGS},
    {"DEL in ENVID", MAIL_WITH("ENVID=a+7F"), HI " " ARGS},
    {"8 bits in ENVID", MAIL_WITH("ENVID=+C3+BC"), HI " " ARGS},
    {"UTF-8 in ENVID", MAIL_WITH("ENVID=\xc3\xbc"), HI " " ARGS},
    {"half an escape", MAIL_WITH("ENVID=a+4"), HI " " ARGS},
    {"no escape", MAIL_WITH("ENVID=a+"), HI " " ARGS},
    {"a lower case escape", MAIL_WITH("ENVID=a+2b"), HI " " ARGS},
    {"an equals sign", MAIL_WITH("ENVID=a=b"), HI " " ARGS},
    {"an escaped blank", MAIL_WITH("ENVID=a+20b"), MAILED("ENVID=a+20b")},
    {"ENVID twice", MAIL_WITH("ENVID=a ENVID=a"), HI " " ARGS},

    {"all of RCPT", RCPT_WITH("NOTIFY=SUCCESS,failure,DELAY ORCPT=rfc822;c+2Bx@d"),
     RCPTED("NOTIFY=14 ORCPT=rfc822;c+2Bx@d")},
    {"NEVER", RCPT_WITH("NOTIFY=never"), RCPTED("NOTIFY=1")},
    {"3.25 NEVER and more", RCPT_WITH("NOTIFY=NEVER,SUCCESS"), HI " " FROM " " ARGS},
    {"NEVER twice", RCPT_WITH("NOTIFY=NEVER,NEVER"), HI " " FROM " " ARGS},
    {"NOTIFY of nothing", RCPT_WITH("NOTIFY="), HI " " FROM " " ARGS},
    {"a comma at the end", RCPT_WITH("NOTIFY=SUCCESS,"), HI " " FROM " " ARGS},
    {"another word", RCPT_WITH("NOTIFY=ALWAYS"), HI " " FROM " " ARGS},
    {"3.25 two ORCPT", RCPT_WITH("ORCPT=rfc822;a ORCPT=rfc822;a"), HI " " FROM " " ARGS},
    {"3.3 a newline in ORCPT", RCPT_WITH("ORCPT=rfc822;a+0Ab"), HI " " FROM " " ARGS},
    {"NUL in ORCPT", RCPT_WITH("ORCPT=rfc822;a+00b"), HI " " FROM " " ARGS},
    {"ORCPT without a type", RCPT_WITH("ORCPT=;a"), HI " " FROM " " ARGS},
    {"ORCPT with an odd type", RCPT_WITH("ORCPT=r+41;a"), HI " " FROM " " ARGS},
    {"ORCPT without an address", RCPT_WITH("ORCPT=rfc822;"), HI " " FROM " " ARGS},
    {"ORCPT without a semicolon", RCPT_WITH("ORCPT=rfc822"), HI " " FROM " " ARGS},
    {"ORCPT of 500",
     RCPT_WITH("ORCPT=x;" X100 X100 X100 X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 "12345678"),
     RCPTED("ORCPT=x;" X100 X100 X100 X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 "12345678")},
    {"ORCPT of 501",
     RCPT_WITH("ORCPT=x;" X100 X100 X100 X100 X10 X10 X10 X10 X10 X10 X10 X10 X10 "123456789"),
     HI " " FROM " " ARGS},
    {"UTF-8 in ORCPT", RCPT_WITH("ORCPT=utf-8;\xc3\xbc@d"), HI " " FROM " " ARGS},
    {"UTF-8 in ORCPT with SMTPUTF8",
     PN_STR(E "MAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<c@d> ORCPT=utf-8;\xc3\xbc@d\r\n"),
     HI " MAIL[a@b UTF8]=250 RCPT[c@d ORCPT=utf-8;\xc3\xbc@d]=250"},
    {"half a character in ORCPT",
     PN_STR(E "MAIL FROM:<a@b> SMTPUTF8\r\nRCPT TO:<c@d> ORCPT=utf-8;\xc3\r\n"),
     HI " MAIL[a@b UTF8]=250 " ARGS},
};

/* Told to a server that offers XCLIENT. */
static const struct row xclient_rows[] = {
    {"XCLIENT begins again", PN_STR(E "XCLIENT NAME=c\r\n" M E M),
     HI " XCLIENT[NAME=c]=220 " ORDER " " HI " " FROM},
    {"before EHLO", PN_STR("xclient ADDR=1.2.3.4\r\n" E), "XCLIENT[ADDR=1.2.3.4]=220 " HI},
    {"twice", PN_STR("XCLIENT NAME=c\r\nXCLIENT NAME=d\r\n"),
     "XCLIENT[NAME=c]=220 XCLIENT[NAME=d]=220"},
    {"in a transaction", PN_STR(E M "XCLIENT NAME=c\r\n" R "XCLIENT NAME=c\r\n"),
     HI " " FROM " " ORDER " " TO " " ORDER},
    {"in part of its name", PN_STR(E "XCLIEN\r\nXCLIENTS a=b\r\n"), HI " " BAD " " BAD},
    {"without attributes", PN_STR(E "XCLIENT\r\nXCLIENT  \r\n"), HI " " ARGS " " ARGS},
};

static void check(const struct row *row, size_t cut, size_t others, struct pn_buf *output)
{
    bool front_end = row >= xclient_rows && row < xclient_rows + PN_COUNT(xclient_rows);
    struct smtp_server_options with = options;
    struct talk talk;

    with.xclient = front_end;
    talk_init(&talk, &with);
    talk_run(&talk, row->input, cut, others);
    if (!pn_str_eq(pn_buf_str(&talk.trace), pn_str_z(row->want))) {
        fail_msg("%s, cut %zu/%zu:\n%.*s, not\n%s", row->name, cut, others,
                 PN_FMT(pn_buf_str(&talk.trace)), row->want);
    }
    if (cut == 0 && others > 1) {
        assert_int_equal(pn_buf_append(output, pn_buf_str(&talk.output)), 0);
    } else if (!pn_str_eq(pn_buf_str(&talk.output), pn_buf_str(output))) {
        fail_msg("%s, cut %zu/%zu: said %.*s", row->name, cut, others,
                 PN_FMT(pn_buf_str(&talk.output)));
    }
    talk_fini(&talk);
}

static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct pn_buf output;

        pn_buf_init(&output, 100000);
        check(&rows[i], 0, SIZE_MAX, &output);
        check(&rows[i], 0, 1, &output);
        for (size_t cut = 1; cut < rows[i].input.len; cut++) {
            check(&rows[i], cut, SIZE_MAX, &output);
        }
        pn_buf_fini(&output);
    }
}

static void test_order(void **state)
{
    (void)state;
    check_rows(order_rows, PN_COUNT(order_rows));
}

static void test_lines(void **state)
{
    (void)state;
    check_rows(line_rows, PN_COUNT(line_rows));
}

static void test_paths(void **state)
{
    (void)state;
    check_rows(path_rows, PN_COUNT(path_rows));
}

static void test_params(void **state)
{
    (void)state;
    check_rows(param_rows, PN_COUNT(param_rows));
}

static void test_xclient(void **state)
{
    (void)state;
    check_rows(xclient_rows, PN_COUNT(xclient_rows));
}

/* FAULTS 3.24: a command without end ends the session. */
static void test_endless_command(void **state)
{
    static char junk[SMTP_LINE_SKIP_MAX + 1];
    struct talk talk;

    (void)state;
    memset(junk, 'x', sizeof junk);
    talk_init(&talk, &options);
    talk_run(&talk, (struct pn_str){junk, sizeof junk - 1}, 0, 1000);
    assert_int_equal(pn_buf_str(&talk.trace).len, 0);
    talk_run(&talk, PN_STR("x"), 0, 1);
    assert_true(pn_str_eq(pn_buf_str(&talk.trace), PN_STR("STRANGER")));
    assert_int_equal(pn_buf_str(&talk.output).len, 0);
    talk_fini(&talk);
}

static void assert_output(struct smtp_server *server, const char *want)
{
    struct pn_buf *output = smtp_server_output(server);

    if (!pn_str_eq(pn_buf_str(output), pn_str_z(want))) {
        fail_msg("said %.*s", PN_FMT(pn_buf_str(output)));
    }
    pn_buf_clear(output);
}

/* Feeds one line and answers its event. */
static enum smtp_event_kind ask(struct smtp_server *server, const char *line, int code,
                                const char *enhanced)
{
    struct smtp_event event;
    struct smtp_reply reply;
    struct pn_str data = pn_str_z(line);

    smtp_reply_set(&reply, code, enhanced, "text");
    assert_int_equal(smtp_server_feed(server, data), data.len);
    assert_true(smtp_server_next(server, &event));
    assert_false(smtp_server_next(server, &event));
    assert_int_equal(smtp_server_feed(server, PN_STR("NOOP\r\n")), 0);
    smtp_server_reply(server, event.kind == SMTP_EV_ERROR ? &event.reply : &reply);
    return event.kind;
}

static void test_greeting_and_hello(void **state)
{
    struct smtp_server_options with_tls = options;
    struct smtp_server *server;

    (void)state;
    with_tls.starttls = true;
    server = smtp_server_new(&with_tls);
    assert_int_equal(smtp_server_feed(server, PN_STR("EHLO c\r\n")), 0);
    smtp_server_greet(server, NULL);
    assert_output(server, "220 mx2.example.net ESMTP Postern\r\n");
    assert_int_equal(ask(server, "HELO c\r\n", 250, "2.0.0"), SMTP_EV_HELO);
    assert_output(server, "250 mx2.example.net\r\n");
    assert_int_equal(ask(server, "EHLO c\r\n", 550, "5.7.1"), SMTP_EV_HELO);
    assert_output(server, "550 5.7.1 text\r\n");
    assert_int_equal(ask(server, "EHLO c\r\n", 250, "2.0.0"), SMTP_EV_HELO);
    assert_output(server,
                  "250-mx2.example.net\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
                  "250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n"
                  "250-ENHANCEDSTATUSCODES\r\n250-STARTTLS\r\n250-ETRN\r\n250 HELP\r\n");
    smtp_server_free(&server);
    assert_null(server);
    smtp_server_free(&server);
}

static void test_xclient_is_offered(void **state)
{
    static const char hello[] =
        "250-mx2.example.net\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
        "250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n250-DSN\r\n"
        "250-ENHANCEDSTATUSCODES\r\n"
        "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT\r\n"
        "250-ETRN\r\n250 HELP\r\n";
    struct smtp_server_options with = options;
    struct smtp_server *server;

    (void)state;
    with.xclient = true;
    server = smtp_server_new(&with);
    smtp_server_greet(server, NULL);
    pn_buf_clear(smtp_server_output(server));
    assert_int_equal(ask(server, "EHLO c\r\n", 250, ""), SMTP_EV_HELO);
    assert_output(server, hello);
    assert_int_equal(ask(server, "XCLIENT NAME=c\r\n", 501, "5.5.4"), SMTP_EV_XCLIENT);
    assert_output(server, "501 5.5.4 text\r\n");
    assert_int_equal(ask(server, "XCLIENT NAME=c\r\n", 220, ""), SMTP_EV_XCLIENT);
    assert_output(server, "220 mx2.example.net ESMTP Postern\r\n");
    smtp_server_offer_xclient(server, false);
    assert_int_equal(ask(server, "EHLO c\r\n", 250, ""), SMTP_EV_HELO);
    assert_null(memmem(pn_buf_str(smtp_server_output(server)).ptr,
                       pn_buf_str(smtp_server_output(server)).len, "XCLIENT", 7));
    pn_buf_clear(smtp_server_output(server));
    assert_int_equal(ask(server, "XCLIENT NAME=c\r\n", 550, "5.7.0"), SMTP_EV_ERROR);
    smtp_server_free(&server);
}

static void test_refusing_greeting(void **state)
{
    struct smtp_server *server = smtp_server_new(&options);
    struct smtp_reply reply;

    (void)state;
    smtp_reply_set(&reply, 554, "5.7.1", "Go away");
    smtp_server_greet(server, &reply);
    assert_output(server, "554 5.7.1 Go away\r\n");
    assert_int_equal(smtp_server_feed(server, PN_STR("EHLO c\r\n")), 0);
    smtp_server_free(&server);
}

/* FAULTS 2.1: octets behind STARTTLS stay outside, and what was said before is forgotten. */
static void test_starttls(void **state)
{
    struct smtp_server_options with_tls = options;
    struct smtp_server *server;
    struct smtp_event event;

    (void)state;
    with_tls.starttls = true;
    server = smtp_server_new(&with_tls);
    smtp_server_greet(server, NULL);
    assert_int_equal(ask(server, "STARTTLS\r\n", 220, "2.0.0"), SMTP_EV_ERROR);
    assert_int_equal(ask(server, "EHLO c\r\n", 250, ""), SMTP_EV_HELO);
    assert_int_equal(ask(server, "STARTTLS x\r\n", 220, "2.0.0"), SMTP_EV_ERROR);
    assert_int_equal(ask(server, "STARTTLS\r\n", 454, "4.7.0"), SMTP_EV_STARTTLS);
    pn_buf_clear(smtp_server_output(server));
    assert_int_equal(ask(server, "STARTTLS\r\n", 220, "2.0.0"), SMTP_EV_STARTTLS);
    assert_output(server, "220 2.0.0 text\r\n");
    assert_int_equal(smtp_server_feed(server, PN_STR("MAIL FROM:<a@b>\r\n")), 0);
    assert_false(smtp_server_next(server, &event));
    smtp_server_secured(server);
    assert_int_equal(ask(server, "MAIL FROM:<a@b>\r\n", 250, "2.1.0"), SMTP_EV_ERROR);
    assert_int_equal(ask(server, "EHLO c\r\n", 250, ""), SMTP_EV_HELO);
    assert_true(pn_str_find(pn_buf_str(smtp_server_output(server)), 'T') > 0);
    assert_null(memmem(pn_buf_str(smtp_server_output(server)).ptr,
                       pn_buf_str(smtp_server_output(server)).len, "STARTTLS", 8));
    pn_buf_clear(smtp_server_output(server));
    assert_int_equal(ask(server, "STARTTLS\r\n", 220, "2.0.0"), SMTP_EV_ERROR);
    assert_true(pn_str_starts(pn_buf_str(smtp_server_output(server)), PN_STR("503 5.5.1 ")));
    smtp_server_free(&server);
}

static void test_say_ends_the_session(void **state)
{
    struct smtp_server *server = smtp_server_new(&options);
    struct smtp_event event;
    struct smtp_reply reply;

    (void)state;
    smtp_server_greet(server, NULL);
    pn_buf_clear(smtp_server_output(server));
    assert_int_equal(smtp_server_feed(server, PN_STR("NOOP\r\n")), 6);
    assert_true(smtp_server_next(server, &event));
    smtp_reply_set(&reply, 421, "4.4.2", "Too slow");
    smtp_server_say(server, &reply);
    smtp_server_say(server, &reply);
    assert_output(server, "421 4.4.2 Too slow\r\n");
    assert_int_equal(smtp_server_feed(server, PN_STR("NOOP\r\n")), 0);
    assert_false(smtp_server_next(server, &event));
    smtp_server_free(&server);
}

/* FAULTS 4.14: who does not take the replies is not listened to. */
static void test_replies_that_are_not_taken(void **state)
{
    struct smtp_server *server = smtp_server_new(&options);
    char text[SMTP_REPLY_TEXT_MAX];
    struct smtp_event event;
    struct smtp_reply reply;
    size_t taken = 0;

    (void)state;
    memset(text, '\n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    smtp_reply_set(&reply, 250, "2.123.123", "%s", text);
    smtp_server_greet(server, NULL);
    while (smtp_server_feed(server, PN_STR("NOOP\r\n")) == 6) {
        assert_true(smtp_server_next(server, &event));
        smtp_server_reply(server, &reply);
        assert_true(++taken < 100);
    }
    assert_true(taken > 1);
    pn_buf_clear(smtp_server_output(server));
    assert_int_equal(smtp_server_feed(server, PN_STR("NOOP\r\n")), 6);
    smtp_server_free(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_params),
        cmocka_unit_test(test_xclient),
        cmocka_unit_test(test_xclient_is_offered),
        cmocka_unit_test(test_endless_command),
        cmocka_unit_test(test_greeting_and_hello),
        cmocka_unit_test(test_refusing_greeting),
        cmocka_unit_test(test_starttls),
        cmocka_unit_test(test_say_ends_the_session),
        cmocka_unit_test(test_replies_that_are_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
