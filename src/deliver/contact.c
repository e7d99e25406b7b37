/*
 * deliver/contact.c - what was heard of each destination: for people who ask why.
 *
 * Counts of replies by kind, the last ten that were not yes, and what the last session that
 * became ready had found. All of it comes with the workers' reports, so that it needs no lock;
 * a reply that is said again and again is kept once, with the number of times, or a thousand
 * full mailboxes would push out the one sentence that explains the night.
 */
#include "deliver_priv.h"

#include "postern/base/mem.h"

#define TEXT_MAX 300

struct deliver_contact_row {
    UT_hash_handle hh;
    struct deliver_contact contact;
    char destination[];
};

static struct deliver_contact_row *find(const struct deliver *deliver,
                                        struct pn_str destination)
{
    struct deliver_contact_row *row;

    HASH_FIND(hh, deliver->contacts, destination.ptr, (unsigned)destination.len, row);
    return row;
}

const struct deliver_contact *deliver_get_contact(const struct deliver *deliver,
                                                  struct pn_str destination)
{
    const struct deliver_contact_row *row = find(deliver, destination);

    return row ? &row->contact : NULL;
}

static struct deliver_contact *get(struct deliver *deliver, const struct deliver_slot *slot)
{
    struct pn_str destination = pn_str_z(slot->destination);
    struct deliver_contact_row *row = find(deliver, destination);

    if (!row) {
        row = pn_alloc(sizeof *row + destination.len + 1);
        memcpy(row->destination, destination.ptr, destination.len);
        HASH_ADD_KEYPTR(hh, deliver->contacts, row->destination, (unsigned)destination.len,
                        row);
    }
    return &row->contact;
}

static void say(struct deliver *deliver, struct deliver_contact *contact,
                enum deliver_word word, struct pn_str text)
{
    struct pn_wall now = deliver->deps.out->loop->wall;
    struct deliver_saying *first = &contact->said[0];

    text = pn_str_sub(text, 0, TEXT_MAX);
    if (contact->said_count > 0 && first->word == word &&
        pn_str_eq(pn_str_z(first->text), text)) {
        first->times++;
        first->at = now;
        return;
    }
    if (contact->said_count == DELIVER_SAYINGS) {
        free(contact->said[--contact->said_count].text);
    }
    memmove(&contact->said[1], &contact->said[0], contact->said_count * sizeof *first);
    *first =
        (struct deliver_saying){.word = word, .at = now, .times = 1, .text = pn_strndup(text)};
    contact->said_count++;
}

static void replace(char **text, const char *by)
{
    free(*text);
    *text = pn_strndup(pn_str_z(by));
}

void deliver_contact_ready(struct deliver *deliver, const struct deliver_slot *slot,
                           const struct deliver_report *report)
{
    const struct deliver_greeting *greeting = report->greeting;
    struct deliver_contact *contact;

    if (!slot || !greeting) {
        return;
    }
    contact = get(deliver, slot);
    contact->greeted = true;
    contact->greeted_at = deliver->deps.out->loop->wall;
    contact->identity = greeting->identity;
    contact->quirks = greeting->quirks;
    contact->window = report->window;
    replace(&contact->peer, greeting->peer);
    replace(&contact->tls, greeting->tls);
    replace(&contact->tls_why, greeting->tls_why);
}

static void hear(struct deliver *deliver, struct deliver_contact *contact,
                 const struct deliver_result *result)
{
    size_t n = result->message && result->fates ? result->message->recipient_count : 0;

    for (size_t i = 0; i < n; i++) {
        switch (result->fates[i]) {
        case DELIVER_DONE:
            contact->words[DELIVER_SAID_OK]++;
            break;
        case DELIVER_LATER:
            contact->words[DELIVER_SAID_LATER]++;
            say(deliver, contact, DELIVER_SAID_LATER, result->reasons[i]);
            break;
        case DELIVER_REFUSED:
            contact->words[DELIVER_SAID_REFUSED]++;
            say(deliver, contact, DELIVER_SAID_REFUSED, result->reasons[i]);
            break;
        case DELIVER_UNTRIED:
            break;
        }
    }
}

void deliver_contact_results(struct deliver *deliver, const struct deliver_slot *slot,
                             const struct deliver_report *report)
{
    struct deliver_contact *contact;

    if (!slot) {
        return;
    }
    contact = get(deliver, slot);
    contact->window = report->window > 0 ? report->window : contact->window;
    for (const struct deliver_result *result = report->results; result; result = result->next) {
        hear(deliver, contact, result);
    }
}

void deliver_contact_ended(struct deliver *deliver, const struct deliver_slot *slot,
                           const struct deliver_report *report)
{
    static const enum deliver_word words[] = {
        [OUT_END_BUSY] = DELIVER_SAID_BUSY,      [OUT_END_FAILED] = DELIVER_SAID_FAILED,
        [OUT_END_LOST] = DELIVER_SAID_LOST,      [OUT_END_LOOP] = DELIVER_SAID_FAILED,
        [OUT_END_REFUSED] = DELIVER_SAID_FAILED, [OUT_END_CLIENT] = DELIVER_SAID_LOST,
    };
    struct deliver_contact *contact;

    if (!slot || report->end == OUT_END_CLEAN) {
        return;
    }
    contact = get(deliver, slot);
    contact->words[words[report->end]]++;
    say(deliver, contact, words[report->end], pn_str_z(report->reason));
}

static void free_row(struct deliver *deliver, struct deliver_contact_row *row)
{
    HASH_DEL(deliver->contacts, row);
    for (size_t i = 0; i < row->contact.said_count; i++) {
        free(row->contact.said[i].text);
    }
    free(row->contact.peer);
    free(row->contact.tls);
    free(row->contact.tls_why);
    free(row);
}

void deliver_contact_forget(struct deliver *deliver, struct pn_str destination)
{
    struct deliver_contact_row *row = find(deliver, destination);

    if (row) {
        free_row(deliver, row);
    }
}

void deliver_contacts_drop(struct deliver *deliver)
{
    struct deliver_contact_row *row, *next;

    HASH_ITER (hh, deliver->contacts, row, next) {
        free_row(deliver, row);
    }
}
