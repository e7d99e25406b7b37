#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "helper_route.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

#define STEPS_MAX 200

struct conf *helper_conf(const char *more)
{
    struct conf_mistakes mistakes;
    struct conf *conf;
    char text[4096];

    conf_mistakes_init(&mistakes);
    (void)snprintf(text, sizeof text,
                   "hostname = mx2.example.net\nlistener mx { address = \"0.0.0.0:25\" }\n%s",
                   more);
    conf = conf_parse("f", pn_str_z(text), &mistakes);
    if (!conf) {
        fail_msg("%s", mistakes.items[0].text);
    }
    conf_mistakes_fini(&mistakes);
    return conf;
}

struct conf_domain *helper_domain(const char *name, const char *text, const struct conf *conf)
{
    struct conf_mistakes mistakes;
    struct conf_domain *domain;

    conf_mistakes_init(&mistakes);
    domain = conf_domain_parse("f", pn_str_z(name), pn_str_z(text), conf, NULL, 0, &mistakes);
    if (!domain) {
        fail_msg("%s", mistakes.items[0].text);
    }
    conf_mistakes_fini(&mistakes);
    return domain;
}

/* One item of the DNS; data is what follows the type. */
struct found {
    struct route_answer answer;
    struct pn_str data;
    char canonical[256];
};

static struct pn_str cut_item(struct pn_str *rest)
{
    struct pn_str item = pn_str_cut(rest, ';');

    return pn_str_trim(item);
}

static void look_up(const char *dns, const char *name, const char *type, struct found *out)
{
    struct pn_str rest = pn_str_z(dns);

    *out = (struct found){.answer = {.found = ROUTE_NO_RECORD}};
    while (rest.len > 0) {
        struct pn_str item = cut_item(&rest);
        struct pn_str owner = pn_str_cut(&item, ' ');
        struct pn_str kind = pn_str_cut(&item, ' ');
        bool validated = pn_str_ends(kind, PN_STR("!"));

        kind.len -= validated;
        if (!pn_str_eq(owner, pn_str_z(name)) || !pn_str_eq(kind, pn_str_z(type))) {
            continue;
        }
        out->data = pn_str_trim(item);
        out->answer = (struct route_answer){
            .found = ROUTE_FOUND, .why = "it said so", .validated = validated};
        if (pn_str_eq(out->data, PN_STR("fail"))) {
            out->answer.found = ROUTE_NOT_KNOWN;
        } else if (pn_str_eq(out->data, PN_STR("nx"))) {
            out->answer.found = ROUTE_NO_NAME;
        } else if (pn_str_starts(out->data, PN_STR(">"))) {
            struct pn_str target = pn_str_cut(&out->data, ' ');

            (void)snprintf(out->canonical, sizeof out->canonical, "%.*s",
                           PN_FMT(pn_str_sub(target, 1, SIZE_MAX)));
            out->answer.alias = true;
            out->answer.canonical = out->canonical;
        }
        return;
    }
}

static uint64_t cut_number(struct pn_str *text)
{
    uint64_t number = 0;

    assert_true(pn_str_to_u64(pn_str_cut(text, ' '), 70000, &number));
    return number;
}

static void answer_mx(struct route_plan *plan, const char *dns, const char *name)
{
    struct route_mx records[64];
    char names[64][64];
    struct found found;
    size_t count = 0;

    look_up(dns, name, "MX", &found);
    while (found.answer.found == ROUTE_FOUND && found.data.len > 0) {
        struct pn_str item = pn_str_trim(pn_str_cut(&found.data, ','));

        records[count].preference = (uint16_t)cut_number(&item);
        (void)snprintf(names[count], sizeof names[count], "%.*s",
                       PN_FMT(pn_str_eq(item, PN_STR(".")) ? PN_STR("") : item));
        records[count].name = names[count];
        count++;
    }
    route_plan_mx(plan, &found.answer, records, count);
}

static size_t read_ips(struct found *found, struct pn_ip *ips)
{
    size_t count = 0;

    while (found->answer.found == ROUTE_FOUND && found->data.len > 0) {
        assert_true(pn_ip_parse(pn_str_trim(pn_str_cut(&found->data, ',')), &ips[count++]));
    }
    return count;
}

static void answer_addresses(struct route_plan *plan, const char *dns,
                             const struct route_step *step)
{
    struct found v6 = {.answer = {.found = ROUTE_NO_RECORD}};
    struct found v4 = v6;
    struct pn_ip ips6[64];
    struct pn_ip ips4[64];
    size_t count6;
    size_t count4;

    if (step->v6) {
        look_up(dns, step->name, "AAAA", &v6);
    }
    if (step->v4) {
        look_up(dns, step->name, "A", &v4);
    }
    count6 = read_ips(&v6, ips6);
    count4 = read_ips(&v4, ips4);
    route_plan_addresses(plan, &v6.answer, ips6, count6, &v4.answer, ips4, count4);
}

static void answer_tlsa(struct route_plan *plan, const char *dns, const char *name)
{
    static const uint8_t data[70000];
    struct route_tlsa_record records[20];
    struct found found;
    size_t count = 0;

    look_up(dns, name, "TLSA", &found);
    while (found.answer.found == ROUTE_FOUND && found.data.len > 0) {
        struct pn_str item = pn_str_trim(pn_str_cut(&found.data, ','));
        struct route_tlsa_record *record = &records[count++];

        record->usage = (uint8_t)cut_number(&item);
        record->selector = (uint8_t)cut_number(&item);
        record->matching = (uint8_t)cut_number(&item);
        record->len = (size_t)cut_number(&item);
        record->data = data;
    }
    route_plan_tlsa(plan, &found.answer, records, count);
}

static void answer_policy(struct route_plan *plan, const char *dns, const char *name)
{
    struct route_sts policy = {0};
    struct found found;
    struct pn_str mode;
    char text[512];

    look_up(dns, name, "STS", &found);
    if (found.answer.found != ROUTE_FOUND) {
        route_plan_policy(plan, NULL, "no record");
        return;
    }
    mode = pn_str_cut(&found.data, ' ');
    (void)snprintf(text, sizeof text, "version: STSv1\nmode: %.*s\nmax_age: 86400\nmx: %.*s\n",
                   PN_FMT(mode), PN_FMT(found.data));
    assert_null(route_sts_parse(pn_str_z(text), &policy));
    route_plan_policy(plan, &policy, "");
    route_sts_fini(&policy);
}

static void write_host(struct pn_buf *out, const struct route_step *step)
{
    static const char *const words[] = {"none",   "may",         "encrypt",
                                        "verify", "fingerprint", "dane"};
    const struct route_host *host = step->host;
    int status = pn_buf_printf(out, "TRY %s%s:%u", host->path ? host->path : host->name,
                               host->fallback ? " (fallback)" : "", (unsigned)host->port);

    for (size_t i = 0; i < step->ip_count && status == 0; i++) {
        char ip[PN_IP_CHARS];

        status = pn_buf_printf(out, " %s", pn_ip_format(&step->ips[i], ip));
    }
    assert_int_equal(status, 0);
    assert_int_equal(
        pn_buf_printf(out, " %s%s", words[host->tls], host->tls_report_only ? "?" : ""), 0);
    for (size_t i = 0; i < host->name_count; i++) {
        assert_int_equal(pn_buf_printf(out, " =%s", host->names[i]), 0);
    }
    if (host->tls == ROUTE_TLS_DANE) {
        assert_int_equal(pn_buf_printf(out, " %zu at %s", host->tlsa_count, host->sni), 0);
    }
    assert_true(host->tls_why[0] != '\0');
    assert_int_equal(pn_buf_append_char(out, '\n'), 0);
}

static bool take_step(struct route_plan *plan, const char *dns, struct pn_buf *out)
{
    static const char *const words[] = {
        [ROUTE_PASS] = "PASS", [ROUTE_NOTE] = "NOTE", [ROUTE_END] = "END"};
    struct route_step step;

    route_plan_next(plan, &step);
    switch (step.kind) {
    case ROUTE_ASK_MX:
        answer_mx(plan, dns, step.name);
        break;
    case ROUTE_ASK_POLICY:
        answer_policy(plan, dns, step.name);
        break;
    case ROUTE_ASK_ADDRESSES:
        answer_addresses(plan, dns, &step);
        break;
    case ROUTE_ASK_TLSA:
        answer_tlsa(plan, dns, step.name);
        break;
    case ROUTE_TRY:
        write_host(out, &step);
        break;
    case ROUTE_PASS:
    case ROUTE_NOTE:
    case ROUTE_END:
        assert_int_equal(pn_buf_printf(out, "%s%s%s%s%s\n", words[step.kind],
                                       step.loop ? " LOOP" : "", step.refused ? " REFUSED" : "",
                                       step.text[0] ? " " : "", step.text),
                         0);
        break;
    }
    return step.kind != ROUTE_END;
}

char *helper_run(const struct route_plan_input *input, const char *dns)
{
    struct route_plan *plan = route_plan_new(input);
    struct pn_buf out;
    size_t steps = 0;
    char *text;

    pn_buf_init(&out, (size_t)1 << 20);
    while (take_step(plan, dns, &out)) {
        assert_true(steps++ < STEPS_MAX);
    }
    assert_false(take_step(plan, dns, &out) && true); /* the end stays the end */
    route_plan_free(&plan);
    assert_null(plan);
    text = pn_buf_detach(&out);
    pn_buf_fini(&out);
    return text;
}
