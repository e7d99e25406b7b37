/*
 * admin/recipient.c - what is known of a domain's recipients, as JSON. Pure.
 *
 * Each source is an object with its own members, in the order in which they are asked: who
 * reads it top down sees who answers first. Ages of answers are counted on the domain's
 * up-clock and are therefore not the distance to `when`, which is the time of day.
 */
#include "recipient_priv.h"

#include "postern/base/assert.h"

static const char *verdict_name(enum state_verdict verdict)
{
    static const char *const names[] = {
        [STATE_UNKNOWN] = "unknown", [STATE_VALID] = "valid", [STATE_INVALID] = "invalid"};

    return names[verdict];
}

bool admin_recipient_is_expired(const struct conf_domain *domain,
                                const struct state_answer *answer)
{
    return answer->age_ms >=
           (answer->verdict == STATE_INVALID ? domain->invalid_keep_ms : domain->valid_keep_ms);
}

json_t *admin_recipient_answer(const struct conf_domain *domain,
                               const struct state_answer *answer,
                               const struct admin_clock *clock)
{
    json_t *json = json_object();

    admin_json_put(json, "verdict", json_string(verdict_name(answer->verdict)));
    admin_json_put(json, "source", json_string(state_source_name(answer->source)));
    admin_json_put(json, "age_s", admin_json_seconds(answer->age_ms));
    admin_json_wall_past(json, "when", clock, answer->when);
    admin_json_put(json, "expired",
                   domain ? json_boolean(admin_recipient_is_expired(domain, answer))
                          : json_null());
    return json;
}

static void put_list(json_t *json, const struct admin_recipient_facts *facts)
{
    const struct verify_list_status *list = facts->list;

    admin_json_put(json, "location", admin_json_text(pn_str_z(facts->domain->recipient_list)));
    if (!list) {
        admin_json_put(json, "loaded", json_null());
        admin_json_put(json, "loaded_s", json_null());
        return;
    }
    admin_json_wall_past(json, "loaded", &facts->clock, list->loaded);
    admin_json_put(json, "addresses", admin_json_u64(list->addresses));
    admin_json_put(json, "wild_card", json_boolean(list->wild_card));
    admin_json_put(json, "broken_lines", admin_json_u64(list->broken_lines));
    admin_json_put(json, "broken", admin_json_text(pn_str_z(list->broken)));
    admin_json_put(json, "foreign_lines", admin_json_u64(list->foreign_lines));
    admin_json_put(json, "trouble", admin_json_text(pn_str_z(list->trouble)));
}

static void put_call_ahead(json_t *json, const struct admin_recipient_facts *facts)
{
    const struct out_board_entry *target = facts->target;
    const struct state_catch_all *catch_all = facts->catch_all;

    admin_json_put(json, "asks",
                   target ? json_boolean(target->state == QUEUE_UP && !target->parole)
                          : json_null());
    admin_json_put(json, "catch_all",
                   catch_all && catch_all->known ? json_boolean(catch_all->catch_all)
                                                 : json_null());
    if (facts->counted) {
        admin_json_put(json, "valid", admin_json_u64(facts->valid));
        admin_json_put(json, "invalid", admin_json_u64(facts->invalid));
        admin_json_put(json, "expired", admin_json_u64(facts->expired));
        admin_json_put(json, "more", json_boolean(facts->more));
    }
}

json_t *admin_recipient_sources(const struct admin_recipient_facts *facts)
{
    static const char *const names[] = {[CONF_RECIPIENTS_LIST] = "list",
                                        [CONF_RECIPIENTS_CALL_AHEAD] = "call-ahead",
                                        [CONF_RECIPIENTS_ANY] = "any"};
    const struct conf_order *order = &facts->domain->recipients;
    json_t *sources = json_array();

    for (size_t i = 0; i < order->count; i++) {
        json_t *source = json_object();

        admin_json_put(source, "source", json_string(names[order->words[i]]));
        if (order->words[i] == CONF_RECIPIENTS_LIST) {
            put_list(source, facts);
        } else if (order->words[i] == CONF_RECIPIENTS_CALL_AHEAD) {
            put_call_ahead(source, facts);
        }
        pn_assert(json_array_append_new(sources, source) == 0);
    }
    return sources;
}

json_t *admin_recipient_verdict(const struct conf_domain *domain,
                                const struct verify_verdict *verdict,
                                const struct admin_clock *clock)
{
    static const char *const outcomes[] = {
        [VERIFY_VALID] = "valid", [VERIFY_INVALID] = "invalid", [VERIFY_UNKNOWN] = "unknown"};
    json_t *json = json_object();
    struct pn_buf reply;

    pn_buf_init(&reply, SMTP_REPLY_TEXT_MAX + 64);
    pn_assert(smtp_reply_format(&verdict->reply, &reply) == 0);
    admin_json_put(json, "outcome", json_string(outcomes[verdict->outcome]));
    admin_json_put(json, "source", json_string(verdict->source));
    admin_json_put(json, "catch_all", json_boolean(verdict->catch_all));
    admin_json_put(json, "remembered",
                   verdict->answer.verdict == STATE_UNKNOWN
                       ? json_null()
                       : admin_recipient_answer(domain, &verdict->answer, clock));
    admin_json_put(json, "reply", admin_json_text(pn_buf_str(&reply)));
    pn_buf_fini(&reply);
    return json;
}
