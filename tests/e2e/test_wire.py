"""What hostile clients say on a real socket, and what comes of it."""

import re
import smtplib
import ssl
import subprocess

import pytest

from conftest import domain
from harness import Raw, Relay, free_port, wait_for, without_trace

OURS, THEIRS = "example.org", "elsewhere.example"

# The classic third-party relay tests, and ours besides (D = our domain, U = theirs).
RELAY_FORMS = [
    f"<x@{THEIRS}>", f"<x%{THEIRS}@{OURS}>", f"<x%{THEIRS}@[127.0.0.1]>", f'<"x@{THEIRS}">',
    f'<"x%{THEIRS}">', f"<x@{THEIRS}@{OURS}>", f'<"x@{THEIRS}"@{OURS}>', f"<x@{THEIRS}@[127.0.0.1]>",
    f"<@{OURS}:x@{THEIRS}>", f"<@[127.0.0.1]:x@{THEIRS}>", f"<{THEIRS}!x>", f"<{THEIRS}!x@{OURS}>",
    f"<{THEIRS}!x@[127.0.0.1]>", f"<x@{THEIRS}.>", "<x@[127.0.0.1]>", "<x@localhost>",
    f"<x@{OURS}.{THEIRS}>", f"<x@x{OURS}>", f"<x@{THEIRS}({OURS})>", f"<x@{THEIRS}#@{OURS}>",
    f"<x@sub.{OURS}>", "<nobody@[IPv6:::1]>", "<nobody@[IPv6:::ffff:127.0.0.1]>", f"<a@{OURS}><c@{THEIRS}>",
]
SENDERS = [f"<s@{THEIRS}>", f"<s@{OURS}>", "<>", "<s@localhost>", "<s@[127.0.0.1]>"]


def hello(relay):
    client = Raw(relay.port).__enter__()
    assert client.say("EHLO client.example.net").startswith("250")
    return client


def test_no_form_of_address_makes_an_open_relay(tmp_path, primary):
    with Relay(tmp_path, options={"errors_max": "1000"}, domains={OURS: domain(primary.port)}) as relay:
        client = hello(relay)
        for sender in SENDERS:
            for form in RELAY_FORMS:
                assert client.say(f"MAIL FROM:{sender}").startswith("250"), sender
                reply = client.say(f"RCPT TO:{form}")
                assert reply.startswith("5"), (sender, form, reply)
                assert client.say("DATA")[:1] == "5", (sender, form)
                assert client.say("RSET").startswith("250")
            # And the session is not spoilt: a good recipient is still taken.
            client.say(f"MAIL FROM:{sender}")
            assert client.say(f"RCPT TO:<user@{OURS}>").startswith("250")
            client.say("RSET")
        assert relay.queued() == 0


@pytest.mark.parametrize("end", [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\n\0.\r\n", b"\r\n.\0\r\n",
])
def test_only_crlf_dot_crlf_ends_a_message(relay, end):
    client = hello(relay)
    client.say("MAIL FROM:<a@example.net>")
    client.say(f"RCPT TO:<b@{OURS}>")
    assert client.say("DATA").startswith("354")
    smuggled = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<victim@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
    client.send(b"Subject: outer\r\n\r\ntext" + end + smuggled + b"\r\n.\r\n")
    reply = client.reply()
    if re.search(rb"(?<!\r)\n|\r(?!\n)", end):
        assert reply.startswith("550 5.6.11"), reply
        assert relay.queued() == 0
    else:  # NUL is an octet like any other: one message, everything in it
        assert reply.startswith("250"), reply
        assert relay.queued() == 1
    assert client.say("NOOP").startswith("250")  # in step: nothing was taken for a command


def test_bare_newlines_do_not_split_commands(relay):
    client = hello(relay)
    client.send(b"MAIL FROM:<a@example.net>\nRCPT TO:<b@example.org>\r\n")
    assert client.reply().startswith("5")
    assert client.say("RCPT TO:<b@example.org>").startswith("503")


def test_normalised_newlines_go_out_clean(tmp_path, primary):
    with Relay(tmp_path, options={"bare_newline": "normalise"}, domains={OURS: domain(primary.port)}) as relay:
        client = hello(relay)
        client.say("MAIL FROM:<a@example.net>")
        client.say(f"RCPT TO:<b@{OURS}>")
        client.say("DATA")
        client.send(b"Subject: x\r\n\r\none\n.\ntwo\rthree\r\n.\r\n")
        assert client.reply().startswith("250")
        primary.start()
        wait_for(lambda: primary.count() == 1, "arrives")
        assert without_trace(primary.messages[0][2]) == b"Subject: x\r\n\r\none\r\n.\r\ntwo\r\nthree\r\n"


@pytest.fixture
def certificate(tmp_path):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=backup.example.net",
         "-addext", "subjectAltName=DNS:backup.example.net", "-keyout", str(tmp_path / "key.pem"),
         "-out", str(tmp_path / "chain.pem")], check=True, capture_output=True)
    return f'certificate "own" {{ chain = "{tmp_path}/chain.pem"\n key = "{tmp_path}/key.pem" }}\n'


@pytest.fixture
def tls_relay(tmp_path, primary, certificate):
    relay = Relay(tmp_path, domains={OURS: domain(primary.port)})
    relay.extra = certificate
    with relay:
        yield relay


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_starttls_takes_mail_and_received_says_so(tls_relay, primary):
    client = smtplib.SMTP("127.0.0.1", tls_relay.port, "client.example.net", timeout=30)
    client.starttls(context=insecure())
    client.sendmail("a@example.net", [f"b@{OURS}"], b"Subject: x\r\n\r\ny\r\n")
    client.quit()
    primary.start()
    wait_for(lambda: primary.count() == 1, "arrives")
    received = primary.messages[0][2].split(b"\r\nSubject")[0]
    assert b"with ESMTPS" in received and b"TLSv1.3" in received


def test_plaintext_behind_starttls_ends_the_connection(tls_relay):
    client = hello(tls_relay)
    client.send(b"STARTTLS\r\nEHLO injected.example\r\nMAIL FROM:<x@example.net>\r\n")
    reply = client.reply()
    assert reply.startswith("220") or reply == ""
    assert client.ended()
    assert tls_relay.answers()


def test_what_was_said_before_tls_is_forgotten(tls_relay):
    with Raw(tls_relay.port) as client:
        client.say("EHLO client.example.net")
        client.say("MAIL FROM:<a@example.net>")
        assert client.say("STARTTLS").startswith("503")  # not in the middle of a transaction
        client.say("RSET")
        assert client.say("STARTTLS").startswith("220")
        secure = insecure().wrap_socket(client.socket)
        secure.sendall(b"MAIL FROM:<a@example.net>\r\n")
        assert secure.recv(500).startswith(b"503")  # EHLO was said before, and by anybody
        secure.sendall(b"EHLO again\r\n")
        assert b"STARTTLS" not in secure.recv(2000)


def test_starttls_is_one_word_said_once(tls_relay):
    client = hello(tls_relay)
    assert client.say("STARTTLS now").startswith("501")
    client.say("MAIL FROM:<a@example.net>")
    client.say(f"RCPT TO:<b@{OURS}>")
    client.send(b"BDAT 10\r\nSTARTTLS\r\n")  # ten octets of text, and no command
    assert client.reply().startswith("250")
    assert client.say("STARTTLS").startswith("503")
    assert client.say("RSET").startswith("250")
    assert client.say("STARTTLS").startswith("220")
    secure = insecure().wrap_socket(client.socket)
    secure.sendall(b"EHLO client.example.net\r\n")
    secure.recv(2000)
    secure.sendall(b"STARTTLS\r\n")
    assert secure.recv(500).startswith(b"503")


def test_tls_that_ends_in_the_middle_of_a_chunk_ends_the_connection(tls_relay):
    with Raw(tls_relay.port) as client:
        client.say("EHLO client.example.net")
        assert client.say("STARTTLS").startswith("220")
        descriptor = client.socket.dup()  # the connection below TLS
        secure = insecure().wrap_socket(client.socket)
        for line in ("EHLO client.example.net", "MAIL FROM:<a@example.net>", f"RCPT TO:<b@{OURS}>"):
            secure.sendall(line.encode() + b"\r\n")
            assert secure.recv(2000).startswith(b"250"), line
        secure.sendall(b"BDAT 100 LAST\r\n" + b"x" * 10)
        secure.setblocking(False)
        with pytest.raises(ssl.SSLError):  # close_notify is sent; theirs has not come yet
            secure.unwrap()
        descriptor.settimeout(20)
        try:
            descriptor.sendall(b"x" * 90 + b"\r\nNOOP\r\n")
            while octets := descriptor.recv(4096):
                assert b"250" not in octets
        except ConnectionError:
            pass
        descriptor.close()
    assert tls_relay.answers()
    assert tls_relay.queued() == 0


def begin(client, recipient=f"b@{OURS}"):
    client.say("RSET")
    assert client.say("MAIL FROM:<a@example.net>").startswith("250")
    return client.say(f"RCPT TO:<{recipient}>")


TEXT = b"Subject: x\r\n\r\nQUIT\r\n"

# What is sent, and the codes of the replies; "NOOP" is then in step.
CHUNKS = {
    "before any transaction": (False, b"BDAT 21 LAST\r\nQUIT\r\nMAIL FROM:<a>\r\n", ["503"]),
    "no octets and no recipient": (False, b"BDAT 0 LAST\r\n", ["503"]),
    "DATA between the chunks": (True, b"BDAT 5\r\nQUIT\r" b"DATA\r\n" b"BDAT 1 LAST\r\n\n", ["250", "503", "250"]),
    "MAIL and RCPT between the chunks": (
        True, b"BDAT 6\r\nQUIT\r\n" b"MAIL FROM:<c@example.net>\r\n" b"RCPT TO:<d@example.org>\r\n" b"BDAT 0 LAST\r\n",
        ["250", "503", "503", "250"]),
    "RSET ends it": (True, b"BDAT 6\r\nQUIT\r\nRSET\r\nBDAT 6 LAST\r\nQUIT\r\n", ["250", "250", "503"]),
    "a chunk of nothing, then LAST": (True, b"BDAT 0\r\nBDAT 0 LAST\r\n", ["250", "250"]),
    "a bare LF": (True, b"BDAT 9 LAST\r\na\n.\nQUIT\n", ["550"]),
    "a bare LF in the first of two": (True, b"BDAT 3\r\na\nbBDAT 6 LAST\r\nQUIT\r\n", ["250", "550"]),
    "a CR at a chunk's end, its LF in the next": (True, b"BDAT 2\r\na\rBDAT 1 LAST\r\n\n", ["250", "250"]),
    "a CR at a chunk's end, and no LF": (True, b"BDAT 2\r\na\rBDAT 3 LAST\r\nb\r\n", ["250", "550"]),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_chunks_stay_in_step(relay, name):
    transaction, octets, codes = CHUNKS[name]
    client = hello(relay)
    if transaction:
        assert begin(client).startswith("250")
    client.send(octets)
    assert [client.reply()[:3] for _ in codes] == codes
    assert client.say("NOOP").startswith("250")
    assert relay.queued() == (codes[-1] == "250")


def test_a_chunk_for_nobody_is_eaten(relay):
    client = hello(relay)
    assert begin(client, f"x@{THEIRS}").startswith("550")
    client.send(b"BDAT %d LAST\r\n" % len(TEXT) + TEXT)
    assert client.reply()[:1] == "5"
    assert client.say("NOOP").startswith("250")
    assert begin(client).startswith("250")  # and the next is taken
    client.send(b"BDAT %d LAST\r\n" % len(TEXT) + TEXT)
    assert client.reply().startswith("250")
    assert relay.queued() == 1


@pytest.mark.parametrize("size", ["18446744073709551617", "-1", "0x5", "+5", "5 LAST x", "5LAST", "", "5 \v"])
def test_a_chunk_of_no_known_size_ends_the_connection(relay, size):
    client = hello(relay)
    begin(client)
    client.send(f"BDAT {size}\r\n".encode())
    assert client.reply()[:1] == "5"
    assert client.ended()
    assert relay.queued() == 0


def test_a_chunk_beyond_the_size_limit_is_eaten(tmp_path, primary):
    with Relay(tmp_path, options={"message_size": '"64K"'}, domains={OURS: domain(primary.port)}) as relay:
        client = hello(relay)
        begin(client)
        client.send(b"BDAT 60000\r\n" + b"QUIT\r\n" * 10000)
        assert client.reply().startswith("250")
        client.send(b"BDAT 60000 LAST\r\n" + b"QUIT\r\n" * 10000)
        assert client.reply().startswith("552 5.3.4")
        assert client.say("NOOP").startswith("250")
        assert client.say("MAIL FROM:<a@example.net> SIZE=70000").startswith("552 5.3.4")
        assert relay.queued() == 0


def test_bdat_text_goes_out_with_its_dots(relay, primary):
    text = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nend\r\n"
    client = hello(relay)
    client.say("MAIL FROM:<a@example.net>")
    client.say(f"RCPT TO:<b@{OURS}>")
    client.send(b"BDAT 10\r\n" + text[:10])
    assert client.reply().startswith("250")
    client.send(b"BDAT %d LAST\r\n" % (len(text) - 10) + text[10:])
    assert client.reply().startswith("250")
    primary.start()
    wait_for(lambda: primary.count() == 1, "arrives")
    assert without_trace(primary.messages[0][2]) == text


def test_a_browser_gets_nothing(relay):
    with Raw(relay.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: backup.example.net\r\n\r\nEHLO x\r\nMAIL FROM:<a@example.net>\r\n")
        assert client.ended()


def test_endless_command_line_is_cut_off(relay):
    with Raw(relay.port) as client:
        try:
            for _ in range(200):
                client.send(b"x" * 4096)
        except OSError:
            pass
        reply = client.reply() if not client.socket._closed else ""
        assert reply == "" or reply.startswith("500")
    assert relay.answers()


def test_errors_end_a_session_and_others_are_served(tmp_path, primary):
    with Relay(tmp_path, options={"errors_max": "4"}, domains={OURS: domain(primary.port)}) as relay:
        client = hello(relay)
        replies = [client.say(f"RCPT{number} nonsense")[:3] for number in range(4)]
        assert replies == ["500", "500", "500", "421"]
        assert client.ended()
        assert relay.answers()


def test_utf8_needs_smtputf8(relay):
    client = hello(relay)
    client.send("MAIL FROM:<jürgen@example.net>\r\n".encode())
    assert client.reply().startswith("553 5.6.7")
    client.send("MAIL FROM:<jürgen@example.net> SMTPUTF8\r\n".encode())
    assert client.reply().startswith("250")


def test_smtputf8_mail_is_not_mangled_for_a_primary_without_it(tmp_path):
    from harness import Primary
    primary = Primary(enable_SMTPUTF8=False)
    with Relay(tmp_path, domains={OURS: domain(primary.port)}) as relay, primary:
        client = hello(relay)
        client.send("MAIL FROM:<jürgen@example.net> SMTPUTF8\r\n".encode())
        assert client.reply().startswith("250")
        client.say(f"RCPT TO:<b@{OURS}>")
        client.say("DATA")
        client.send("Subject: grüße\r\n\r\nx\r\n.\r\n".encode())
        assert client.reply().startswith("250")
        wait_for(lambda: relay.status()["queue"]["parked"] == 1, "parked")
        assert "5.6.7" in relay.messages(parked="true")[0]["last_reply"]
        assert primary.count() == 0


def test_vrfy_help_etrn_and_postmaster(relay):
    client = hello(relay)
    assert client.say("VRFY somebody").startswith("252")
    assert client.say("HELP").startswith("214")
    assert client.say("ETRN example.org")[:3] in ("250", "459")
    assert client.say("ETRN elsewhere.example")[:1] in "45"
    client.say("MAIL FROM:<a@example.net>")
    assert client.say("RCPT TO:<Postmaster>").startswith("250")
    assert client.say(f"RCPT TO:<postmaster@{OURS}>").startswith("250")
    assert client.say("QUIT").startswith("221")
