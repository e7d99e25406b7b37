"""Who is a recipient: lists, call-ahead, what is known through an outage."""

import http.server
import threading

from conftest import domain
from harness import PostfixPrimary, Primary, Relay, free_port, wait_for

OURS = "example.org"
USERS = {"anna", "bert", "clara"}


def rcpt(relay, address, sender="sender@example.net"):
    client = relay.smtp()
    client.mail(sender)
    code, text = client.rcpt(address)
    client.quit()
    return code, text.decode()


class Choosy(Primary):
    """Knows its users, and counts how often it is asked."""

    def __init__(self, **options):
        super().__init__(**options)
        self.asked = []
        self.users = set(USERS)

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        self.asked.append(address)
        if address.split("@")[0].lower() not in self.users:
            return "550 5.1.1 <%s>: no such user here, secret.internal" % address
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"


def up(relay):
    return any(d["state"] in ("up", "ramp") for d in relay.status()["destinations"])


def bring_up(relay, port):
    """The relay finds out that the primary is up by delivering something to it."""
    wait_for(lambda: rcpt(relay, f"anna@{OURS}")[0] in (250, 450), "asked")


def test_a_list_says_who_exists(tmp_path):
    users = tmp_path / "users"
    users.write_text("# comment\nanna@example.org\nbert\nbroken line here\n")
    with Relay(tmp_path / "relay", domains={OURS: domain(
            free_port(), recipients="{list}", recipient_list=f'"{users}"', recipient_delimiter='"+"')}) as relay:
        wait_for(lambda: rcpt(relay, f"anna@{OURS}")[0] == 250, "the list is loaded")
        assert rcpt(relay, f"BERT+lists@{OURS}")[0] == 250
        code, text = rcpt(relay, f"nobody@{OURS}")
        assert code == 550 and "5.1.1" in text
        assert rcpt(relay, f"postmaster@{OURS}")[0] == 250
        users.write_text("nobody\n")
        wait_for(lambda: rcpt(relay, f"nobody@{OURS}")[0] == 250, "a changed list is read again")
        assert rcpt(relay, f"anna@{OURS}")[0] == 550
        users.write_text("")
        wait_for(lambda: "list.failed" in relay.log(), "an empty list is not believed")
        assert rcpt(relay, f"nobody@{OURS}")[0] == 250


def test_a_list_by_http_is_kept_for_when_its_source_is_away(tmp_path):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b"anna\nbert\n"
            self.send_response(200)
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = domain(free_port(), recipients="{list}",
                      recipient_list=f'"http://127.0.0.1:{server.server_port}/users"')
    relay = Relay(tmp_path, domains={OURS: settings})
    with relay:
        wait_for(lambda: rcpt(relay, f"anna@{OURS}")[0] == 250, "fetched")
        assert rcpt(relay, f"nobody@{OURS}")[0] == 550
    server.shutdown()
    server.server_close()
    with relay:
        wait_for(lambda: rcpt(relay, f"anna@{OURS}")[0] == 250, "read from its copy")
        assert rcpt(relay, f"nobody@{OURS}")[0] == 550


def test_call_ahead_asks_once_and_an_outage_freezes_what_is_known(tmp_path):
    primary = Choosy().start()
    relay = Relay(tmp_path, domains={OURS: domain(primary.port, recipients="{call-ahead}")})
    with relay:
        wait_for(lambda: rcpt(relay, f"anna@{OURS}")[0] == 250, "a user is known")
        code, text = wait_for(lambda: (lambda r: r if r[0] == 550 else None)(rcpt(relay, f"nobody@{OURS}")), "refused")
        assert "5.1.1" in text and "secret.internal" not in text
        asked = len(primary.asked)
        for _ in range(5):
            assert rcpt(relay, f"anna@{OURS}")[0] == 250
            assert rcpt(relay, f"nobody@{OURS}")[0] == 550
        assert len(primary.asked) == asked  # remembered
        primary.stop()
        client = relay.smtp()
        client.sendmail("s@example.net", [f"anna@{OURS}"], b"Subject: x\r\n\r\ny\r\n")
        client.quit()
        wait_for(lambda: any(d["state"] == "down" for d in relay.status()["destinations"]), "it is down")
        assert rcpt(relay, f"anna@{OURS}")[0] == 250
        assert rcpt(relay, f"nobody@{OURS}")[0] == 550
        assert rcpt(relay, f"never-seen@{OURS}")[0] == 450
    with relay:  # a restart forgets nothing
        wait_for(lambda: rcpt(relay, f"never-seen@{OURS}")[0] == 450, "down again")
        assert rcpt(relay, f"anna@{OURS}")[0] == 250
        assert rcpt(relay, f"nobody@{OURS}")[0] == 550
        shown = relay.cli("recipients", "test", OURS, f"anna@{OURS}").stdout
        assert "call-ahead" in shown


def test_a_real_postfix_with_a_recipient_table(tmp_path):
    primary = PostfixPrimary(tmp_path / "postfix", OURS, extra={
        "virtual_mailbox_maps": "inline:{ {anna@example.org=all/}, {bert@example.org=all/} }"})
    with primary, Relay(tmp_path / "relay", domains={OURS: domain(primary.port, recipients="{call-ahead}")}) as relay:
        wait_for(lambda: rcpt(relay, f"anna@{OURS}")[0] == 250, "known")
        wait_for(lambda: rcpt(relay, f"nobody@{OURS}")[0] == 550, "unknown")


def test_a_harvest_costs_the_primary_little(tmp_path):
    primary = Choosy().start()
    relay = Relay(tmp_path, options={"call_ahead_rate": "10"},
                  domains={OURS: domain(primary.port, recipients="{call-ahead}")})
    with relay:
        wait_for(lambda: rcpt(relay, f"anna@{OURS}")[0] == 250, "up")
        codes = []
        for number in range(200):
            try:
                codes.append(rcpt(relay, f"guess{number}@{OURS}")[0])
            except OSError:
                pass
        assert set(codes) <= {450, 550, 421}
        assert len(primary.asked) < 40
    primary.stop()
