"""Next hops that mean harm, or are broken: each costs bounded memory and time, is named in the log and in
status, keeps its own mail waiting, and nobody else's.
"""

import socket
import ssl
import threading
import time

import pytest

from conftest import domain
from harness import Primary, Relay, free_port, wait_for
from test_crash import private_octets


class Villain:
    """A server that does the same to everybody who connects. Its threads end with it."""

    def __init__(self, act):
        self.port = free_port()
        self.act = act
        self.ends = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=50)
        self.listener.settimeout(0.1)
        self.connections = 0
        self.threads = [threading.Thread(target=self.serve)]
        self.threads[0].start()

    def serve(self):
        while not self.ends.is_set():
            try:
                connection = self.listener.accept()[0]
            except TimeoutError:
                continue
            self.connections += 1
            thread = threading.Thread(target=self.run, args=(connection,))
            thread.start()
            self.threads.append(thread)

    def run(self, connection):
        connection.settimeout(5)
        try:
            with connection:
                self.act(self, connection)
        except (OSError, ssl.SSLError):
            pass

    def stop(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()
        self.listener.close()


def endless(piece, limit=1 << 30):
    """Sends the same again and again, a gigabyte at most."""
    def act(villain, connection):
        block = piece * max(1, 65536 // len(piece))
        sent = 0
        while sent < limit and not villain.ends.is_set():
            connection.sendall(block)
            sent += len(block)
    return act


def one_octet_a_second(villain, connection):
    for octet in b"220-" + b"welcome " * 1000:
        connection.sendall(bytes([octet]))
        if villain.ends.wait(1):
            return


def say_and_wait(*lines):
    """Sends a line for each line that comes, then nothing more; stays until the other hangs up."""
    def act(villain, connection):
        reader = connection.makefile("rb")
        for index, line in enumerate(lines):
            if index:
                if not reader.readline():
                    return
            connection.sendall(line)
        while not villain.ends.is_set() and reader.readline():
            pass
    return act


EHLO = b"250-villain\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 SIZE\r\n"

VILLAINS = {
    "a gigabyte without a line end": endless(b"2"),
    "a gigabyte of one reply": endless(b"220-more to come\r\n"),
    "a million greetings": endless(b"220 hello\r\n", 12 << 20),
    "zeros": endless(b"\0"),
    "one octet a second": one_octet_a_second,
    "answers before the questions": say_and_wait(b"220 villain\r\n" + EHLO + b"250 ok\r\n" * 50),
    "codes that do not exist": say_and_wait(b"220 villain\r\n", b"999 what\r\n"),
    "no code at all": say_and_wait(b"welcome to the villain\r\n"),
    "an EHLO answer of other codes": say_and_wait(b"220 villain\r\n", b"250-a\r\n354-b\r\n250 c\r\n"),
    "a reply to STARTTLS with more behind it": say_and_wait(b"220 villain\r\n", EHLO, b"220 go\r\n250 injected\r\n"),
    "no TLS after STARTTLS": say_and_wait(b"220 villain\r\n", EHLO, b"220 go\r\n", b"this is no handshake\r\n" * 100),
    "bare line feeds": say_and_wait(b"220 villain\n", b"250-villain\n250 SIZE\n", b"250 ok\n250 ok\n354 go\n250 thanks\n"),
    "hangs up": lambda villain, connection: None,
}


@pytest.fixture
def villains():
    found = {name: Villain(act) for name, act in VILLAINS.items()}
    yield found
    for villain in found.values():
        villain.ends.set()
    for villain in found.values():
        villain.stop()


def send(relay, recipient):
    client = relay.smtp()
    client.sendmail("a@example.net", [recipient], b"Subject: x\r\n\r\ntext\r\n")
    client.quit()


def test_they_keep_their_own_mail_and_cost_nobody_else_anything(tmp_path, villains, primary):
    names = {name: f"v{number}.example" for number, name in enumerate(villains)}
    settings = {names[name]: domain(villain.port, tls="encrypt" if "TLS" in name else "may")
                for name, villain in villains.items()}
    settings["example.org"] = domain(primary.start().port)
    relay = Relay(tmp_path, options={"reply_timeout": '"5s"', "connect_timeout": '"5s"'}, domains=settings)
    with relay:
        before = private_octets(relay.process.pid)
        for name in names.values():
            send(relay, f"user@{name}")
        deadline, peak, sent = time.monotonic() + 15, 0, 0
        while time.monotonic() < deadline:
            send(relay, "user@example.org")  # an honest target all the while
            sent += 1
            peak = max(peak, private_octets(relay.process.pid))
            time.sleep(0.1)
        wait_for(lambda: primary.count() == sent, "the honest target has all of its mail")
        domains = {d["name"]: d for d in relay.status()["domains"]}
        states = {d["name"]: d for d in relay.status()["destinations"]}
        for what, name in names.items():
            assert villains[what].connections, what
            assert domains[name]["messages"] == 1, f"{what}: {domains[name]}"
            [state] = [d for text, d in states.items() if f":{villains[what].port};" in text]
            assert state["state"] in ("down", "ramp", "unknown"), f"{what}: {state}"
            if state["state"] == "down":
                assert state["reason"], what
        assert f":{primary.port}" in " ".join(states)
        print(f"{(peak - before) >> 20} MiB more private memory at the peak, {sent} mails delivered beside it")
        # A gigabyte is coming in from several sides; nobody keeps more than a session's input.
        assert peak - before < 64 << 20
        assert "Sanitizer" not in relay.log()
