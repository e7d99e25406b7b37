/*
 * What a check makes of the facts, and that every finding says what to do.
 */
#include "findings_priv.h"
#include "helper_admin.h"

#include "postern/base/mem.h"

#include <stdio.h>
#include <string.h>

/* A domain where all is well: the rows below each change one thing. */
struct scene {
    struct admin_facts facts;
    struct conf *conf;
    struct conf_domain *domain;
    struct out_deps out;
    struct pn_ip own_ip;
    struct pn_endpoint own;
};

static struct pn_ip ip(const char *text)
{
    struct pn_ip parsed = {0};

    assert_true(pn_ip_parse(pn_str_z(text), &parsed));
    return parsed;
}

static struct admin_host host(const char *name, uint16_t preference, const char *address)
{
    struct admin_host made = {.preference = preference,
                              .port = 25,
                              .v4 = address ? RESOLVER_FOUND : RESOLVER_NXDOMAIN,
                              .v6 = address ? RESOLVER_NODATA : RESOLVER_NXDOMAIN};

    (void)snprintf(made.name, sizeof made.name, "%s", name);
    if (address) {
        made.ips[made.ip_count++] = ip(address);
    }
    return made;
}

static void scene_init(struct scene *scene)
{
    struct admin_facts *facts = &scene->facts;

    *scene = (struct scene){
        .conf = make_conf(),
        .domain = make_domain("example.org",
                              "target = {mail.example.org}\nrecipients = {any}\nwhen_up = "
                              "accept\n"),
        .own_ip = ip("192.0.2.2"),
        .own = {.port = 25},
    };
    scene->out = (struct out_deps){
        .own = &scene->own, .own_count = 1, .own_ips = &scene->own_ip, .own_ip_count = 1};
    scene->own.ip = scene->own_ip;
    facts->conf = scene->conf;
    facts->domain = scene->domain;
    facts->out = &scene->out;
    facts->now = (struct pn_wall){1763760000000};
    facts->mx_answered = true;
    facts->mx[0] = host("mail.example.org", 10, "192.0.2.10");
    facts->mx[1] = host("mx2.example.net", 90, "192.0.2.2");
    facts->mx_count = 2;
    facts->own = host("mx2.example.net", 0, "192.0.2.2");
    facts->targets[0] = host("mail.example.org", 0, "192.0.2.10");
    facts->target_count = 1;
    facts->session = (struct admin_session_facts){
        .ready = true,
        .ended = true,
        .peer = "mail.example.org[192.0.2.10]:25",
        .capabilities = SMTP_CAP_PIPELINING | SMTP_CAP_8BITMIME | SMTP_CAP_SMTPUTF8 |
                        SMTP_CAP_DSN | SMTP_CAP_STARTTLS,
        .encrypted = true,
        .tls_why = "TLSv1.3, nothing proven (example.org has tls = may)",
        .cipher = "C",
        .names = "mail.example.org",
        .issuer = "CA",
        .expires_s = 1763760000 + 90 * 86400,
        .verified = true};
}

static void scene_fini(struct scene *scene)
{
    conf_domain_unref(&scene->domain);
    conf_unref(&scene->conf);
}

static void all_well(struct scene *scene)
{
    (void)scene;
}
static void mx_tempfail(struct scene *scene)
{
    scene->facts.mx_status = RESOLVER_TEMPFAIL;
    (void)snprintf(scene->facts.mx_why, sizeof scene->facts.mx_why, "timed out");
}
static void mx_nxdomain(struct scene *scene)
{
    scene->facts.mx_status = RESOLVER_NXDOMAIN;
}
static void mx_none(struct scene *scene)
{
    scene->facts.mx_status = RESOLVER_NODATA;
}
static void mx_null(struct scene *scene)
{
    scene->facts.mx[0] = host("", 0, NULL);
    scene->facts.mx_count = 1;
}
static void mx_without_us(struct scene *scene)
{
    scene->facts.mx_count = 1;
}
static void mx_unclear(struct scene *scene)
{
    scene->facts.mx[1] = host("mx3.example.com", 90, NULL);
    scene->facts.mx[1].v4 = RESOLVER_TEMPFAIL;
}
static void mx_only_us(struct scene *scene)
{
    scene->facts.mx[0] = scene->facts.mx[1];
    scene->facts.mx_count = 1;
}
static void mx_after_us(struct scene *scene)
{
    scene->facts.mx[2] = host("mx3.example.com", 100, "192.0.2.3");
    scene->facts.mx_count = 3;
}
static void mx_equal(struct scene *scene)
{
    scene->facts.mx[0].preference = 90;
}
static void mx_by_address(struct scene *scene)
{
    scene->facts.mx[1] = host("other.example.net", 90, "192.0.2.2");
}
static void mx_without_target(struct scene *scene)
{
    scene->facts.mx[0] = host("filter.example.com", 10, "192.0.2.77");
}
static void own_name_unknown(struct scene *scene)
{
    scene->facts.own = host("mx2.example.net", 0, NULL);
}
static void own_name_elsewhere(struct scene *scene)
{
    scene->facts.own = host("mx2.example.net", 0, "198.51.100.1");
}
static void target_unknown(struct scene *scene)
{
    scene->facts.targets[0] = host("mail.example.org", 0, NULL);
}
static void target_is_us(struct scene *scene)
{
    scene->facts.targets[0] = host("mail.example.org", 0, "192.0.2.2");
}
static void greets_as_us(struct scene *scene)
{
    scene->facts.session = (struct admin_session_facts){.ended = true, .end = OUT_END_LOOP};
}
static void refused(struct scene *scene)
{
    scene->facts.session = (struct admin_session_facts){
        .ended = true, .end = OUT_END_FAILED, .reason = "connection refused"};
}
static void silent(struct scene *scene)
{
    scene->facts.session = (struct admin_session_facts){.last_line = "> EHLO mx2"};
}
static void no_starttls(struct scene *scene)
{
    scene->facts.session.encrypted = false;
    scene->facts.session.capabilities &= ~(unsigned)SMTP_CAP_STARTTLS;
}
static void handshake_failed(struct scene *scene)
{
    scene->facts.session.encrypted = false;
}
static void not_verified(struct scene *scene)
{
    scene->facts.session.verified = false;
    (void)snprintf(scene->facts.session.verify_error, sizeof scene->facts.session.verify_error,
                   "self-signed");
}
static void expired(struct scene *scene)
{
    scene->facts.session.expires_s = 1763760000 - 3 * 86400;
}
static void expires_soon(struct scene *scene)
{
    scene->facts.session.expires_s = 1763760000 + 3 * 86400;
}
static void small_size(struct scene *scene)
{
    scene->facts.session.size_limit = 10000000;
}
static void no_pipelining(struct scene *scene)
{
    scene->facts.session.capabilities &= ~(unsigned)SMTP_CAP_PIPELINING;
}
static void no_smtputf8(struct scene *scene)
{
    scene->facts.session.capabilities &= ~(unsigned)SMTP_CAP_SMTPUTF8;
}

static const struct {
    const char *name;
    void (*change)(struct scene *scene);
    const char *level, *what;
} rows[] = {
    {"last MX", all_well, "ok", "We are the last of 2 MX of example.org, with preference 90."},
    {"own name", all_well, "ok", "Our host name mx2.example.net leads to us."},
    {"target answers", all_well, "ok", "answers and takes mail"},
    {"encrypted", all_well, "ok", "TLSv1.3"},
    {"whitelist", all_well, "note", "Held mail comes to the target from our address"},
    {"DNS fails", mx_tempfail, "warning", "does not tell the MX of example.org: timed out"},
    {"no domain", mx_nxdomain, "problem", "does not exist in the DNS"},
    {"no MX", mx_none, "problem", "has no MX record"},
    {"null MX", mx_null, "problem", "null MX"},
    {"not in the MX", mx_without_us, "problem",
     "We are not among the MX of example.org: mail.example.org (10)."},
    {"perhaps in the MX", mx_unclear, "warning", "not all of their addresses"},
    {"only MX", mx_only_us, "note", "We are the only MX"},
    {"not the last", mx_after_us, "warning", "mx3.example.com (preference 100) comes after us"},
    {"equal", mx_equal, "warning", "have the preference 90"},
    {"by address", mx_by_address, "note", "other.example.net is one of our addresses"},
    {"by address it is the last", mx_by_address, "ok", "We are the last of 2 MX"},
    {"target is no MX", mx_without_target, "note", "None of the targets is an MX"},
    {"own name unknown", own_name_unknown, "warning", "has no address in the DNS"},
    {"own name elsewhere", own_name_elsewhere, "note", "no interface of this machine has"},
    {"target unknown", target_unknown, "problem", "The target mail.example.org has no address"},
    {"target is us", target_is_us, "problem", "leads back to us (192.0.2.2:25)"},
    {"greets as us", greets_as_us, "problem", "The target is ourselves"},
    {"refused", refused, "problem", "does not take mail from us: connection refused"},
    {"silent", silent, "problem", "the last line was: > EHLO mx2"},
    {"no STARTTLS", no_starttls, "warning", "offers no STARTTLS"},
    {"handshake failed", handshake_failed, "warning", "the handshake failed"},
    {"not verified", not_verified, "note", "not verified: self-signed"},
    {"expired", expired, "warning", "has expired 3 days ago"},
    {"expires soon", expires_soon, "warning", "expires in 3 days"},
    {"small SIZE", small_size, "warning", "10000000 octets at the most, we take 52428800"},
    {"no PIPELINING", no_pipelining, "note", "no PIPELINING"},
    {"no SMTPUTF8", no_smtputf8, "note", "no SMTPUTF8"},
};

/* Looks for the finding; every one must say what to do, unless it is ok. */
static bool has_finding(const json_t *findings, const char *level, const char *what)
{
    bool found = false;
    size_t index;
    json_t *finding;

    json_array_foreach(findings, index, finding)
    {
        const char *is = json_string_value(json_object_get(finding, "level"));
        const char *text = json_string_value(json_object_get(finding, "what"));

        assert_int_equal(strcmp(is, "ok") == 0,
                         json_string_value(json_object_get(finding, "do"))[0] == '\0');
        found |= strcmp(is, level) == 0 && strstr(text, what);
    }
    return found;
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct scene scene;
        json_t *findings;

        scene_init(&scene);
        rows[i].change(&scene);
        findings = admin_findings(&scene.facts);
        if (!has_finding(findings, rows[i].level, rows[i].what)) {
            fail_msg("%s: %s", rows[i].name, json_dumps(findings, JSON_INDENT(1)));
        }
        json_decref(findings);
        scene_fini(&scene);
    }
}

static void test_files(void **state)
{
    struct scene scene;
    json_t *findings;

    (void)state;
    scene_init(&scene);
    conf_mistakes_init(&scene.facts.files);
    conf_mistakes_add(&scene.facts.files, "f", 0, true, "the certificate in /c has expired");
    findings = admin_findings(&scene.facts);
    assert_true(has_finding(findings, "warning", "the certificate in /c has expired."));
    json_decref(findings);
    conf_mistakes_fini(&scene.facts.files);
    scene_fini(&scene);
}

static void test_nothing_is_wrong_where_all_is_well(void **state)
{
    struct scene scene;
    json_t *findings;

    (void)state;
    scene_init(&scene);
    findings = admin_findings(&scene.facts);
    assert_false(has_finding(findings, "problem", ""));
    assert_false(has_finding(findings, "warning", ""));
    json_decref(findings);
    scene_fini(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_nothing_is_wrong_where_all_is_well),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
