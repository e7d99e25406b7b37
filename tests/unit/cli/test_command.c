/*
 * Command lines: what is asked of the daemon, what is shown, and the exit status.
 */
#include "helper_cli.h"

#include "postern/base/mem.h"

#include <string.h>

#define DOWN                                                                                   \
    "{\"name\":\"example.org\",\"state\":\"down\",\"since_s\":11520.5,\"messages\":4312,"      \
    "\"octets\":19083919,\"oldest_s\":11400,\"parked\":0,\"next_probe_s\":4.2,"                \
    "\"reason\":\"mail.example.org: connection refused\"}"

static const struct {
    const char *name;
    const char *words;
    struct answer answer;
    const char *requests;
    int status;
    const char *out; /* found in it; NULL: nothing is printed */
    const char *err;
} rows[] = {
    {"no command", "", {0}, "", 2, NULL, "usage: postern"},
    {"help", "help", {0}, "", 0, "queue list", NULL},
    {"--help", "--help", {0}, "", 0, "queue list", NULL},
    {"help of a command", "help queue list", {0}, "", 0, "--recipient TEXT", NULL},
    {"--help of a command", "queue list --help", {0}, "", 0, "--recipient TEXT", NULL},
    {"help of a group", "help queue", {0}, "", 0, "postern queue retry", NULL},
    {"a group alone", "queue", {0}, "", 2, NULL, "postern queue retry"},
    {"unknown command", "statsu", {0}, "", 2, NULL, "the nearest is \"status\""},
    {"unknown option", "queue list --sendr x", {0}, "", 2, NULL, "--sender"},
    {"too many arguments", "status now", {0}, "", 2, NULL, "usage: postern status"},
    {"too few arguments", "trace", {0}, "", 2, NULL, "usage: postern trace ID"},
    {"version", "version", {0}, "", 0, "postern " POSTERN_VERSION, NULL},
    {"--version", "--version", {0}, "", 0, "postern " POSTERN_VERSION, NULL},
    {"socket missing", "status -s", {0}, "", 2, NULL, "-s needs"},

    {"unreachable",
     "status",
     {0, "", PN_ECLOSED},
     "GET /v1/status \n",
     3,
     NULL,
     "nobody answers on /test.sock"},
    {"another socket",
     "-s /other.sock status",
     {0, "", PN_ECLOSED},
     "GET /v1/status \n",
     3,
     NULL,
     "nobody answers on /other.sock"},
    {"not permitted",
     "status",
     {0, "", PN_EACCES},
     "GET /v1/status \n",
     3,
     NULL,
     "admin_group"},
    {"no answer in time",
     "status",
     {0, "", PN_ETIMEOUT},
     "GET /v1/status \n",
     3,
     NULL,
     "nobody"},
    {"no JSON", "status", {200, "<html>", 0}, "GET /v1/status \n", 1, NULL, "no JSON"},
    {"JSON as it is",
     "--json status",
     {200, "{\"a\": 1}\n", 0},
     "GET /v1/status \n",
     0,
     "{\"a\": 1}\n",
     NULL},
    {"--json behind",
     "status --json",
     {200, "{\"a\": 1}\n", 0},
     "GET /v1/status \n",
     0,
     "{\"a\": 1}\n",
     NULL},
    {"refusal",
     "domain show nope",
     {404, "{\"error\":\"no \\u001b[0m\"}", 0},
     "GET /v1/domains/nope \n",
     1,
     NULL,
     "postern: no \\x1b[0m\n"},
    {"refusal as JSON",
     "domain show nope --json",
     {404, "{\"error\":\"no\"}\n", 0},
     "GET /v1/domains/nope \n",
     1,
     "{\"error\":\"no\"}\n",
     "postern: no\n"},

    {"domain show",
     "domain show a/b",
     {200, DOWN, 0},
     "GET /v1/domains/a%2Fb \n",
     0,
     "down since 3h 12m, next probe in 4 s",
     NULL},
    {"domain show, on parole",
     "domain show a",
     {200,
      "{\"name\":\"a\",\"state\":\"ramp\",\"since_s\":3,\"parole\":true,\"parole_done\":0,"
      "\"parole_wanted\":50,\"reason\":\"R\",\"options\":{\"recipients\":[\"list\","
      "\"call-ahead\"],\"when_up\":\"pass-through\"}}",
      0},
     "GET /v1/domains/a \n",
     0,
     "state        ramp since 3s\n"
     "parole       back since 3s, on parole: 0 of 50 clean\n"
     "reason       R\n"
     "waiting      0 messages, 0 B\n"
     "parked       0\n"
     "recipients   list, call-ahead\n"
     "when up      pass-through\n",
     NULL},
    {"domain list",
     "domain list",
     {200, "{\"domains\":[" DOWN "],\"next\":null}", 0},
     "GET /v1/domains?limit=10000 \n",
     0,
     "4,312  18.2 MiB",
     NULL},
    {"domain names",
     "domain list --names",
     {200, "{\"domains\":[" DOWN "]}", 0},
     "GET /v1/domains?limit=10000 \n",
     0,
     "example.org\n",
     NULL},
    {"domain add",
     "domain add example.org --target a --target=b --recipients any --when-up "
     "accept --hold 14d",
     {201, "{\"replaced\":false,\"mistakes\":[]}", 0},
     "PUT /v1/domains/example.org?create=true {\"target\":[\"a\",\"b\"],\"recipients\":"
     "[\"any\"],\"when_up\":\"accept\",\"hold\":\"14d\"}\n",
     0,
     "example.org: added",
     NULL},
    {"domain replace",
     "domain add example.org --replace --hold 1d",
     {200,
      "{\"replaced\":true,\"mistakes\":[{\"file\":\"f\",\"line\":2,\"warning\":true,"
      "\"text\":\"odd\"}]}",
      0},
     "PUT /v1/domains/example.org {\"hold\":\"1d\"}\n",
     0,
     "example.org: replaced",
     "f:2: warning: odd\n"},
    {"domain add with a mistake",
     "domain add example.org --hold 1x",
     {422,
      "{\"error\":\"not written\",\"mistakes\":[{\"file\":\"f.conf\",\"line\":0,"
      "\"warning\":false,\"text\":\"bad\"}]}",
      0},
     "PUT /v1/domains/example.org?create=true {\"hold\":\"1x\"}\n",
     1,
     NULL,
     "postern: not written\nf.conf: bad\n"},
    {"domain add, option unknown",
     "domain add example.org --targt a",
     {0},
     "",
     2,
     NULL,
     "the nearest is --target"},
    {"domain remove",
     "domain remove example.org",
     {200, "{\"messages\":3,\"parked\":1}", 0},
     "DELETE /v1/domains/example.org \n",
     0,
     "4 messages are kept",
     NULL},
    {"domain check",
     "domain check example.org",
     {200,
      "{\"findings\":[{\"level\":\"warning\",\"what\":\"W\",\"do\":\"D\"}],"
      "\"transcript\":[\"> EHLO\"]}",
      0},
     "POST /v1/domains/example.org/check \n",
     0,
     "warning  W\n         -> D\n",
     NULL},
    {"domain check with a problem",
     "domain check example.org --transcript",
     {200,
      "{\"findings\":[{\"level\":\"problem\",\"what\":\"W\",\"do\":\"\"}],"
      "\"transcript\":[\"> EHLO\"]}",
      0},
     "POST /v1/domains/example.org/check \n",
     1,
     "problem  W\n\n> EHLO\n",
     NULL},

    {"recipients show",
     "recipients show example.org",
     {200,
      "{\"sources\":[{\"source\":\"list\",\"location\":\"/l\",\"loaded_s\":60,\"addresses\":"
      "1203,\"wild_card\":false,\"broken_lines\":2,\"broken\":\"3: a; 7: b\","
      "\"foreign_lines\":1,\"trouble\":\"T\"},{\"source\":\"call-ahead\",\"asks\":true,"
      "\"catch_all\":true,\"valid\":5,\"invalid\":1,\"expired\":2,\"more\":false},{\"source\":"
      "\"any\"}],\"when_up\":\"accept\",\"unknown_when_down\":\"defer\",\"target\":{\"name\":"
      "\"smtp:a:25\",\"state\":\"up\",\"since_s\":5,\"parole\":true}}",
      0},
     "GET /v1/domains/example.org/recipients \n",
     0,
     "1. list       /l: 1,203 addresses, as of 1m ago\n"
     "              2 broken lines: 3: a; 7: b\n"
     "              1 address of another domain\n"
     "              trouble: T\n"
     "2. call-ahead the target is asked; it takes every address, so its yes means nothing\n"
     "              remembered: 5 valid, 1 invalid, 2 too old to be used\n"
     "3. any        every address is taken\n"
     "else          while the target is down: defer\n"
     "when up       accept\n"
     "target        smtp:a:25: up since 5s, on parole\n",
     NULL},
    {"recipients test",
     "recipients test example.org a@example.org",
     {200,
      "{\"outcome\":\"invalid\",\"source\":\"call-ahead\",\"catch_all\":false,\"reply\":"
      "\"550 5.1.1 no\",\"address\":\"a@example.org\",\"target\":null,\"remembered\":"
      "{\"verdict\":\"invalid\",\"source\":\"delivery\",\"age_s\":7200}}",
      0},
     "POST /v1/domains/example.org/recipients/test {\"address\":\"a@example.org\"}\n",
     1,
     "verdict       invalid\n"
     "why           call-ahead: invalid, learned by delivery, 2h of the target's time up ago\n"
     "reply         550 5.1.1 no\n",
     NULL},
    {"recipients test, valid",
     "recipients test example.org a --json",
     {200, "{\"outcome\":\"valid\",\"age_s\":13.143}", 0},
     "POST /v1/domains/example.org/recipients/test {\"address\":\"a\"}\n",
     0,
     "{\"outcome\":\"valid\",\"age_s\":13.143}\n",
     NULL},
    {"route",
     "route u@example.net --from a@example.org",
     {200,
      "{\"address\":\"u@example.net\",\"sender\":\"a@example.org\",\"refused\":false,"
      "\"why\":\"because\",\"queue\":\"out:example.net\",\"messages\":3,\"destination\":{"
      "\"name\":"
      "\"smtp:mx example.net\",\"state\":\"down\",\"since_s\":60,\"reason\":\"refused\"},"
      "\"limits\":{\"sessions\":5,\"messages_per_session\":1000,"
      "\"recipients_per_transaction\":100,\"rate\":\"5/s\",\"delay_s\":2,\"hold_s\":86400},"
      "\"steps\":[{\"kind\":\"note\",\"text\":\"MX hosts of it\"},{\"kind\":\"passed over\","
      "\"text\":\"a: no "
      "address\"},{\"kind\":\"host\",\"host\":\"b\",\"port\":25,\"addresses\":["
      "\"192.0.2.1\",\"192.0.2.2\"],\"tls\":\"verify\",\"tls_report_only\":true,\"tls_why\":"
      "\"the policy\"},{\"kind\":\"host\",\"host\":\"/run/s\",\"port\":0,\"addresses\":[],"
      "\"fallback\":true,\"tls\":\"may\",\"tls_why\":\"so\"}]}",
      0},
     "GET /v1/route?address=u%40example.net&sender=a%40example.org \n",
     0,
     "address       u@example.net from a@example.org\n"
     "queue         out:example.net\n"
     "why           because\n"
     "waiting       3\n"
     "destination   smtp:mx example.net\n"
     "state         down for 1m: refused\n"
     "limits        5 sessions, 1,000 messages in each, 100 recipients a message, 5/s, then a "
     "pause of 2s; kept for 1d\n"
     "\n"
     "     MX hosts of it\n"
     "  -  a: no address\n"
     "  1  b port 25: 192.0.2.1, 192.0.2.2\n"
     "     TLS verify, failures reported only: the policy\n"
     "  2  /run/s (fallback)\n"
     "     TLS may: so\n",
     NULL},
    {"route, refused",
     "route u@localhost",
     {200, "{\"address\":\"u@localhost\",\"refused\":true,\"why\":\"no way\"}", 0},
     "GET /v1/route?address=u%40localhost \n",
     1,
     "address       u@localhost\nrefused       no way\n",
     NULL},
    {"recipients forget",
     "recipients forget example.org a@b",
     {200, "{\"forgotten\":1,\"complete\":true}", 0},
     "POST /v1/domains/example.org/recipients/forget {\"address\":\"a@b\"}\n",
     0,
     "forgotten: 1\n",
     NULL},
    {"recipients forget all",
     "recipients forget example.org --all",
     {200, "{\"forgotten\":7,\"complete\":false}", 0},
     "POST /v1/domains/example.org/recipients/forget {\"all\":true}\n",
     1,
     "forgotten: 7\n",
     "halfway"},
    {"recipients forget what?", "recipients forget a", {0}, "", 2, NULL, "usage"},
    {"recipients forget both", "recipients forget a b --all", {0}, "", 2, NULL, "usage"},
    {"recipients import, no file",
     "recipients import a /nope/nope",
     {0},
     "",
     1,
     NULL,
     "cannot read /nope/nope: No such file"},

    {"parked list",
     "parked list --sender a --limit 5",
     {200,
      "{\"messages\":[{\"id\":\"ID\",\"sender\":\"s@x\",\"recipients\":[\"r@x\"],"
      "\"recipient_count\":1,\"arrival_s\":60,\"octets\":2048,\"queue\":\"example.org\","
      "\"state\":\"parked\",\"last_reply\":\"550 no\"}],\"next\":null}",
      0},
     "GET /v1/queue?parked=true&sender=a&limit=5 \n",
     0,
     "s@x     r@x         550 no\n",
     NULL},
    {"parked list, empty",
     "parked list",
     {200, "{\"messages\":[],\"next\":null}", 0},
     "GET /v1/queue?parked=true&limit=100 \n",
     0,
     "nothing is parked\n",
     NULL},
    {"parked list, no --held", "parked list --held", {0}, "", 2, NULL, "no option --held"},
    {"parked show",
     "parked show ID",
     {200,
      "{\"id\":\"ID\",\"jobs\":[{\"queue\":\"a\",\"state\":\"waiting\",\"recipients\":[\"w\"]},"
      "{\"queue\":\"b\",\"state\":\"parked\",\"recipients\":[\"p\"]}]}",
      0},
     "GET /v1/queue/ID \n",
     0,
     "size         0 B\n\nqueue        b (parked)\n",
     NULL},
    {"parked show, none",
     "parked show ID",
     {200, "{\"id\":\"ID\",\"jobs\":[{\"queue\":\"a\",\"state\":\"waiting\"}]}", 0},
     "GET /v1/queue/ID \n",
     1,
     NULL,
     "none of the message's recipients is parked"},
    {"parked release",
     "parked release A",
     {200, "{\"changed\":1,\"complete\":true}", 0},
     "POST /v1/queue/release {\"parked\":true,\"id\":\"A\"}\n",
     0,
     "released: 1\n",
     NULL},
    {"parked forward",
     "parked forward me@example.net A B",
     {200, "{\"changed\":1,\"complete\":true}", 0},
     "POST /v1/queue/forward {\"address\":\"me@example.net\",\"parked\":true,\"id\":\"A\"}\n"
     "POST /v1/queue/forward {\"address\":\"me@example.net\",\"parked\":true,\"id\":\"B\"}\n",
     0,
     "forwarded: 2\n",
     NULL},
    {"parked forward what?",
     "parked forward me@example.net",
     {0},
     "",
     2,
     NULL,
     "nothing says which"},
    {"parked delete by filter",
     "parked delete --older 30d",
     {200, "{\"changed\":2,\"complete\":true}", 0},
     "POST /v1/queue/delete {\"parked\":true,\"older\":\"30d\"}\n",
     0,
     "deleted: 2\n",
     NULL},
    {"parked delete nothing", "parked delete", {0}, "", 2, NULL, "nothing says which"},

    {"queue list",
     "queue list --domain example.org --older 2h --held",
     {200,
      "{\"messages\":[{\"id\":\"ID\",\"sender\":\"\",\"recipients\":[\"r@x\"],"
      "\"recipient_count\":3,\"arrival_s\":60,\"octets\":2048,\"queue\":\"example.org\","
      "\"state\":\"held\",\"next_try_s\":null,\"attempts\":2,\"last_reply\":\"451 no\"}],"
      "\"next\":null}",
      0},
     "GET /v1/queue?domain=example.org&older=2h&held=true&limit=100 \n",
     0,
     "<>      r@x +2      held          2  451 no\n",
     NULL},
    {"queue list, empty",
     "queue list",
     {200, "{\"messages\":[],\"next\":null}", 0},
     "GET /v1/queue?limit=100 \n",
     0,
     "no message\n",
     NULL},
    {"queue list, limit", "queue list --limit 0", {0}, "", 2, NULL, "--limit is a number"},
    {"queue list, JSON",
     "queue list --json --limit 5 --sender a&b",
     {200, "{}", 0},
     "GET /v1/queue?limit=5&sender=a%26b \n",
     0,
     "{}",
     NULL},
    {"queue hold",
     "queue hold A B",
     {200, "{\"changed\":1,\"complete\":true}", 0},
     "POST /v1/queue/hold {\"id\":\"A\"}\nPOST /v1/queue/hold {\"id\":\"B\"}\n",
     0,
     "held: 2\n",
     NULL},
    {"queue delete by filter",
     "queue delete --sender spam --older 1d",
     {200, "{\"changed\":7,\"complete\":true}", 0},
     "POST /v1/queue/delete {\"sender\":\"spam\",\"older\":\"1d\"}\n",
     0,
     "deleted: 7\n",
     NULL},
    {"queue release all",
     "queue release --all --parked",
     {200, "{\"changed\":7,\"complete\":true}", 0},
     "POST /v1/queue/release {\"all\":true,\"parked\":true}\n",
     0,
     "released: 7\n",
     NULL},
    {"queue retry nothing", "queue retry", {0}, "", 2, NULL, "nothing says which"},
    {"queue retry, none found",
     "queue retry A",
     {200, "{\"changed\":0,\"complete\":true}", 0},
     "POST /v1/queue/retry {\"id\":\"A\"}\n",
     1,
     "due now: 0\n",
     NULL},
    {"queue delete, halfway",
     "queue delete --all",
     {200, "{\"changed\":7,\"complete\":false}", 0},
     "POST /v1/queue/delete {\"all\":true}\n",
     1,
     "deleted: 7\n",
     "halfway"},
    {"trace",
     "trace ID",
     {200,
      "{\"events\":[{\"time\":\"T\",\"event\":\"message.stored\",\"text\":\"a=\\u0007\"}]}", 0},
     "GET /v1/trace/ID \n",
     0,
     "T  message.stored  a=\\x07\n",
     NULL},

    {"flush",
     "flush example.org",
     {200, "{}", 0},
     "POST /v1/flush {\"domain\":\"example.org\"}\n",
     0,
     "tried now",
     NULL},
    {"flush all",
     "flush --all",
     {200, "{}", 0},
     "POST /v1/flush {\"all\":true}\n",
     0,
     "tried now",
     NULL},
    {"flush nothing", "flush", {0}, "", 2, NULL, "usage: postern flush"},
    {"flush both", "flush a --all", {0}, "", 2, NULL, "usage: postern flush"},
    {"destination hold",
     "destination hold --domain example.org",
     {200, "{}", 0},
     "POST /v1/destinations/hold {\"domain\":\"example.org\"}\n",
     0,
     "example.org: held\n",
     NULL},
    {"destination release",
     "destination release smtp:a:25",
     {200, "{}", 0},
     "POST /v1/destinations/release {\"name\":\"smtp:a:25\"}\n",
     0,
     "released\n",
     NULL},
    {"destination by a domain",
     "destination release example.org",
     {200, "{}", 0},
     "POST /v1/destinations/release {\"domain\":\"example.org\"}\n",
     0,
     "example.org: released\n",
     NULL},
    {"destination show",
     "destination show smtp:a:25;tls=may",
     {200,
      "{\"name\":\"smtp:a:25;tls=may\",\"state\":\"ramp\",\"since_s\":3,\"sessions\":2,"
      "\"session_limit\":4,\"lent_sessions\":1,\"last_success_s\":1,\"last_failure_s\":null,"
      "\"probes\":120,\"failures\":119,\"parole\":true,\"parole_done\":12,"
      "\"parole_refused\":1,\"parole_wanted\":50,\"reason\":\"a probe answered\","
      "\"capabilities\":[\"PIPELINING\",\"SIZE\"],\"size_limit\":1048576,\"domains\":"
      "[\"a\",\"b\"],\"domains_total\":7,\"session_ceiling\":3,\"messages\":1200,"
      "\"rate\":12.5,\"rate_limit\":20.0,\"delay_s\":2.0,\"replies\":{\"2xx\":9,\"4xx\":8,"
      "\"5xx\":7,\"421\":6,\"lost\":5,\"failed\":4},\"last_session_s\":4,\"peer\":"
      "\"a[192.0.2.1]:25\",\"tls\":\"TLSv1.3 X, verified\",\"tls_why\":\"it is so\","
      "\"identity\":\"xclient\",\"window\":16,\"quirks\":[\"no CHUNKING\"],"
      "\"last_replies\":[{\"kind\":\"4xx\",\"at_s\":60,\"times\":2,\"text\":\"451 No\"},"
      "{\"kind\":\"421\",\"at_s\":3600,\"times\":1,\"text\":\"421 Go\"}]}",
      0},
     "GET /v1/destinations/smtp%3Aa%3A25%3Btls%3Dmay \n",
     0,
     "state         ramp since 3s\n"
     "parole        back since 3s, on parole: 12 of 50 clean, 1 refused\n"
     "reason        a probe answered\n"
     "sessions      2 of 4 (it turns away more than 3), and 1 for pass-through and "
     "call-ahead\n"
     "messages      1,200 wait, 12.5 a second are delivered; at most 20 a second; 2 s between "
     "two of a session\n"
     "last success  1s\n"
     "last failure  -\n"
     "probes        120; sessions that failed: 119\n"
     "offers        PIPELINING, SIZE\n"
     "size limit    1.0 MiB\n"
     "last session  a[192.0.2.1]:25, 4s ago\n"
     "tls           TLSv1.3 X, verified: it is so\n"
     "identity      xclient\n"
     "window        16\n"
     "quirks        no CHUNKING\n"
     "replies       9 taken, 8 put off, 7 refused; sessions: 6 told 421, 5 lost, 4 failed\n"
     "last replies  1m ago: 451 No (2 times)\n"
     "              1h ago: 421 Go\n"
     "domains       a, b and 5 more\n",
     NULL},
    {"destination show, stopped",
     "destination show a",
     {200,
      "{\"name\":\"smtp:a:25\",\"state\":\"stopped\",\"since_s\":60,\"next_canary_s\":1740,"
      "\"reason\":\"it refuses all\",\"parole\":true,\"capabilities\":null}",
      0},
     "GET /v1/destinations/a \n",
     0,
     "state         stopped since 1m, some messages are tried in 29m\n"
     "decision      stopped: it refuses all, decide with \"postern destination resume|refuse "
     "smtp:a:25\"\n",
     NULL},
    {"destination resume",
     "destination resume --all",
     {200, "{\"names\":[\"smtp:a:25\"]}", 0},
     "POST /v1/destinations/resume {\"all\":true}\n",
     0,
     "smtp:a:25: gets its mail again, on parole\n",
     NULL},
    {"destination resume, none",
     "destination resume --all",
     {200, "{\"names\":[]}", 0},
     "POST /v1/destinations/resume {\"all\":true}\n",
     0,
     "no destination is stopped\n",
     NULL},
    {"destination refuse",
     "destination refuse example.org",
     {200, "{\"names\":[\"smtp:a:25\"]}", 0},
     "POST /v1/destinations/refuse {\"domain\":\"example.org\"}\n",
     0,
     "smtp:a:25: is off parole",
     NULL},
    {"destination resume of two", "destination resume a --all", {0}, "", 2, NULL, "give a"},
    {"destination of nothing", "destination hold", {0}, "", 2, NULL, "give a destination"},
    {"destination list",
     "destination list",
     {200,
      "{\"destinations\":[{\"name\":\"smtp:a:25\",\"state\":\"up\",\"since_s\":5,"
      "\"sessions\":2,\"session_limit\":20,\"last_success_s\":1,\"next_probe_s\":null,"
      "\"reason\":\"\"}],\"next\":null}",
      0},
     "GET /v1/destinations?limit=10000 \n",
     0,
     "smtp:a:25    up        5s      2/20       1s           -",
     NULL},
    {"reload",
     "reload",
     {200, "{\"mistakes\":[]}", 0},
     "POST /v1/reload \n",
     0,
     "in force",
     NULL},
    {"reload with a mistake",
     "reload",
     {422,
      "{\"error\":\"E\",\"mistakes\":[{\"file\":\"f\",\"line\":7,\"warning\":false,"
      "\"text\":\"T\"}]}",
      0},
     "POST /v1/reload \n",
     1,
     NULL,
     "postern: E\nf:7: T\n"},
    {"stop", "stop", {200, "{\"stopping\":true}", 0}, "POST /v1/stop \n", 0, "stopping", NULL},
    {"metrics",
     "metrics",
     {200, "postern_queue_messages 3\n", 0},
     "GET /metrics \n",
     0,
     "postern_queue_messages 3\n",
     NULL},
    {"spool check",
     "spool check --messages 5",
     {200, "{\"checked\":5,\"bad\":1}", 0},
     "POST /v1/spool/check {\"messages\":5}\n",
     1,
     "checked: 5, damaged: 1\n",
     NULL},
    {"spool salvage", "spool salvage /a b", {0}, "", 2, NULL, "usage: postern spool salvage"},
    {"spool salvage",
     "spool salvage /a",
     {200, "{\"brought\":2,\"there_already\":1,\"bad\":0,\"complete\":true}", 0},
     "POST /v1/spool/salvage {\"path\":\"/a\"}\n",
     0,
     "brought back: 2",
     NULL},
    {"spool salvage, jobs are missing",
     "spool salvage /a",
     {200, "{\"brought\":2,\"there_already\":1,\"bad\":0,\"unread_jobs\":3,\"complete\":true}",
      0},
     "POST /v1/spool/salvage {\"path\":\"/a\"}\n",
     0,
     "damaged: 0\njob records that could not be read: 3; their recipients",
     NULL},
    {"config explain", "config explain hold", {0}, "", 0, "hold", NULL},
    {"config explain, unknown", "config explain hol", {0}, "", 1, NULL, "the nearest is hold"},
    {"config explain, all", "config explain", {0}, "", 0, "listener.address", NULL},
    {"config explain, JSON",
     "config explain hold --json",
     {0},
     "",
     0,
     "\"default\":\"14d\"",
     NULL},
};

static bool is_as_wanted(const char *text, const char *want)
{
    return want ? strstr(text, want) != NULL : text[0] == '\0';
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < PN_COUNT(rows); i++) {
        struct run run;

        run_init(&run);
        run.answers = &rows[i].answer;
        run.answer_count = 1;
        run_words(&run, rows[i].words);
        if (run.status != rows[i].status || strcmp(run.requests, rows[i].requests) != 0 ||
            !is_as_wanted(run.out, rows[i].out) || !is_as_wanted(run.err, rows[i].err)) {
            fail_msg("%s: %d\nasked: %sout: %serr: %s", rows[i].name, run.status, run.requests,
                     run.out, run.err);
        }
        run_fini(&run);
    }
}

static void test_no_blanks_at_the_end_of_a_line(void **state)
{
    static const struct answer answer = {
        200, "{\"domains\":[{\"name\":\"a\",\"state\":\"up\"}]}", 0};
    struct run run;

    (void)state;
    run_init(&run);
    run.answers = &answer;
    run.answer_count = 1;
    run_words(&run, "domain list");
    assert_null(strstr(run.out, " \n"));
    run_fini(&run);
}

/* A probe's reason is shown once, whether it is its last line's or not. */
static void test_probe_tells_its_failure_once(void **state)
{
#define LAST(lines, reason)                                                                    \
    "{\"lines\":[" lines "],\"next\":1,\"ended\":true,\"good\":false,\"reason\":\"" reason "\"}"
#define SOME "{\"lines\":[\"* a: refused\"],\"next\":1,\"ended\":false}"
    static const struct {
        const char *name;
        struct answer answers[3];
        const char *out;
    } probes[] = {
        {"one host",
         {{200, "{\"id\":1}", 0}, {200, LAST("\"* a: refused\"", "a: refused"), 0}},
         "* a: refused\nno delivery could begin\n"},
        {"told beforehand",
         {{200, "{\"id\":1}", 0}, {200, SOME, 0}, {200, LAST("", "a: refused"), 0}},
         "* a: refused\nno delivery could begin\n"},
        {"two hosts",
         {{200, "{\"id\":1}", 0}, {200, SOME, 0}, {200, LAST("\"* b: no\"", "a: x; b: no"), 0}},
         "* a: refused\n* b: no\nno delivery could begin: a: x; b: no\n"},
        {"what the other side says is no note",
         {{200, "{\"id\":1}", 0}, {200, LAST("\"< 421 no\"", "421 no"), 0}},
         "< 421 no\nno delivery could begin: 421 no\n"},
        {"nothing was said",
         {{200, "{\"id\":1}", 0}, {200, LAST("", "silence"), 0}},
         "no delivery could begin: silence\n"},
    };

    (void)state;
    for (size_t i = 0; i < PN_COUNT(probes); i++) {
        struct run run;

        print_message("%s\n", probes[i].name);
        run_init(&run);
        run.answers = probes[i].answers;
        run.answer_count = probes[i].answers[2].status ? 3 : 2;
        run_words(&run, "probe a");
        assert_int_equal(run.status, 1);
        assert_string_equal(run.out, probes[i].out);
        run_fini(&run);
    }
}

static void test_listings_follow_their_pages(void **state)
{
    static const struct answer domains[] = {
        {200,
         "{\"domains\":[{\"name\":\"a\"}],\"next\":\"a\",\"broken\":[{\"name\":\"c\","
         "\"mistake\":\"c.conf:1: bad\",\"in_force\":false}]}",
         0},
        {200, "{\"domains\":[{\"name\":\"b\"}],\"next\":null}", 0}};
    static const struct answer queue[] = {
        {200, "{\"messages\":[],\"next\":\"00ff\"}", 0},
        {200, "{\"messages\":[{\"id\":\"ONE\"},{\"id\":\"TWO\"}],\"next\":\"01\"}", 0}};
    struct run run;

    (void)state;
    run_init(&run);
    run.answers = domains;
    run.answer_count = 2;
    run_words(&run, "domain list");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.requests, "GET /v1/domains?limit=10000 \n"
                                      "GET /v1/domains?limit=10000&after=a \n");
    assert_non_null(strstr(run.out, "\na "));
    assert_non_null(strstr(run.out, "\nb "));
    assert_non_null(strstr(run.out, "c.conf:1: bad (there is no good version"));
    run_fini(&run);

    run_init(&run);
    run.answers = queue;
    run.answer_count = 2;
    run_words(&run, "queue list --limit 2 --after 11");
    assert_int_equal(run.status, 0);
    assert_string_equal(run.requests,
                        "GET /v1/queue?limit=2&after=11 \nGET /v1/queue?limit=2&after=00ff \n");
    assert_non_null(strstr(run.out, "there are more: --after 01\n"));
    run_fini(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_probe_tells_its_failure_once),
        cmocka_unit_test(test_listings_follow_their_pages),
        cmocka_unit_test(test_no_blanks_at_the_end_of_a_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
