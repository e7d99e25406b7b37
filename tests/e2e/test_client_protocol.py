"""The client's half against servers of other makes: logins, client identity, every mixture of extensions."""

import base64
import collections
import os
import re
import shutil
import socket
import subprocess

import pytest

from conftest import domain
from harness import CORPUS, BIN, PostfixPrimary, Primary, Raw, Relay, digest, wait_for, wire
from next_hops import DOVECOT, Exim, OpenSmtpd, PostfixWithLogins, PostfixWithout

OURS = "example.org"
LONG = os.environ.get("POSTERN_E2E_LONG") == "1"  # tests/run long
needs_postfix = pytest.mark.skipif(not shutil.which("postfix"), reason="Postfix is not installed")


def offer(relay, recipients, text=b"Subject: x\r\n\r\nhi\r\n", source="127.0.0.1", name="client.example.net"):
    """One mail in one session, from one address to a relay or another server; its recipients are all taken."""
    client = Raw.__new__(Raw)
    client.socket = socket.create_connection(("127.0.0.1", relay.port), timeout=60, source_address=(source, 0))
    client.file = client.socket.makefile("rb")
    with client:
        assert client.say(f"EHLO {name}").startswith("250")
        assert client.say("MAIL FROM:<sender@example.net> BODY=8BITMIME").startswith("250")
        for recipient in recipients:
            assert client.say(f"RCPT TO:<{recipient}>").startswith("250")
        assert client.say("DATA").startswith("354")
        client.send(re.sub(rb"\r\n\.", b"\r\n..", b"\r\n" + text)[2:] + b".\r\n")
        return client.reply()


def send(relay, *words, **more):
    reply = offer(relay, *words, **more)
    assert reply.startswith("250"), reply


# ---- logins ----


def credentials(path, password):
    path.write_text(f"relay\n{password}\n")
    path.chmod(0o600)
    return f'"{path}"'


@needs_postfix
@pytest.mark.skipif(not DOVECOT, reason="Dovecot is not installed")
def test_each_mechanism_logs_in(tmp_path):
    mechanisms = ("scram-sha-256", "scram-sha-1", "plain", "login")
    names = {mechanism: f"{mechanism}.example.org" for mechanism in mechanisms}
    with PostfixWithLogins(tmp_path / "postfix", ", ".join(names.values()), {"relay": "p=a,ss word"}) as primary:
        path = credentials(tmp_path / "login", "p=a,ss word")
        domains = {name: domain(primary.port, credentials=path, auth=f"{{{mechanism}}}")
                   for mechanism, name in names.items()}
        with Relay(tmp_path / "relay", domains=domains) as relay:
            for name in names.values():
                send(relay, [f"user@{name}"])
            wait_for(lambda: primary.count() == len(mechanisms), "all are taken")
            wait_for(lambda: relay.queued() == 0, "the queue is empty")
        log = primary.log()
        for mechanism in mechanisms:
            assert f"sasl_method={mechanism.upper()}, sasl_username=relay" in log, log[-3000:]
        assert "p=a,ss" not in relay.log()


@needs_postfix
@pytest.mark.skipif(not DOVECOT, reason="Dovecot is not installed")
def test_a_wrong_password_keeps_the_mail_until_it_is_mended(tmp_path):
    with PostfixWithLogins(tmp_path / "postfix", OURS, {"relay": "rightful7"}) as primary:
        path = credentials(tmp_path / "login", "mistaken7")
        with Relay(tmp_path / "relay", domains={OURS: domain(primary.port, credentials=path)}) as relay:
            send(relay, [f"user@{OURS}"])
            wait_for(lambda: any("cannot log in: 535 5.7.8" in d["reason"] for d in relay.status()["destinations"]
                                 if d["state"] == "down"), "the destination is down, and why")
            assert relay.queued() == 1 and primary.count() == 0
            assert "cannot log in: 535" in relay.cli("status").stdout + relay.cli("destination", "list").stdout
            credentials(tmp_path / "login", "rightful7")
            wait_for(lambda: primary.count() == 1, "it is taken once the password is right")
            wait_for(lambda: relay.queued() == 0, "the queue is empty")
        for secret in ("mistaken7", "rightful7", base64.b64encode(b"\0relay\0mistaken7").decode()):
            assert secret not in relay.log()


def test_a_file_that_others_may_read_is_not_used(tmp_path, primary):
    path = credentials(tmp_path / "login", "secret")
    (tmp_path / "login").chmod(0o644)
    primary.start()
    with Relay(tmp_path / "relay", domains={OURS: domain(primary.port, credentials=path, auth_in_clear="yes")}) as relay:
        send(relay, [f"user@{OURS}"])
        reason = wait_for(lambda: next((d["reason"] for d in relay.status()["destinations"]
                                        if d.get("state") == "down"), None), "the destination is down")
        assert "cannot log in" in reason, reason
        assert relay.queued() == 1


# ---- client identity ----

CLIENTS = ("127.0.0.8", "127.0.0.9", "127.0.0.10")


def judging_postfix(directory, **more):
    return PostfixPrimary(directory, OURS, {
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_authorized_xforward_hosts": "127.0.0.1",
        "smtpd_client_restrictions": "check_client_access inline:{ { 127.0.0.9 = REJECT go away } }",
        **more,
    })


@needs_postfix
@pytest.mark.parametrize("delay", ("yes", "no"))
def test_held_mail_is_judged_by_its_own_client(tmp_path, delay):
    primary = judging_postfix(tmp_path / "postfix", smtpd_delay_reject=delay)
    with Relay(tmp_path / "relay", domains={OURS: domain(primary.port)}) as relay:
        for number in range(8):
            for source in CLIENTS:
                send(relay, [f"user{number}@{OURS}"], source=source, name=f"helo{source[-2:].strip('.')}.example.net")
        assert relay.queued() == 24
        with primary:
            wait_for(lambda: primary.count() == 16, "two clients' mails arrive")
            wait_for(lambda: relay.queued() == 0, "the queue is empty")
            log = (primary.directory / "maillog").read_text()
        assert primary.count() == 16
        for source in ("127.0.0.8", "127.0.0.10"):
            assert len(re.findall(rf"client=\S+\[{re.escape(source)}\]", log)) == 8, log[-4000:]
        assert "[127.0.0.9]: Client host rejected: go away" in log or "127.0.0.9" in log
        assert "client=localhost[127.0.0.1]" not in log
        assert b"helo8.example.net" in b"".join(primary.messages())


@needs_postfix
def test_a_next_hop_with_xforward_learns_the_client(tmp_path):
    primary = judging_postfix(tmp_path / "postfix")
    settings = domain(primary.port, identity="xforward")
    with Relay(tmp_path / "relay", domains={OURS: settings}) as relay:
        for source in CLIENTS:
            send(relay, [f"user@{OURS}"], source=source)
        with primary:
            wait_for(lambda: primary.count() == 3, "all arrive: the connection is ours")
            wait_for(lambda: relay.queued() == 0, "the queue is empty")
            log = (primary.directory / "maillog").read_text()
        for source in CLIENTS:
            assert re.search(rf"orig_client=\S+\[{re.escape(source)}\]", log), log[-4000:]
        assert "orig_queue_id=" in log


# ---- every mixture ----


def corpus():
    """Real mails that no server has a reason to mend: no field without a name, no long line."""
    every = sorted(CORPUS.rglob("*.eml"))
    for path in every if LONG else every[::25]:
        text = wire(path.read_bytes())
        header = text.partition(b"\r\n\r\n")[0]
        fine = all(re.match(rb"[!-9;-~]+:|[ \t]", line) for line in header.split(b"\r\n"))
        bare = re.search(rb"\r(?!\n)|(?<!\r)\n|\0", text)
        if fine and header and b"\r\n\r\n" in text and not bare and max(map(len, text.split(b"\r\n"))) < 990 \
                and text.lower().count(b"\r\nreceived:") < 30 and max(header, default=0) < 128:
            yield text


def ours_behind(octets):
    """What stands behind our own trace field, CR LF made LF."""
    octets = octets.replace(b"\r\n", b"\n")
    at = octets.index(b"by backup.example.net (Postern)")
    return unmarked(octets[re.compile(rb"\n(?![ \t])").search(octets, at).end():])


def unmarked(text):
    """Without the date and the Message-ID that OpenSMTPD gives to a mail that has none."""
    added = rb"(?m)^(?:Date: [^\n]* \+0000 \(UTC\)|Message-ID: <[0-9a-f]{8,16}@[^>\n]*>)\n"
    return re.sub(added, b"", text.replace(b"\r\n", b"\n"))


def sent_directly(hop, texts):
    """Some servers mend what they find odd (an address without a domain, a field's end). What one makes
    of a mail, or whether it takes it, is what it does when the client itself sends it, with such a trace
    field before it."""
    taken = 0
    before = collections.Counter(digest(ours_behind(octets)) for octets in hop.stored())
    for text in texts:
        trace = b"Received: from x (x [192.0.2.1]) by backup.example.net (Postern) with ESMTP;\r\n\tdate\r\n"
        taken += offer(hop, [f"direct@{OURS}"], trace + text).startswith("250")
    wait_for(lambda: len(hop.stored()) >= before.total() + taken, "those sent directly are stored")
    return list((collections.Counter(digest(ours_behind(octets)) for octets in hop.stored()) - before).elements())


class Aiosmtpd(Primary):
    """Neither PIPELINING nor CHUNKING."""

    def __init__(self, directory, name):
        super().__init__()
        self.refuse = {f"bad@{name}": "550 5.1.1 no", f"later@{name}": "451 4.3.0 later"}

    def stored(self):
        with self.lock:
            return [octets for _, _, octets in self.messages]


HOPS = {
    "postfix": lambda d: PostfixWithout(d, OURS, ""),
    "postfix-tls": lambda d: PostfixWithout(d, OURS, "", tls=True),
    "postfix-no-chunking": lambda d: PostfixWithout(d, OURS, "chunking"),
    "postfix-no-pipelining": lambda d: PostfixWithout(d, OURS, "pipelining"),
    "postfix-bare": lambda d: PostfixWithout(d, OURS, "chunking, pipelining, dsn, 8bitmime, size"),
    "aiosmtpd": lambda d: Aiosmtpd(d, OURS),
    "exim": lambda d: Exim(d, OURS, chunking=True, pipelining=True),
    "exim-tls": lambda d: Exim(d, OURS, chunking=True, pipelining=True, tls=True),
    "exim-no-chunking": lambda d: Exim(d, OURS, pipelining=True),
    "exim-bare": lambda d: Exim(d, OURS),
    "opensmtpd": lambda d: OpenSmtpd(d, OURS),
}


@pytest.mark.parametrize("name", HOPS)
def test_mail_arrives_as_it_was_sent_and_recipients_have_their_own_verdicts(tmp_path, name):
    if "postfix" in name and not shutil.which("postfix"):
        pytest.skip("Postfix is not installed")
    hop = HOPS[name](tmp_path / "hop")
    settings = domain(hop.port, retry_min='"10s"')
    if name.endswith("-tls"):
        settings["tls"] = "encrypt"
    with Relay(tmp_path / "relay", options={"message_size": '"50M"'}, domains={OURS: settings}) as relay:
        sent = list(corpus())
        mixed = [b"Subject: mixed\r\n\r\none of three\r\n", b"Subject: nobody\r\n\r\nnobody\r\n"]
        for text in sent[: len(sent) // 2]:
            send(relay, [f"user@{OURS}"], text)
        send(relay, [f"good@{OURS}", f"bad@{OURS}"], mixed[0])
        send(relay, [f"bad@{OURS}"], mixed[1])
        for text in sent[len(sent) // 2:]:
            send(relay, [f"user@{OURS}"], text)
        expected = sent + mixed[:1]
        with hop:
            wait_for(lambda: relay.queued() == 0, "all is handed over", 120)
            refused = relay.log().count("delivery.refused") - 2  # bad's, twice
            wait_for(lambda: len(hop.stored()) >= len(expected) - refused, "all arrive", 120)
            stored = hop.stored()
            arrived = collections.Counter(digest(ours_behind(octets)) for octets in stored)
            mended = [text for text in expected if not arrived[digest(unmarked(text))]]
            as_sent = [digest(unmarked(text)) for text in expected if text not in mended]
            assert arrived == collections.Counter(as_sent + sent_directly(hop, mended))
        words = relay.json("parked", "list")
        rows = words["recipients"] if isinstance(words, dict) and "recipients" in words else words
        assert str(rows).count(f"bad@{OURS}") >= 2, rows


@needs_postfix
@pytest.mark.skipif("asan" in str(BIN) or not shutil.which("smtp-source"), reason="a drain of 10,000: release build")
def test_ten_thousand_drain_without_a_duplicate(tmp_path):
    count = 10_000 if LONG else 3_000
    primary = PostfixPrimary(tmp_path / "postfix", OURS)
    with Relay(tmp_path / "relay", domains={OURS: domain(primary.port)}) as relay:
        subprocess.run(["smtp-source", "-m", str(count), "-s", "10", "-l", "1000", "-f", "a@example.net",
                        "-t", f"user@{OURS}", f"127.0.0.1:{relay.port}"], check=True, timeout=300)
        assert relay.queued() == count
        with primary:
            wait_for(lambda: relay.queued() == 0, "all is handed over", 300)
            wait_for(lambda: primary.count() >= count, "all is stored", 300)
            folder = primary.maildir / "new"
            ids = collections.Counter(re.search(rb"by backup\.example\.net \(Postern\)[^;]*?id (\S+?)[\s;]",
                                                path.read_bytes()).group(1) for path in folder.iterdir())
        assert len(ids) == count and max(ids.values()) == 1
