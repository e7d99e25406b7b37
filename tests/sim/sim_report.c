/*
 * sim_report.c - reports to senders, as a server or the spool has them.
 *
 * A report returns the header of the mail that it is about, and so its number. Whoever it
 * says has failed counts as reported. Nobody is reported twice, unless the daemon has ended
 * in between: a crash between a report and the end of its job reports again.
 */
#include "sim_priv.h"

#include <stdio.h>
#include <string.h>

#define AUTOMATIC PN_STR("Auto-Submitted: auto-replied\r")

/* Whether a line stands in the text; with `header` in its header alone. */
static bool has_line(struct pn_str text, struct pn_str wanted, bool header)
{
    while (text.len > 0) {
        struct pn_str line = pn_str_cut(&text, '\n');

        if (header && line.len <= 1) {
            return false;
        }
        if (pn_str_eq(line, wanted)) {
            return true;
        }
    }
    return false;
}

bool sim_report_is(struct pn_str text)
{
    return has_line(text, AUTOMATIC, true);
}

/* The report's own id, from its first line. */
static void id_of(struct sim *sim, struct pn_str text, char out[27])
{
    struct pn_str line = pn_str_cut(&text, '\n');

    if (line.len < 28) {
        sim_fail(sim, "a report does not say which one it is: %.*s", PN_FMT(line));
    }
    memcpy(out, line.ptr + line.len - 28, 26); /* "… id ID;" and CR */
    out[26] = '\0';
}

static void note(struct sim *sim, const struct sim_mail *mail, struct sim_recipient *recipient,
                 const char *id, bool told)
{
    recipient->reported = true;
    recipient->told = recipient->told || told;
    for (unsigned i = 0; i < recipient->reports && i < SIM_REPORTS; i++) {
        if (strcmp(recipient->report_ids[i], id) == 0) {
            return;
        }
    }
    if (recipient->reports > sim->ends) {
        sim_fail(sim, "mail %zu to %s was reported %u times", mail->number, recipient->address,
                 recipient->reports + 1);
    }
    if (recipient->reports < SIM_REPORTS) {
        memcpy(recipient->report_ids[recipient->reports], id, 27);
    }
    recipient->reports++;
}

static struct sim_recipient *find(struct sim_mail *mail, struct pn_str address)
{
    for (size_t i = 0; i < mail->recipient_count; i++) {
        if (pn_str_eq(pn_str_z(mail->recipients[i].address), address)) {
            return &mail->recipients[i];
        }
    }
    return NULL;
}

/* Its second part names each recipient and says what became of it. */
static void take_recipients(struct sim *sim, struct sim_mail *mail, struct pn_str text,
                            bool told)
{
    const struct pn_str final = PN_STR("Final-Recipient: rfc822;");
    struct sim_recipient *recipient = NULL;
    size_t named = 0;
    char id[27];

    id_of(sim, text, id);
    while (text.len > 0) {
        struct pn_str line = pn_str_cut(&text, '\n');

        if (pn_str_starts(line, final)) {
            line = pn_str_trim(pn_str_sub(line, final.len, line.len - final.len - 1));
            recipient = find(mail, line);
            named++;
            if (!recipient) {
                sim_fail(sim,
                         "a report about mail %zu names %.*s, who is none of its recipients",
                         mail->number, PN_FMT(line));
            }
        } else if (recipient && pn_str_eq(line, PN_STR("Action: failed\r"))) {
            note(sim, mail, recipient, id, told);
        }
    }
    if (named == 0) {
        sim_fail(sim, "a report about mail %zu names nobody", mail->number);
    }
}

void sim_report_take(struct sim *sim, struct pn_str text, struct pn_str to)
{
    struct pn_str body = text;
    struct sim_mail *mail;
    size_t number = sim_check_number(sim, text);

    while (body.len > 0 && pn_str_cut(&body, '\n').len > 1) {
    }
    if (number == 0 || has_line(body, AUTOMATIC, false)) {
        sim_fail(sim, "a report is about none of the mails: %.*s", PN_FMT(text));
    }
    mail = sim_mail(sim, number);
    if (mail->sender[0] == '\0') {
        sim_fail(sim, "a report is about mail %zu, which has no sender", number);
    }
    if (to.len > 0 && !pn_str_eq(to, pn_str_z(mail->sender))) {
        sim_fail(sim, "a report about mail %zu goes to %.*s", number, PN_FMT(to));
    }
    take_recipients(sim, mail, text, to.len > 0);
}

/* ---- in the spool --------------------------------------------------------------------------
 */

struct look {
    struct sim *sim;
    bool answered;
};

static void on_chunk(void *owner, int status, uint32_t number, struct pn_str text)
{
    struct look *look = owner;

    (void)number;
    look->answered = true;
    /* Or it is a mail whose client has not learnt that it was taken. */
    if (status == 0 && sim_report_is(text)) {
        sim_report_take(look->sim, text, PN_STR(""));
    }
}

static bool is_answered(struct sim *sim, void *arg)
{
    (void)sim;
    return ((struct look *)arg)->answered;
}

void sim_report_look(struct sim *sim, const struct pn_id *id)
{
    struct look look = {.sim = sim};

    spool_read_chunk(sim->daemon->spool, &sim->daemon->main->port, id, 0, on_chunk, &look);
    if (!sim_run_until(sim, is_answered, &look, PN_MINUTES(1))) {
        sim_fail(sim, "the spool does not answer");
    }
}
