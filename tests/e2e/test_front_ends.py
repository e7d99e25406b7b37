"""Whose mail it is: told to us by XCLIENT and PROXY headers, and by us to the primary."""

import re
import socket
import struct
import subprocess

import pytest

from conftest import domain
from harness import PostfixPrimary, Raw, Relay, free_port, wait_for

OURS = "example.org"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def proxy_header(client="198.51.100.7", command=0x21, extra=b""):
    body = socket.inet_aton(client) + socket.inet_aton("192.0.2.1") + struct.pack(">HH", 54321, 25) + extra
    return SIGNATURE + bytes([command, 0x11]) + struct.pack(">H", len(body)) + body


def deliver(client):
    """One mail, by hand, on a session that was greeted; returns the last reply."""
    assert client.say("EHLO c.example.net").startswith("250")
    assert client.say("MAIL FROM:<s@example.net>").startswith("250")
    reply = client.say(f"RCPT TO:<anna@{OURS}>")
    if not reply.startswith("250"):
        return reply
    assert client.say("DATA").startswith("354")
    return client.say("Subject: x\r\n\r\nhello\r\n.")


def test_swaks_tells_of_a_client(tmp_path, primary):
    primary.start()
    with Relay(tmp_path, options={"xclient_hosts": '{"127.0.0.1"}'}, domains={OURS: domain(primary.port)}) as relay:
        done = subprocess.run(
            ["swaks", "--server", f"127.0.0.1:{relay.port}", "--from", "s@example.net", "--to", f"anna@{OURS}",
             "--xclient", "ADDR=198.51.100.7 NAME=mail.example.net HELO=helo.example.net LOGIN=joe"],
            capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT" in done.stdout
        wait_for(lambda: primary.count() == 1, "it is delivered")
        received = primary.messages[0][2].split(b";")[0]
        assert b"from helo.example.net (mail.example.net [198.51.100.7])" in received
        wait_for(lambda: "message.stored peer=198.51.100.7 via=127.0.0.1 " in relay.log(), "it is logged as his")


def test_who_is_not_a_front_end_may_not_say_it(tmp_path, primary):
    with Relay(tmp_path, options={"xclient_hosts": '{"127.0.0.1"}'}, domains={OURS: domain(primary.port)}) as relay:
        with Raw(relay.port, source="127.0.0.9") as client:
            assert "XCLIENT" not in client.say("EHLO c")
            assert client.say("XCLIENT ADDR=198.51.100.7").startswith("550 5.7.0")
        with Raw(relay.port) as client:
            assert "XCLIENT" in client.say("EHLO f")
            assert client.say("XCLIENT ADDR=198.51.100.7").startswith("220 ")
            assert "XCLIENT" not in client.say("EHLO c")
            assert client.say("XCLIENT ADDR=127.0.0.1").startswith("550 5.7.0")


@pytest.fixture
def balanced(tmp_path, primary):
    relay = Relay(tmp_path, options={"sessions_per_network": "3"}, domains={OURS: domain(primary.port)})
    relay.balanced = free_port()
    relay.extra = (f'listener "lb" {{ address = {{"127.0.0.1:{relay.balanced}"}}\n'
                   'proxy_protocol = yes\nproxy_hosts = {"127.0.0.1"} }')
    with primary, relay:
        relay.primary = primary
        yield relay


def behind(relay, header, source=""):
    client = Raw(relay.balanced, source=source)
    client.send(header)
    return client


def test_a_proxy_header_tells_of_a_client(balanced):
    client = behind(balanced, proxy_header(extra=b"\x04\x00\x03abc"))
    assert client.reply().startswith("220 ")
    assert deliver(client).startswith("250 ")
    wait_for(lambda: balanced.primary.count() == 1, "it is delivered")
    assert b"[198.51.100.7]" in balanced.primary.messages[0][2].split(b";")[0]


def test_a_health_check_is_the_balancers_own(balanced):
    client = behind(balanced, proxy_header(command=0x20))
    assert client.reply().startswith("220 ")
    assert client.say("QUIT").startswith("221")
    wait_for(lambda: re.search(r"smtp.disconnect peer=127.0.0.1 end=quit", balanced.log()), "it is logged as its own")


@pytest.mark.parametrize("first", [b"EHLO c\r\n", b"PROXY TCP4 198.51.100.7 192.0.2.1 1 25\r\n", b"\x16\x03\x01\x02\x00",
                                   SIGNATURE + b"\x21\x11\xff\xff" + b"\0" * 64, SIGNATURE + b"\x99"])
def test_without_a_header_there_is_no_answer(balanced, first):
    client = behind(balanced, first)
    assert client.ended()
    wait_for(lambda: "does not begin with a PROXY" in balanced.log(), "it is logged")


def test_only_the_balancer_may_connect_there(balanced):
    client = Raw(balanced.balanced, source="127.0.0.9")
    assert client.ended()
    wait_for(lambda: "none of the listener's proxy_hosts" in balanced.log(), "it is logged")


def test_the_told_network_is_counted(balanced):
    others = [behind(balanced, proxy_header(f"203.0.113.{i}")) for i in range(3)]
    assert all(client.reply().startswith("220 ") for client in others)
    assert behind(balanced, proxy_header("203.0.113.200")).reply().startswith("421 ")
    assert behind(balanced, proxy_header("198.51.100.1")).reply().startswith("220 ")


def test_a_primarys_rule_on_the_client_reaches_the_client(tmp_path):
    primary = PostfixPrimary(tmp_path / "postfix", OURS, extra={
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_client_restrictions": "check_client_access inline:{ {127.0.0.66=REJECT not you} }"})
    settings = domain(primary.port, recipients="{call-ahead}", when_up="pass-through")
    settings["target"] = f'{{"localhost:{primary.port}"}}'
    with primary, Relay(tmp_path / "relay", domains={OURS: settings}) as relay:
        wait_for(lambda: any(d["state"] == "up" for d in relay.status()["destinations"]), "the primary is up")
        spooled = relay.log().count("message.stored")
        with Raw(relay.port, source="127.0.0.66") as client:
            reply = deliver(client)
            assert reply.startswith("554 5.7.1") and "not you" in reply
        with Raw(relay.port, source="127.0.0.77") as client:
            assert deliver(client).startswith("250 ")
        wait_for(lambda: primary.count() == 1, "the other's mail is there")
        maillog = (primary.directory / "maillog").read_text()
        assert re.search(r"client=\S*\[127\.0\.0\.77\]", maillog), maillog[-2000:]
        assert re.search(r"NOQUEUE: reject: RCPT from \S*\[127\.0\.0\.66\]", maillog)
        wait_for(lambda: "message.passed" in relay.log(), "it was passed through")
        assert relay.queued() == 0 and relay.log().count("message.stored") == spooled


def test_without_identity_the_primary_sees_us(tmp_path):
    primary = PostfixPrimary(tmp_path / "postfix", OURS, extra={
        "smtpd_authorized_xclient_hosts": "127.0.0.1",
        "smtpd_client_restrictions": "check_client_access inline:{ {127.0.0.66=REJECT not you} }"})
    settings = domain(primary.port, recipients="{call-ahead}", when_up="pass-through", identity="none")
    settings["target"] = f'{{"localhost:{primary.port}"}}'
    with primary, Relay(tmp_path / "relay", domains={OURS: settings}) as relay:
        wait_for(lambda: any(d["state"] == "up" for d in relay.status()["destinations"]), "the primary is up")
        with Raw(relay.port, source="127.0.0.66") as client:
            assert deliver(client).startswith("250 ")
        wait_for(lambda: primary.count() == 1, "it is there")
