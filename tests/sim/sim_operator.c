/*
 * sim_operator.c - what the operator does and sees, as by the admin API.
 *
 * A verb runs the world until it is answered; when the power goes meanwhile nobody answers.
 */
#include "sim_priv.h"

#include <stdio.h>
#include <string.h>

/* ---- the operator
 * ------------------------------------------------------------------------------------ */

bool sim_flush(struct sim *sim, const char *queue)
{
    sim_note(sim, "flush %s", queue);
    return sim_is_up(sim) && deliver_flush(sim->daemon->deliver, pn_str_z(queue));
}

void sim_hold(struct sim *sim, const char *name, bool hold)
{
    const struct conf_domain *domain = sim_find_domain(sim, name);
    struct sim_held **link = &sim->held;

    if (!domain || !sim_is_up(sim) ||
        !deliver_hold(sim->daemon->deliver, pn_str_z(domain->destination), hold)) {
        return;
    }
    sim_note(sim, "%s %s", hold ? "hold" : "release", domain->destination);
    while (*link && strcmp((*link)->destination, domain->destination) != 0) {
        link = &(*link)->next;
    }
    if (hold && !*link) {
        *link = PN_NEW(struct sim_held);
        (*link)->destination = pn_strdup(domain->destination);
        (*link)->since_ms = sim->now_ms;
    } else if (!hold && *link) {
        struct sim_held *held = *link;

        *link = held->next;
        free(held->destination);
        free(held);
    }
}

struct verb_answer {
    bool answered;
    char next[512];
};

static void on_verb(void *owner, int status, size_t changed, struct pn_str next)
{
    struct verb_answer *answer = owner;

    (void)status;
    (void)changed;
    answer->answered = true;
    (void)snprintf(answer->next, sizeof answer->next, "%.*s", PN_FMT(next));
}

/* The power may go while it is under way, and then nobody answers. */
static bool verb_answered(struct sim *sim, void *arg)
{
    return ((struct verb_answer *)arg)->answered || !sim->daemon;
}

static void apply(struct sim *sim, enum spool_verb verb, struct spool_filter *filter)
{
    struct verb_answer answer = {.next = ""};

    for (size_t parked = 0; parked < 2 && sim_is_up(sim); parked++) {
        filter->parked = parked;
        filter->now_ms = deliver_now_ms(sim->daemon->deliver);
        answer.next[0] = '\0';
        do {
            char after[sizeof answer.next];

            memcpy(after, answer.next, sizeof after);
            answer = (struct verb_answer){.next = ""};
            spool_apply(sim->daemon->spool, &sim->daemon->main->port, verb, filter,
                        pn_str_z(after), on_verb, &answer);
            (void)sim_run_until(sim, verb_answered, &answer, PN_HOURS(1));
        } while (answer.answered && answer.next[0] != '\0' && sim_is_up(sim));
    }
}

void sim_verb(struct sim *sim, enum spool_verb verb, const char *queue)
{
    sim_note(sim, "verb %d for the queue \"%s\"", (int)verb, queue);
    apply(sim, verb, &(struct spool_filter){.queue = pn_str_z(queue)});
}

void sim_verb_mail(struct sim *sim, enum spool_verb verb, size_t number)
{
    struct sim_mail *mail = sim_mail(sim, number);
    struct spool_filter filter = {.parked = false};

    if (pn_id_parse(pn_str_z(mail->id), &filter.id)) {
        sim_note(sim, "verb %d for mail %zu", (int)verb, number);
        mail->deleted = mail->deleted || verb == SPOOL_DELETE;
        apply(sim, verb, &filter);
    }
}

static bool has_queue(const struct sim *sim)
{
    return sim->daemon && sim->daemon->deliver;
}

bool sim_queue(struct sim *sim, const char *name, struct queue_status *out)
{
    return has_queue(sim) &&
           queue_get_status(deliver_queue(sim->daemon->deliver), pn_str_z(name),
                            deliver_now_ms(sim->daemon->deliver), out);
}

bool sim_destination(struct sim *sim, const char *name, struct queue_destination_status *out)
{
    const struct conf_domain *domain = sim_find_domain(sim, name);

    return has_queue(sim) && domain &&
           queue_get_destination(deliver_queue(sim->daemon->deliver),
                                 pn_str_z(domain->destination),
                                 deliver_now_ms(sim->daemon->deliver), out);
}

bool sim_resume(struct sim *sim, const char *name)
{
    const struct conf_domain *domain = sim_find_domain(sim, name);

    sim_note(sim, "resume the destination of %s", name);
    return domain && sim_is_up(sim) &&
           deliver_resume(sim->daemon->deliver, pn_str_z(domain->destination));
}

bool sim_refuse(struct sim *sim, const char *name)
{
    const struct conf_domain *domain = sim_find_domain(sim, name);

    sim_note(sim, "believe the refusals of the destination of %s", name);
    return domain && sim_is_up(sim) &&
           deliver_refuse(sim->daemon->deliver, pn_str_z(domain->destination));
}

bool sim_parole(struct sim *sim, const char *name)
{
    const struct conf_domain *domain = sim_find_domain(sim, name);

    return domain && sim->daemon && sim->daemon->board &&
           out_board_get(sim->daemon->board, pn_str_z(domain->destination)).parole;
}

enum queue_state sim_state(struct sim *sim, const char *domain)
{
    struct queue_destination_status status = {.state = QUEUE_UNKNOWN};

    (void)sim_destination(sim, domain, &status);
    return status.state;
}

static void add_jobs(void *owner, const struct queue_status *status)
{
    *(uint64_t *)owner += status->jobs;
}

uint64_t sim_waiting(struct sim *sim)
{
    uint64_t jobs = 0;

    if (has_queue(sim)) {
        queue_each(deliver_queue(sim->daemon->deliver), deliver_now_ms(sim->daemon->deliver),
                   add_jobs, &jobs);
    }
    return jobs;
}

uint64_t sim_parked(struct sim *sim, const char *queue)
{
    struct queue_status status = {.parked = 0};

    (void)sim_queue(sim, queue, &status);
    return status.parked;
}
