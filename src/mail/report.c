/*
 * report.c - the text of a report to a sender about what became of its mail.
 *
 * Which form the parts have follows from two questions. Was the message internationalised
 * (SMTPUTF8, and it needs it)? Then its header or all of it goes into message/global-headers
 * or message/global, which unlike message/rfc822 may be encoded (RFC 6532 3.7). Has its
 * sender, who gets the report, an address that is not ASCII? Then the report is SMTPUTF8
 * itself, addresses stand as they are, and the status is message/global-delivery-status. Else
 * the report is one that every server takes: addresses are escaped (RFC 6533 3), and what is
 * wider than 7 bits is quoted-printable. A message that is not internationalised is returned
 * as it is, 8 bits wide if need be, for message/rfc822 may not be encoded; with longer lines
 * than mail may have, only its header is returned.
 *
 * The message comes back whole only with a failure, and unless the sender wants its header
 * alone (RFC 3461 4.3, 6.2).
 */
#include "postern/mail/report.h"

#include "report_priv.h"

#include <string.h>

#define LISTED_MAX 200 /* recipients in the part for people; programs get them all */
#define FIELD_MAX  1024

struct page {
    struct mail_writer *writer;
    const struct mail_report *report;
    char id[PN_ID_CHARS + 1];
    bool global; /* the message is internationalised */
    bool wide;   /* the report is SMTPUTF8 itself */
};

const char *mail_report_kind_name(enum mail_report_kind kind)
{
    static const char *const names[] = {"failed", "delayed", "relayed", "delivered"};

    return names[kind];
}

/* ---- what a reply says ---------------------------------------------------------------------
 */

/* "host[192.0.2.1]:25 said: 550 5.1.1 No": who, and what. False: it is no reply. */
static bool split_reply(struct pn_str reason, struct pn_str *out_peer, struct pn_str *out_reply)
{
    static const struct pn_str said = {" said: ", 7};

    for (size_t i = 0; i + said.len < reason.len; i++) {
        if (pn_str_starts(pn_str_sub(reason, i, SIZE_MAX), said)) {
            *out_peer = pn_str_sub(reason, 0, i);
            *out_reply = pn_str_sub(reason, i + said.len, SIZE_MAX);
            return true;
        }
    }
    return false;
}

/* The enhanced code of a reply, if its class is `class`. */
static struct pn_str enhanced_of(struct pn_str reply, char class)
{
    struct pn_str rest = reply, code;
    size_t dots = 0;

    (void)pn_str_cut(&rest, ' ');
    code = pn_str_cut(&rest, ' ');
    for (size_t i = 0; i < code.len; i++) {
        dots += code.ptr[i] == '.';
        if ((code.ptr[i] != '.' && !pn_is_digit(code.ptr[i])) ||
            (code.ptr[i] == '.' && (i == 0 || code.ptr[i - 1] == '.' || i + 1 == code.len))) {
            return PN_STR("");
        }
    }
    return dots == 2 && code.len <= 11 && code.ptr[0] == class && code.ptr[1] == '.'
               ? code
               : PN_STR("");
}

/* RFC 3463. */
static struct pn_str status_of(const struct mail_report *report,
                               const struct mail_report_recipient *recipient)
{
    struct pn_str peer, reply, code;
    bool replied = split_reply(recipient->reason, &peer, &reply);

    switch (report->kind) {
    case MAIL_REPORT_RELAYED:
    case MAIL_REPORT_DELIVERED:
        return PN_STR("2.0.0");
    case MAIL_REPORT_DELAYED:
        code = replied ? enhanced_of(reply, '4') : PN_STR("4.4.1");
        return code.len > 0 ? code : PN_STR("4.0.0");
    case MAIL_REPORT_FAILED:
        break;
    }
    if (recipient->expired) {
        return PN_STR("5.4.7");
    }
    code = replied ? enhanced_of(reply, '5') : PN_STR("");
    return code.len > 0 ? code : PN_STR("5.0.0");
}

/* ---- the header
 * ------------------------------------------------------------------------------ */

static const char *subject_of(enum mail_report_kind kind)
{
    static const char *const subjects[] = {
        "Your mail could not be delivered",
        "Your mail is delayed",
        "Your mail was passed on",
        "Your mail was delivered",
    };

    return subjects[kind];
}

/* A Message-ID that is fit to be repeated. */
static struct pn_str message_id(struct pn_str header)
{
    struct pn_str id = mail_header_field(header, PN_STR("Message-ID"));

    if (id.len < 3 || id.len > 250 || id.ptr[0] != '<' || pn_str_find(id, '>') != id.len - 1 ||
        pn_str_find(id, ' ') != id.len || !pn_str_is_ascii(id) || pn_str_has_control(id)) {
        return PN_STR("");
    }
    return id;
}

static void put_head(struct page *page)
{
    const struct mail_report *report = page->report;
    struct mail_writer *writer = page->writer;
    struct pn_str references = message_id(mail_header_of(report->text, MAIL_REPORT_RETURN_MAX));

    mail_writer_printf(writer, "Received: by %.*s (Postern) id %s;\r\n\t", PN_FMT(report->host),
                       page->id);
    mail_writer_date(writer, report->now);
    mail_writer_z(writer, "\r\nDate: ");
    mail_writer_date(writer, report->now);
    mail_writer_printf(writer, "\r\nFrom: Mail Delivery System <MAILER-DAEMON@%.*s>\r\n",
                       PN_FMT(report->host));
    mail_writer_line(writer, "To: ", report->envelope->sender, !page->wide);
    mail_writer_printf(writer, "Subject: %s\r\nMessage-ID: <%s@%.*s>\r\n",
                       subject_of(report->kind), page->id, PN_FMT(report->host));
    if (references.len > 0) {
        mail_writer_printf(writer, "In-Reply-To: %.*s\r\nReferences: %.*s\r\n",
                           PN_FMT(references), PN_FMT(references));
    }
    mail_writer_printf(writer,
                       "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                       "Content-Type: multipart/report; report-type=delivery-status;\r\n"
                       "\tboundary=\"=_%s\"\r\n",
                       page->id);
}

/* ---- for people
 * -------------------------------------------------------------------------------- */

static void put_waited(struct mail_writer *writer, int64_t waited_ms)
{
    writer->rc = writer->rc ? writer->rc : pn_duration_human(waited_ms, writer->out);
}

static void put_what(struct mail_writer *writer, const struct mail_report *report)
{
    switch (report->kind) {
    case MAIL_REPORT_FAILED:
        mail_writer_z(writer,
                      "Your mail could not be delivered to the recipients below. It is not\r\n"
                      "tried again, and they do not have it.\r\n");
        break;
    case MAIL_REPORT_DELAYED:
        mail_writer_z(writer, "Your mail has waited for ");
        put_waited(writer, report->waited_ms);
        mail_writer_z(writer, " for the recipients below. This is only\r\n"
                              "a notice: IT IS STILL TRIED, until ");
        mail_writer_date(writer, report->retry_until);
        mail_writer_z(writer, ".\r\nYou need not send it again.\r\n");
        break;
    case MAIL_REPORT_RELAYED:
        mail_writer_z(writer,
                      "Your mail was passed on to the server of the recipients below.\r\n"
                      "That server does not report further, so this is the last that you\r\n"
                      "hear unless something goes wrong.\r\n");
        break;
    case MAIL_REPORT_DELIVERED:
        mail_writer_z(writer, "Your mail was delivered to the recipients below.\r\n");
        break;
    }
}

static void put_advice(struct mail_writer *writer, const struct mail_report *report)
{
    if (report->kind == MAIL_REPORT_FAILED) {
        mail_writer_printf(
            writer,
            "\r\nWhat you can do: compare the addresses with what the recipients gave you,\r\n"
            "read what their server said, or reach them in another way. If you think that\r\n"
            "the fault is ours, write to postmaster@%.*s and include this report.\r\n",
            PN_FMT(report->host));
    }
}

static void put_listed(struct mail_writer *writer, const struct mail_report *report,
                       const struct mail_report_recipient *recipient)
{
    mail_writer_z(writer, "\r\n");
    mail_writer_line(writer, "  ", recipient->recipient.address, false);
    if (report->kind == MAIL_REPORT_FAILED && recipient->expired) {
        mail_writer_z(writer, "    it has waited for ");
        put_waited(writer, report->waited_ms);
        mail_writer_z(writer, recipient->reason.len > 0 ? "; the last that was heard:\r\n"
                                                        : "; its server did not answer\r\n");
    }
    if (recipient->reason.len > 0) {
        mail_writer_fold(writer, "    ", "    ", recipient->reason, false);
    }
}

static void put_words(struct mail_writer *writer, const struct mail_report *report)
{
    mail_writer_printf(writer, "This is the mail server %.*s.\r\n\r\n", PN_FMT(report->host));
    put_what(writer, report);
    for (size_t i = 0; i < report->recipient_count && i < LISTED_MAX; i++) {
        put_listed(writer, report, &report->recipients[i]);
    }
    if (report->recipient_count > LISTED_MAX) {
        mail_writer_printf(writer, "\r\n  and %zu more: the delivery report names them all\r\n",
                           report->recipient_count - LISTED_MAX);
    }
    put_advice(writer, report);
}

/* A part's beginning: type is all of its Content-Type. */
static void put_part(struct page *page, const char *type, const char *encoding)
{
    mail_writer_printf(
        page->writer, "\r\n--=_%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n",
        page->id, type, encoding);
}

/* A text in the narrowest encoding that carries it. */
static void put_text(struct page *page, const char *type, struct pn_str text)
{
    enum mail_width width = mail_width_of(text);

    if (width == MAIL_WIDTH_7BIT || (width == MAIL_WIDTH_8BIT && page->wide)) {
        put_part(page, type, width == MAIL_WIDTH_7BIT ? "7bit" : "8bit");
        mail_writer_put(page->writer, text);
    } else {
        put_part(page, type, "quoted-printable");
        mail_writer_quoted(page->writer, text);
    }
}

static void put_people(struct page *page)
{
    struct pn_buf text;
    struct mail_writer words = {.out = &text};

    pn_buf_init(&text, page->writer->out->max);
    put_words(&words, page->report);
    page->writer->rc = page->writer->rc ? page->writer->rc : words.rc;
    put_text(page, "text/plain; charset=utf-8", pn_buf_str(&text));
    pn_buf_fini(&text);
}

/* ---- for programs
 * -------------------------------------------------------------------------------- */

/* "rfc822; anna@example.org", or how RFC 6533 3 writes what is not ASCII. */
static void put_address(struct page *page, const char *field, struct pn_str address)
{
    struct pn_buf text;
    struct mail_writer escaped = {.out = &text};

    pn_buf_init(&text, FIELD_MAX * 8);
    mail_writer_z(&escaped, pn_str_is_ascii(address) ? "rfc822; " : "utf-8; ");
    for (size_t i = 0; i < address.len;) {
        unsigned char lead = (unsigned char)address.ptr[i];
        size_t octets = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        struct pn_str c = pn_str_sub(address, i, octets);
        unsigned point = lead < 0x80 ? lead : lead & (0xffu >> (octets + 1));

        for (size_t k = 1; k < c.len; k++) {
            point = point << 6 | ((unsigned char)c.ptr[k] & 0x3fu);
        }
        if (pn_str_is_ascii(address) || page->wide ||
            (lead < 0x80 && !strchr("\\+=", (int)lead))) {
            mail_writer_put(&escaped, c);
        } else {
            mail_writer_printf(&escaped, "\\x{%02X}", point);
        }
        i += c.len;
    }
    mail_writer_line(page->writer, field, pn_buf_str(&text), !page->wide);
    page->writer->rc = page->writer->rc ? page->writer->rc : escaped.rc;
    pn_buf_fini(&text);
}

/* A field whose value came as xtext; ORCPT's type stands in front of it in clear. */
static void put_xtext(struct page *page, const char *field, struct pn_str type,
                      struct pn_str xtext)
{
    struct pn_buf text;
    struct mail_writer decoded = {.out = &text};

    pn_buf_init(&text, FIELD_MAX * 2);
    if (type.len > 0) {
        mail_writer_put(&decoded, pn_str_sub(type, 0, FIELD_MAX));
        mail_writer_z(&decoded, "; ");
    }
    decoded.rc =
        decoded.rc ? decoded.rc : mail_xtext_decode(pn_str_sub(xtext, 0, FIELD_MAX / 2), &text);
    mail_writer_line(page->writer, field, pn_buf_str(&text), !page->wide);
    page->writer->rc = page->writer->rc ? page->writer->rc : decoded.rc;
    pn_buf_fini(&text);
}

static void put_peer(struct page *page, struct pn_str peer)
{
    size_t bracket = pn_str_find(peer, '[');

    /* "[192.0.2.1]:25" has no name; it stands as it is. */
    if (bracket > 0) {
        peer = pn_str_sub(peer, 0, bracket);
    }
    if (peer.len > 0 && peer.ptr[0] != '/') {
        mail_writer_line(page->writer, "Remote-MTA: dns; ", peer, true);
    }
}

static void put_recipient(struct page *page, const struct mail_report_recipient *recipient)
{
    const struct mail_report *report = page->report;
    struct mail_writer *writer = page->writer;
    struct pn_str orcpt = recipient->recipient.orcpt, peer, reply;

    mail_writer_z(writer, "\r\n");
    if (orcpt.len > 0) {
        struct pn_str type = pn_str_cut(&orcpt, ';');

        put_xtext(page, "Original-Recipient: ", type, orcpt);
    }
    put_address(page, "Final-Recipient: ", recipient->recipient.address);
    mail_writer_printf(writer, "Action: %s\r\nStatus: %.*s\r\n",
                       mail_report_kind_name(report->kind),
                       PN_FMT(status_of(report, recipient)));
    if (split_reply(recipient->reason, &peer, &reply)) {
        put_peer(page, peer);
        mail_writer_fold(writer, "Diagnostic-Code: smtp; ", " ", reply, !page->wide);
    }
    if (recipient->last_try.ms > 0) {
        mail_writer_z(writer, "Last-Attempt-Date: ");
        mail_writer_date(writer, recipient->last_try);
        mail_writer_z(writer, "\r\n");
    }
    if (report->kind == MAIL_REPORT_DELAYED) {
        mail_writer_z(writer, "Will-Retry-Until: ");
        mail_writer_date(writer, report->retry_until);
        mail_writer_z(writer, "\r\n");
    }
}

static void put_status(struct page *page)
{
    const struct mail_report *report = page->report;
    struct mail_writer *writer = page->writer;

    put_part(page, page->wide ? "message/global-delivery-status" : "message/delivery-status",
             page->wide ? "8bit" : "7bit");
    if (report->envelope->envid.len > 0) {
        put_xtext(page, "Original-Envelope-Id: ", PN_STR(""), report->envelope->envid);
    }
    mail_writer_printf(writer,
                       "Reporting-MTA: dns; %.*s\r\nArrival-Date: ", PN_FMT(report->host));
    mail_writer_date(writer, report->envelope->arrival);
    mail_writer_z(writer, "\r\n");
    for (size_t i = 0; i < report->recipient_count; i++) {
        put_recipient(page, &report->recipients[i]);
    }
}

/* ---- the message
 * ---------------------------------------------------------------------------------- */

static bool returns_whole(const struct page *page)
{
    const struct mail_report *report = page->report;

    return report->kind == MAIL_REPORT_FAILED && report->envelope->ret != MAIL_RET_HDRS &&
           report->text.len <= MAIL_REPORT_RETURN_MAX &&
           report->text.len == report->envelope->size_octets &&
           (page->global || mail_width_of(report->text) != MAIL_WIDTH_BINARY);
}

static void put_returned(struct page *page)
{
    struct pn_str text = page->report->text;

    if (!returns_whole(page)) {
        put_text(page, page->global ? "message/global-headers" : "text/rfc822-headers",
                 mail_header_of(text, MAIL_REPORT_RETURN_MAX));
    } else if (page->global) {
        put_text(page, "message/global", text);
    } else {
        put_part(page, "message/rfc822",
                 mail_width_of(text) == MAIL_WIDTH_7BIT ? "7bit" : "8bit");
        mail_writer_put(page->writer, text);
    }
}

static bool is_global(const struct mail_envelope *envelope)
{
    return (envelope->flags & MAIL_SMTPUTF8) &&
           (envelope->flags & (MAIL_UTF8_HEADER | MAIL_UTF8_ADDRESS));
}

int mail_report_write(const struct mail_report *report, struct pn_buf *out, unsigned *out_flags)
{
    size_t start = pn_buf_str(out).len;
    struct mail_writer writer = {.out = out};
    struct page page = {.writer = &writer,
                        .report = report,
                        .global = is_global(report->envelope),
                        .wide = !pn_str_is_ascii(report->envelope->sender)};
    enum mail_width width;

    pn_id_format(&report->id, page.id);
    put_head(&page);
    mail_writer_z(&writer, "\r\nThis is a report in several parts, as MIME has them.\r\n");
    put_people(&page);
    put_status(&page);
    put_returned(&page);
    mail_writer_printf(&writer, "\r\n--=_%s--\r\n", page.id);
    if (writer.rc != 0) {
        return writer.rc;
    }
    width = mail_width_of(pn_str_sub(pn_buf_str(out), start, SIZE_MAX));
    *out_flags = (width != MAIL_WIDTH_7BIT ? MAIL_8BITMIME | MAIL_8BIT_BODY : 0u) |
                 (page.wide ? MAIL_SMTPUTF8 | MAIL_UTF8_ADDRESS | MAIL_UTF8_HEADER : 0u);
    return 0;
}
