"""Who is told what became of its mail, who is not, and that every report is a good one."""

import smtplib

import pytest

from conftest import domain
from harness import Primary, Relay, wait_for
from reports import Report

OURS = "example.org"
SENDERS = "client.example"
FRIEND, STRANGER = "127.0.0.2", "127.0.0.3"  # the first is in authorised_networks
OPTIONS = {"authorised_networks": f'{{"{FRIEND}"}}'}


def known(port, **options):
    """Its recipients are learned while it is there, and its mail is stored all the same."""
    return domain(port, recipients="{call-ahead}", when_up="accept", unknown_when_down="accept", **options)


def until_up(relay, port):
    wait_for(lambda: any(d["state"] == "up" and f":{port}" in d["name"]
                         for d in relay.status()["destinations"]), "the primary is up")


def send(relay, source, sender, to, mail_options=(), rcpt_options=(), body=b"the body", subject=b"hello"):
    client = smtplib.SMTP("127.0.0.1", relay.port, "client.example.net", timeout=60,
                          source_address=(source, 0))
    text = b"Subject: " + subject + b"\r\nMessage-ID: <1@client.example>\r\n\r\n" + body + b"\r\n"
    try:
        return client.sendmail(sender, to, text, list(mail_options), list(rcpt_options))
    finally:
        client.close()


@pytest.fixture
def sink():
    """Where the senders read their mail."""
    with Primary() as server:
        yield server


def reports_of(sink):
    with sink.lock:
        assert all(sender in ("", "<>", None) for sender, _, _ in sink.messages)
        return [(recipients[0], text) for _, recipients, text in sink.messages]


def parked(relay):
    return sorted(r for row in relay.messages(parked="true", limit=1000) for r in row["recipients"])


def learn(relay, names):
    """Asks the primary about these while it takes them; they are believed from then on."""
    for name in names:
        client = relay.smtp()
        client.mail("learn@client.example")
        assert client.rcpt(f"{name}@{OURS}")[0] == 250
        client.close()


def test_each_gets_what_it_asked_for_and_no_more(tmp_path, primary, sink):
    cases = [  # who, where from, its RCPT options, is there a report
        ("plain", FRIEND, [], "failed"),
        ("never", FRIEND, ["NOTIFY=NEVER"], None),
        ("success", FRIEND, ["NOTIFY=SUCCESS"], None),
        ("failure", FRIEND, ["NOTIFY=FAILURE", "ORCPT=rfc822;Old+2BName@old.example"], "failed"),
        ("delay", FRIEND, ["NOTIFY=DELAY"], None),
        ("stranger", STRANGER, ["NOTIFY=SUCCESS,FAILURE"], None),
        ("", FRIEND, [], None),
    ]
    domains = {OURS: known(primary.start().port), SENDERS: domain(sink.port)}
    with Relay(tmp_path, options=OPTIONS, domains=domains) as relay:
        until_up(relay, primary.port)
        names = [name or "null" for name, *_ in cases] + ["fine"]
        learn(relay, names)
        for name in names[:-1]:
            primary.refuse[f"{name}@{OURS}"] = "550-5.1.1 The user has left\r\n550 5.1.1 and took its mail"
        for name, source, options, _ in cases:
            sender = f"{name}@{SENDERS}" if name else ""
            send(relay, source, sender, [f"{name or 'null'}@{OURS}"],
                 ["RET=HDRS", "ENVID=Q+2B1"] if name == "failure" else [], options)
        send(relay, FRIEND, f"glad@{SENDERS}", [f"fine@{OURS}"], rcpt_options=["NOTIFY=SUCCESS"])
        send(relay, STRANGER, f"sly@{SENDERS}", [f"fine@{OURS}"], rcpt_options=["NOTIFY=SUCCESS"])
        wait_for(lambda: relay.queued() == 0 and sink.count() == 3, "all is delivered, parked or reported")

        found = {to: text for to, text in reports_of(sink)}
        assert sorted(found) == [f"{name}@{SENDERS}" for name in ("failure", "glad", "plain")]
        assert parked(relay) == sorted(f"{name or 'null'}@{OURS}" for name, _, _, kind in cases if not kind)

        plain = Report(found[f"plain@{SENDERS}"], f"plain@{SENDERS}", "failed")
        assert plain.finals() == [f"rfc822; plain@{OURS}"]
        assert plain.recipients[0]["Status"] == "5.1.1"
        assert "The user has left" in plain.recipients[0]["Diagnostic-Code"]
        assert "The user has left" in plain.words
        assert plain.text == b"the body\r\n" and plain.original["Subject"] == "hello"
        assert plain.message["References"] == "<1@client.example>"

        failure = Report(found[f"failure@{SENDERS}"], f"failure@{SENDERS}", "failed")
        assert failure.about["Original-Envelope-Id"] == "Q+1"
        assert failure.recipients[0]["Original-Recipient"] == "rfc822; Old+Name@old.example"
        assert failure.text is None and failure.original["Subject"] == "hello"

        glad = Report(found[f"glad@{SENDERS}"], f"glad@{SENDERS}", "relayed")
        assert glad.finals() == [f"rfc822; fine@{OURS}"] and glad.text is None

        metrics = relay.cli("metrics").stdout
        assert "postern_reports_total 3" in metrics
        assert "postern_reports_suppressed_total 1" in metrics  # the stranger's
        listed = [row["sender"] for row in relay.messages(parked="true")]
        assert "" in listed  # and nobody was told of that one


def test_bounce_always_tells_strangers_too_but_not_without_end(tmp_path, primary, sink):
    domains = {OURS: known(primary.start().port, bounce="always", bounce_rate="3"), SENDERS: domain(sink.port)}
    with Relay(tmp_path, domains=domains) as relay:
        until_up(relay, primary.port)
        names = [f"user{i}" for i in range(5)]
        learn(relay, names)
        primary.refuse = {f"{name}@{OURS}": "550 5.7.1 \xe4\t--=_x \x01 no" for name in names}
        send(relay, STRANGER, f"s@{SENDERS}", [f"{name}@{OURS}" for name in names[:2]], body=b"x" * 60000)
        for name in names[2:]:
            send(relay, STRANGER, f"s@{SENDERS}", [f"{name}@{OURS}"], body="\xfc".encode("latin-1"))
        wait_for(lambda: relay.queued() == 0 and sink.count() == 3, "three reports, and no more")
        assert len(parked(relay)) == 1
        assert relay.log().count("report.limited") == 1
        assert "postern_reports_limited_total 1" in relay.cli("metrics").stdout
        found = [Report(text, f"s@{SENDERS}", "failed") for _, text in reports_of(sink)]
        both = next(r for r in found if len(r.recipients) == 2)
        assert both.returned == "text/rfc822-headers"  # it is larger than 50 KB
        single = next(r for r in found if len(r.recipients) == 1)
        assert single.text == b"\xfc\r\n"
        assert single.recipients[0]["Status"] == "5.7.1"


def test_what_expires_is_reported_and_a_report_never_is(tmp_path, primary, sink):
    """The sender's own server refuses the report: it is parked, and nobody hears of that."""
    sink.refuse = {f"s@{SENDERS}": "550 5.1.1 nobody here"}
    domains = {OURS: known(primary.start().port, bounce="always"),
               SENDERS: known(sink.port, bounce="always")}
    with Relay(tmp_path, options=OPTIONS, domains=domains) as relay:
        until_up(relay, primary.port)
        until_up(relay, sink.port)
        learn(relay, ["anna"])
        primary.refuse = {f"anna@{OURS}": "550 5.1.1 gone"}
        send(relay, FRIEND, f"s@{SENDERS}", [f"anna@{OURS}"])
        wait_for(lambda: relay.queued() == 0 and parked(relay) == [f"s@{SENDERS}"], "the report is parked")
        assert relay.log().count("report.sent") == 1
        # Released, it is refused and parked again, and that is all.
        relay.cli("parked", "release", "--all")
        wait_for(lambda: relay.log().count("delivery.refused") == 3 and relay.queued() == 0, "once more")
        assert parked(relay) == [f"s@{SENDERS}"]
        assert relay.log().count("report.sent") == 1
        assert sink.count() == 0


def test_delay_is_told_once_to_those_who_want_it(tmp_path, primary, sink):
    domains = {OURS: known(primary.start().port, bounce="always"), SENDERS: domain(sink.port)}
    options = {**OPTIONS, "delay_warning": '"2s"'}
    with Relay(tmp_path, options=options, domains=domains) as relay:
        until_up(relay, primary.port)
        learn(relay, ["anna"])
        primary.stop()
        send(relay, FRIEND, f"friend@{SENDERS}", [f"anna@{OURS}"])
        send(relay, FRIEND, f"quiet@{SENDERS}", [f"anna@{OURS}"], rcpt_options=["NOTIFY=FAILURE"])
        send(relay, STRANGER, f"asks@{SENDERS}", [f"anna@{OURS}"], rcpt_options=["NOTIFY=DELAY"])
        send(relay, STRANGER, f"stranger@{SENDERS}", [f"anna@{OURS}"])
        wait_for(lambda: sink.count() == 2, "two are told")
        # A later one is told in a later pass; the first ones are not told again by that.
        send(relay, FRIEND, f"later@{SENDERS}", [f"anna@{OURS}"])
        wait_for(lambda: sink.count() == 3, "and a third")
        found = {to: text for to, text in reports_of(sink)}
        assert sorted(found) == [f"{name}@{SENDERS}" for name in ("asks", "friend", "later")]
        report = Report(found[f"friend@{SENDERS}"], f"friend@{SENDERS}", "delayed")
        assert report.finals() == [f"rfc822; anna@{OURS}"] and report.text is None
        wait_for(lambda: relay.queued() == 5, "the reports' own jobs have ended")
        primary.start()
        wait_for(lambda: primary.count() == 5 and relay.queued() == 0, "it arrives all the same")
        assert sink.count() == 3


def test_nothing_is_reported_on_parole(tmp_path, primary, sink):
    """It comes back and refuses: that is parked although reports are on for everybody."""
    domains = {OURS: known(primary.start().port, bounce="always"), SENDERS: domain(sink.port)}
    with Relay(tmp_path, options=OPTIONS, domains=domains) as relay:
        until_up(relay, primary.port)
        learn(relay, ["anna"])
        primary.stop()
        send(relay, FRIEND, f"s@{SENDERS}", [f"anna@{OURS}"])
        wait_for(lambda: "destination.down" in relay.log(), "it is missed")
        primary.refuse = {f"anna@{OURS}": "550 5.1.1 no table yet"}
        primary.start()
        wait_for(lambda: relay.queued() == 0 and parked(relay) == [f"anna@{OURS}"], "it is parked")
        assert sink.count() == 0 and "report.sent" not in relay.log()


def test_what_is_parked_can_be_sent_to_somebody_else(tmp_path, primary, sink):
    domains = {OURS: known(primary.start().port), SENDERS: domain(sink.port)}
    with Relay(tmp_path, domains=domains) as relay:
        until_up(relay, primary.port)
        learn(relay, ["anna"])
        primary.refuse = {f"anna@{OURS}": "550 5.1.1 gone"}
        send(relay, STRANGER, f"s@{SENDERS}", [f"anna@{OURS}"])
        wait_for(lambda: parked(relay) == [f"anna@{OURS}"], "it is parked")
        row, = relay.messages(parked="true")
        assert relay.cli("parked", "forward", "nobody", row["id"], check=False).returncode == 1
        assert relay.cli("parked", "forward", f"heir@{SENDERS}", row["id"]).stdout == "forwarded: 1\n"
        wait_for(lambda: sink.count() == 1, "it is there")
        sender, recipients, text = sink.messages[0]
        assert (sender, recipients) == (f"s@{SENDERS}", [f"heir@{SENDERS}"])
        assert text.endswith(b"the body\r\n")
        wait_for(lambda: relay.queued() == 0, "nothing is left")
        assert parked(relay) == []


def test_a_crash_between_a_report_and_its_job_loses_nothing(tmp_path, primary, sink):
    """Killed as soon as refusals are seen: each recipient is reported, at least once, or parked."""
    domains = {OURS: known(primary.start().port, bounce="always"), SENDERS: domain(sink.port)}
    names = [f"user{i}" for i in range(40)]
    with Relay(tmp_path, domains=domains) as relay:
        until_up(relay, primary.port)
        learn(relay, names)
        primary.refuse = {f"{name}@{OURS}": "550 5.1.1 gone" for name in names}
        for name in names:
            send(relay, STRANGER, f"{name}@{SENDERS}", [f"{name}@{OURS}"])
        wait_for(lambda: relay.log().count("delivery.refused") >= 5, "refusals")
        relay.kill()
        relay.start()

        def told():
            return {to.split("@")[0] for to, _ in reports_of(sink)}

        def kept():
            return {address.split("@")[0] for address in parked(relay)}

        def ended():
            # What was left to refuse after the start may be so much that the drain is stopped.
            if any(d["state"] == "stopped" for d in relay.status()["destinations"]):
                relay.cli("destination", "refuse", "--all")
            return told() | kept() == set(names) and relay.queued() == 0

        wait_for(ended, "all are told or parked")


def test_good_news_is_told_by_us_where_the_primary_cannot(tmp_path, primary, sink):
    """Pass-through to a primary without DSN: what asks for SUCCESS is stored, handed over and
    reported; the rest goes through, and so does what strangers ask for."""
    settings = known(primary.start().port)
    settings.update(when_up="pass-through", target=f'{{"localhost:{primary.port}"}}')
    domains = {OURS: settings, SENDERS: domain(sink.port)}
    with Relay(tmp_path, options=OPTIONS, domains=domains) as relay:
        until_up(relay, primary.port)
        send(relay, FRIEND, f"plain@{SENDERS}", [f"anna@{OURS}"])
        send(relay, STRANGER, f"sly@{SENDERS}", [f"anna@{OURS}"], rcpt_options=["NOTIFY=SUCCESS"])
        assert primary.count() == 2 and "message.stored" not in relay.log()
        send(relay, FRIEND, f"glad@{SENDERS}", [f"anna@{OURS}"], rcpt_options=["NOTIFY=SUCCESS"])
        wait_for(lambda: sink.count() == 1, "the report is there")
        (to, text), = reports_of(sink)
        assert to == f"glad@{SENDERS}" and primary.count() == 3
        Report(text, to, "relayed")


@pytest.mark.parametrize("sender", ["j\u00fcrg", "plain"])
def test_internationalised_mail_is_reported_so_that_its_sender_can_read_it(tmp_path, primary, sink, sender):
    to, user = f"{sender}@{SENDERS}", f"\u4e2d@{OURS}"
    domains = {OURS: known(primary.start().port, bounce="always"), SENDERS: domain(sink.port)}
    with Relay(tmp_path, domains=domains) as relay:
        until_up(relay, primary.port)
        client = relay.smtp()
        assert client.docmd("MAIL", f"FROM:<learn@{SENDERS}> SMTPUTF8")[0] == 250
        client.command_encoding = "utf-8"
        assert client.docmd("RCPT", f"TO:<{user}>")[0] == 250
        client.rset()
        client.command_encoding = "utf-8"  # which RSET has reset
        primary.refuse[user] = "550 5.1.1 gone"
        assert client.docmd("MAIL", f"FROM:<{to}> SMTPUTF8 BODY=8BITMIME")[0] == 250
        assert client.docmd("RCPT", f"TO:<{user}>")[0] == 250
        assert client.data("Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n".encode())[0] == 250
        wait_for(lambda: sink.count() == 1, "the report is there")
        (recipient, text), = reports_of(sink)
        assert recipient == to
        report = Report(text, to, "failed")
        assert user in report.words
        assert report.finals() == ([f"utf-8; {user}"] if sender != "plain" else [f"utf-8; \\x{{4E2D}}@{OURS}"])
        assert report.returned == "message/global" and report.text == b"x\r\n"
        assert report.original["Subject"] == "gr\u00fc\u00dfe"
