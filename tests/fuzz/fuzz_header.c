// links: mail base
/*
 * The header scan says the same of a text that comes whole and in pieces. Our trace header,
 * made of the same octets, is one field of legal lines in which the scan finds us.
 */
#include "postern/base/assert.h"
#include "postern/mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size);

static void check_scan(struct pn_str text, size_t piece_octets)
{
    struct mail_scan whole;
    struct mail_scan pieces;

    mail_scan_init(&whole, PN_STR("mx"));
    mail_scan_init(&pieces, PN_STR("mx"));
    mail_scan_feed(&whole, text);
    for (size_t at = 0; at < text.len; at += piece_octets) {
        mail_scan_feed(&pieces, pn_str_sub(text, at, piece_octets));
    }
    pn_assert(whole.received == pieces.received && whole.came_back == pieces.came_back);
    pn_assert(whole.header_8bit == pieces.header_8bit && whole.body_8bit == pieces.body_8bit);
    pn_assert(whole.in_body == pieces.in_body);
}

static void check_received(struct pn_str junk)
{
    struct mail_envelope envelope = {
        .helo = pn_str_sub(junk, 0, junk.len / 2),
        .client_name = pn_str_sub(junk, junk.len / 2, junk.len),
        .protocol = pn_str_sub(junk, junk.len / 3, junk.len),
        .tls = junk,
    };
    struct mail_scan scan;
    struct pn_buf out;
    struct pn_str rest;

    pn_buf_init(&out, 8192);
    pn_assert(mail_received_write(&envelope, PN_STR("mx2.example.net"), junk, &out) == 0);
    mail_scan_init(&scan, PN_STR("mx2.example.net"));
    mail_scan_feed(&scan, pn_buf_str(&out));
    pn_assert(scan.received == 1 && scan.came_back && !scan.in_body && !scan.header_8bit);
    rest = pn_buf_str(&out);
    for (size_t line = 0; rest.len > 0; line++) {
        struct pn_str text = pn_str_cut(&rest, '\n');

        pn_assert(text.len <= 999 && pn_str_ends(text, PN_STR("\r")));
        pn_assert(line == 0 || text.ptr[0] == '\t');
        pn_assert(pn_str_find(text, '\r') == text.len - 1);
    }
    pn_buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *octets, size_t size)
{
    if (size > 0) {
        struct pn_str text = {(const char *)octets + 1, size - 1};

        check_scan(text, 1 + octets[0] % 64);
        check_received(text);
    }
    return 0;
}
