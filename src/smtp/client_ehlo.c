/*
 * client_ehlo.c - what a server says it can do: the lines of its EHLO answer.
 */
#include "client_priv.h"

#include "postern/base/mem.h"

struct keyword {
    const char *name;
    enum smtp_capability capability;
};

static const struct keyword keywords[] = {
    {"PIPELINING", SMTP_CAP_PIPELINING},
    {"CHUNKING", SMTP_CAP_CHUNKING},
    {"8BITMIME", SMTP_CAP_8BITMIME},
    {"SMTPUTF8", SMTP_CAP_SMTPUTF8},
    {"SIZE", SMTP_CAP_SIZE},
    {"DSN", SMTP_CAP_DSN},
    {"STARTTLS", SMTP_CAP_STARTTLS},
    {"ENHANCEDSTATUSCODES", SMTP_CAP_ENHANCED},
    {"XCLIENT", SMTP_CAP_XCLIENT},
    {"XFORWARD", SMTP_CAP_XFORWARD},
    {"AUTH", SMTP_CAP_AUTH},
};

static unsigned find_keyword(struct pn_str name)
{
    for (size_t i = 0; i < PN_COUNT(keywords); i++) {
        if (pn_str_eq_nocase(name, pn_str_z(keywords[i].name))) {
            return keywords[i].capability;
        }
    }
    return 0;
}

struct pn_str smtp_client_ehlo_words(const struct smtp_client *client, const char *keyword)
{
    struct pn_str lines = pn_buf_str(&client->ehlo_lines);

    pn_str_cut(&lines, '\n');
    while (lines.len > 0) {
        struct pn_str line = pn_str_cut(&lines, '\n');

        if (pn_str_eq_nocase(pn_str_cut(&line, ' '), pn_str_z(keyword))) {
            return pn_str_trim(line);
        }
    }
    return PN_STR("");
}

/* The first line is the server's name and its compliments. */
unsigned smtp_ehlo_parse(struct pn_str lines, uint64_t *out_size_limit)
{
    unsigned found = 0;

    *out_size_limit = 0;
    pn_str_cut(&lines, '\n');
    while (lines.len > 0) {
        struct pn_str line = pn_str_cut(&lines, '\n');
        unsigned capability = find_keyword(pn_str_cut(&line, ' '));

        if (capability == SMTP_CAP_SIZE &&
            !pn_str_to_u64(pn_str_trim(line), UINT64_MAX, out_size_limit)) {
            *out_size_limit = 0; /* "SIZE" alone, or nonsense: no limit is known */
        }
        found |= capability;
    }
    return found;
}
