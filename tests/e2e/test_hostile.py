"""Clients that mean no good, by the hundred and thousand: the others are still served.

What is counted is asserted. How fast others are served beside an unloaded run is printed
("pytest -s"), since it depends on the machine.
"""

import contextlib
import random
import resource
import socket
import ssl
import struct
import subprocess
import time

import pytest

from conftest import domain
from harness import Raw, Relay, free_port, wait_for

OURS = "example.org"
HONEST = "127.200.0.1"
MAILS = 40


@pytest.fixture(scope="module", autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def make(tmp_path, port, **options):
    certificate = tmp_path / "certificate.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", tmp_path / "key.pem", "-out", certificate, "-days", "2", "-subj", "/CN=backup.example.net"],
                   check=True, capture_output=True)
    relay = Relay(tmp_path, options={"reverse_dns": "no", **options}, domains={OURS: domain(port)})
    relay.extra = f'certificate "main" {{ chain = "{certificate}"\nkey = "{tmp_path}/key.pem" }}\n'
    return relay


@pytest.fixture
def relay(tmp_path, primary):
    with make(tmp_path, primary.port) as running:
        yield running


def address(i):
    """One of many networks: 127.1.0.1, 127.1.1.1, …"""
    return f"127.{1 + i // 250}.{i % 250}.1"


def serve_honest(relay, mails=MAILS):
    """Every one of these mails is taken; returns how many in a second."""
    began = time.monotonic()
    for i in range(mails):
        with Raw(relay.port, source=HONEST, timeout=60) as client:
            assert client.greeting.startswith("220"), client.greeting
            client.say("EHLO honest.example.net")
            assert client.say("MAIL FROM:<s@example.net>").startswith("250")
            assert client.say(f"RCPT TO:<anna@{OURS}>").startswith("250")
            assert client.say("DATA").startswith("354")
            assert client.say(f"Subject: {i}\r\n\r\nhello\r\n.").startswith("250")
            client.say("QUIT")
    return mails / (time.monotonic() - began)


@contextlib.contextmanager
def clients(relay, count, port=None):
    opened = []
    try:
        for i in range(count):
            opened.append(socket.create_connection(("127.0.0.1", port or relay.port), timeout=60,
                                                   source_address=(address(i), 0)))
        yield opened
    finally:
        for client in opened:
            client.close()


def greeted(client):
    assert client.recv(4) == b"220 "
    return client


def ended(relay):
    """How many sessions have: each has its line in the log."""
    return relay.log().count(" smtp.disconnect ")


def compare(relay, name, unloaded):
    loaded = serve_honest(relay)
    print(f"\n{name}: {loaded:.0f} mails/s beside them, {unloaded:.0f} without")


def test_a_thousand_idle_clients(relay):
    unloaded = serve_honest(relay)
    with clients(relay, 1500) as idle:
        for client in idle:
            greeted(client)
        for client in idle[::2]:
            client.sendall(b"EHLO idle\r\n")
        compare(relay, "1,500 idle clients", unloaded)
    assert relay.queued() == 2 * MAILS


def test_one_network_cannot_have_all_sessions(relay):
    opened = [socket.create_connection(("127.0.0.1", relay.port), timeout=60, source_address=(f"127.9.9.{i + 1}", 0))
              for i in range(100)]
    first = [client.recv(4) for client in opened]
    assert first.count(b"220 ") == 50 and first.count(b"421 ") == 50
    serve_honest(relay)
    for client in opened:
        client.close()


def test_clients_that_send_an_octet_at_a_time(relay):
    unloaded = serve_honest(relay)
    with clients(relay, 300) as slow:
        for client in slow:
            greeted(client)
            client.sendall(b"EHLO slow\r\nMAIL FROM:<>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\n")
        for octet in b"Subject: slowly\r\n\r\n" + b"x" * 40:
            for client in slow:
                client.sendall(bytes([octet]))
        compare(relay, "300 slow clients", unloaded)
        for client in slow:
            client.sendall(b"\r\n.\r\nQUIT\r\n")
        for client in slow:
            text = b""
            while b"221 " not in text:
                text += client.recv(4096)
            assert b"250 2.0.0 Ok: queued" in text
    assert relay.queued() == 300 + 2 * MAILS


@pytest.mark.parametrize("line", [b"NOOP\r\n", b"RSET\r\n", b"MAIL FROM:<a@b.example>\r\nRSET\r\n", b"VRFY x\r\n", b"junk\r\n",
                                  b"RCPT TO:<x@elsewhere.example>\r\n"])
def test_floods_of_commands_end(relay, line):
    unloaded = serve_honest(relay, 10)
    with clients(relay, 20) as flood:
        for client in flood:
            client.settimeout(0.5)
            with contextlib.suppress(OSError):
                client.sendall(b"EHLO flood\r\n" + line * 3000)
        loaded = serve_honest(relay, 10)
        print(f"\nflood of {line!r}: {loaded:.0f} mails/s beside it, {unloaded:.0f} without")
        # Replies that nobody reads stop a client; those who read are sent away.
        for client in flood:
            client.settimeout(60)
            with contextlib.suppress(ConnectionError):
                while client.recv(65536):
                    pass
    wait_for(lambda: relay.log().count("end=errors") >= 20, "every flood has ended")


def test_clients_that_do_not_read(relay):
    with clients(relay, 50) as deaf:
        for client in deaf:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(0.2)
            with contextlib.suppress(OSError):
                client.sendall(b"EHLO deaf\r\n" * 20000)
        serve_honest(relay)


def test_half_closed_connections(relay):
    before = ended(relay)
    beginnings = [b"", b"EHLO c\r\n", b"EHLO c\r\nMAIL FROM:<>\r\n", b"EH",
                  b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\nSubject: half",
                  b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<anna@example.org>\r\nBDAT 1000\r\nhalf"]
    with clients(relay, 240) as halves:
        for i, client in enumerate(halves):
            client.sendall(beginnings[i % len(beginnings)])
            client.shutdown(socket.SHUT_WR)
        wait_for(lambda: ended(relay) >= before + 240, "all have ended")
        serve_honest(relay)
    assert relay.queued() == MAILS


def test_connections_that_are_reset(relay):
    before = ended(relay)
    with clients(relay, 300) as resets:
        for client in resets:
            client.sendall(b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<anna@example.org>\r\nDATA\r\nSubject: half\r\n")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
    wait_for(lambda: ended(relay) >= before + 300, "all have ended")
    serve_honest(relay)
    assert relay.queued() == MAILS


def test_tls_garbage(relay):
    noise = random.Random(5)
    before = ended(relay)
    hello = bytes.fromhex("16030100050100000100")
    with clients(relay, 200) as junk:
        for i, client in enumerate(junk):
            greeted(client)
            if i % 4 == 0:
                client.sendall(hello)  # TLS from the first octet
                continue
            client.sendall(b"EHLO c\r\n")
            while b"HELP\r\n" not in client.recv(4096):
                pass
            client.sendall(b"STARTTLS\r\n" + (b"EHLO too early\r\n" if i % 4 == 1 else b""))
            with contextlib.suppress(ConnectionError):
                client.recv(4096)
                client.sendall(hello if i % 4 == 2 else noise.randbytes(2000))
        wait_for(lambda: ended(relay) >= before + 150, "those that are broken have ended")
        serve_honest(relay)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = relay.smtp()
    client.starttls(context=context)
    assert client.sendmail("s@example.net", [f"anna@{OURS}"], b"Subject: x\r\n\r\ny\r\n") == {}
    client.quit()


def test_handshakes_that_are_never_made(relay):
    unloaded = serve_honest(relay)
    with clients(relay, 400) as waiting:
        for client in waiting:
            greeted(client)
            client.sendall(b"EHLO c\r\nSTARTTLS\r\n")
        compare(relay, "400 handshakes that do not come", unloaded)


def test_proxy_garbage(tmp_path, primary):
    relay = make(tmp_path, primary.port)
    port = free_port()
    relay.extra += f'listener "lb" {{ address = {{"127.0.0.1:{port}"}}\nproxy_protocol = yes }}\n'
    signature = b"\r\n\r\n\0\r\nQUIT\n"
    noise = random.Random(7)
    with relay:
        unloaded = serve_honest(relay)
        with clients(relay, 300, port) as junk:
            for i, client in enumerate(junk):
                with contextlib.suppress(ConnectionError):
                    client.sendall([b"", signature, signature + b"\x21\x11\x0f\xf0" + b"x" * 3000,
                                    noise.randbytes(500), signature + noise.randbytes(200)][i % 5])
            compare(relay, "300 that say no PROXY header, or half of one", unloaded)
            for client in junk[3::5]:
                client.settimeout(60)
                with contextlib.suppress(ConnectionError):
                    assert client.recv(1) == b""
        body = socket.inet_aton("198.51.100.7") + socket.inet_aton("192.0.2.1") + b"\1\1\0\x19"
        client = Raw(port)
        client.send(signature + b"\x21\x11\0\x0c" + body)
        assert client.reply().startswith("220 ")
