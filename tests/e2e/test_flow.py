"""Primaries that want little at a time: they get it, all of it, and are not hammered."""

import collections
import socket
import threading
import time

import pytest

from conftest import domain
from harness import DEADLINE_S, Raw, Relay, free_port, wait_for


class Target:
    """A scripted server, one thread for each session.

    most: sessions at a time, one more is told 421; took_s: how long a message takes;
    greylist_s: for how long a recipient's first tries get 451; xclient: it is offered.
    Closing, it answers what it has read, and says no more: so a message was either taken and
    answered, or not taken at all, and one that comes twice is a mistake of the relay's.
    """

    def __init__(self, most=None, took_s=0.0, greylist_s=0.0, xclient=False):
        self.port = free_port()
        self.most, self.took_s, self.greylist_s, self.xclient = most, took_s, greylist_s, xclient
        self.lock = threading.Lock()
        self.active = self.most_seen = self.refused = self.sessions = 0
        self.first_seen = {}
        self.subjects = []  # of the messages, in their order
        self.arrivals = []
        self.clients = []  # (session, named client, the subject's own word)
        self.listener = None

    def start(self):
        self.closing = threading.Event()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(100)
        threading.Thread(target=self.accept, args=(self.listener, self.closing), daemon=True).start()
        return self

    def stop(self):
        if self.listener:
            self.closing.set()
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def accept(self, listener, closing):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self.session, args=(connection, closing), daemon=True).start()

    def session(self, connection, closing):
        with self.lock:
            self.active += 1
            crowded = self.most is not None and self.active > self.most
            self.refused += crowded
            self.sessions += not crowded
            number = self.sessions
            self.most_seen = max(self.most_seen, self.active - crowded)
            counted = True
        connection.settimeout(DEADLINE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if crowded:
                goodbye = b"421 4.7.0 too many sessions\r\n"
            else:
                goodbye = self.talk(connection, connection.makefile("rb"), closing, number)
            # Before the peer can know that it has ended.
            with self.lock:
                self.active -= 1
                counted = False
            connection.sendall(goodbye)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:
            pass
        finally:
            with self.lock:
                self.active -= counted
            connection.close()

    def talk(self, connection, file, closing, number):
        """Returns what is said last."""
        named, recipients = None, 0
        connection.sendall(b"220 primary.example.org ESMTP\r\n")
        while not closing.is_set():
            line = file.readline()
            verb = line[:4].upper()
            if not line or closing.is_set():
                break
            if verb in (b"EHLO", b"HELO"):
                offer = b"250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN\r\n" if self.xclient and not named else b""
                connection.sendall(b"250-primary.example.org\r\n250-PIPELINING\r\n" + offer + b"250 8BITMIME\r\n")
            elif verb == b"XCLI":
                named = dict(word.split("=", 1) for word in line.decode().split()[1:])
                connection.sendall(b"220 primary.example.org ESMTP\r\n")
            elif verb == b"RCPT":
                reply, taken = self.judge(line)
                recipients += taken
                connection.sendall(reply)
            elif verb == b"DATA":
                if not recipients:
                    connection.sendall(b"554 5.5.1 no valid recipients\r\n")
                    continue
                connection.sendall(b"354 go on\r\n")
                text = self.read_text(file)
                if text is None or closing.is_set():
                    break
                self.take(number, named, text)
                connection.sendall(b"250 2.0.0 kept\r\n")
                recipients = 0
            elif verb == b"QUIT":
                return b"221 2.0.0 bye\r\n"
            else:
                recipients = recipients if verb == b"NOOP" else 0
                connection.sendall(b"250 2.0.0 ok\r\n")
        return b""

    def judge(self, line):
        with self.lock:
            first = self.first_seen.setdefault(line, time.monotonic())
        if time.monotonic() - first < self.greylist_s:
            return b"451 4.7.1 greylisted\r\n", 0
        return b"250 2.1.5 ok\r\n", 1

    def read_text(self, file):
        text = b""
        while True:
            line = file.readline()
            if not line:
                return None
            if line == b".\r\n":
                return text
            text += line

    def take(self, number, named, text):
        time.sleep(self.took_s)
        subject = next(line[9:].strip().decode() for line in text.splitlines() if line.startswith(b"Subject: "))
        with self.lock:
            self.subjects.append(subject)
            self.arrivals.append(time.monotonic())
            self.clients.append((number, (named or {}).get("ADDR"), subject.split()[0]))

    def count(self):
        with self.lock:
            return len(self.subjects)


@pytest.fixture
def relay_for(tmp_path):
    running = []

    def make(target, **options):
        settings = {"retry_min": '"10s"', "retry_max": '"10s"', **options}
        relay = Relay(tmp_path, options={"final_timeout": '"10s"'},
                      domains={"example.org": domain(target.port, **settings)})
        running.append(relay.start())
        return relay

    yield make
    for relay in running:
        relay.__exit__(None)


def send(relay, subjects, source="127.0.0.1"):
    """Several messages in one session, each to a recipient of its own."""
    with Raw(relay.port, timeout=DEADLINE_S, source=source) as client:
        client.say("EHLO client.example.net")
        for number, subject in enumerate(subjects):
            to = f"{subject}-{number}".replace(" ", "-")
            client.send(f"MAIL FROM:<a@example.net>\r\nRCPT TO:<{to}@example.org>\r\nDATA\r\n".encode())
            assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "354"]
            client.send(f"Subject: {subject}\r\n\r\ntext\r\n.\r\n".encode())
            assert client.reply().startswith("250")


def all_arrive(relay, target, sent, deadline_s=120):
    wait_for(lambda: target.count() >= len(sent), f"all {len(sent)} arrive", deadline_s)
    wait_for(lambda: relay.queued() == 0, "the queue is empty", deadline_s)
    assert sorted(target.subjects) == sorted(sent)  # each once


def shown(relay):
    return relay.get("/v1/destinations/example.org")


def test_421_above_three_sessions(relay_for):
    sent = [f"m {n}" for n in range(1500)]
    with Target(most=3, took_s=0.005) as target:
        relay = relay_for(target)
        send(relay, sent)
        target.start()
        all_arrive(relay, target, sent)
        assert target.most_seen == 3
        assert 1 <= target.refused <= 6, target.refused
        destination = shown(relay)
        assert destination["session_ceiling"] == 3
        assert destination["replies"]["2xx"] == len(sent)
        assert any("too many sessions" in said["text"] for said in destination["last_replies"])
        text = relay.cli("destination", "show", "example.org").stdout
        assert "turns away more than 3" in text and "too many sessions" in text


def test_greylisting(relay_for):
    sent = [f"m {n}" for n in range(60)]
    with Target(greylist_s=5) as target:
        relay = relay_for(target)
        target.start()
        send(relay, sent)
        all_arrive(relay, target, sent)
        # At the second try, ten seconds later; a third one for a few at the most.
        assert shown(relay)["replies"]["4xx"] <= 2 * len(sent)


def test_slow_primary(relay_for):
    sent = [f"m {n}" for n in range(40)]
    with Target(took_s=0.3) as target:
        relay = relay_for(target, sessions=8)
        send(relay, sent)
        target.start()
        all_arrive(relay, target, sent)
        assert target.most_seen <= 8 and target.refused == 0


def test_back_for_some_seconds_only(relay_for):
    sent = [f"m {n}" for n in range(400)]
    with Target(took_s=0.05) as target:
        relay = relay_for(target, sessions=3)
        send(relay, sent)
        for _ in range(2):
            before = target.count()
            target.start()
            wait_for(lambda: target.count() >= before + 50, "some arrive")
            target.stop()
            wait_for(lambda: shown(relay)["state"] == "down", "it is seen to be away")
        assert target.count() < len(sent)
        target.start()
        all_arrive(relay, target, sent)
        # Sessions to a closed port are probes alone, one a second here.
        assert shown(relay)["refused_sessions"] <= 10


def test_a_fresh_message_is_among_the_first(relay_for):
    sent = [f"m {n}" for n in range(3000)]
    with Target() as target:
        relay = relay_for(target)
        send(relay, sent)
        send(relay, ["code"])
        target.start()
        all_arrive(relay, target, sent + ["code"])
        assert target.subjects.index("code") < len(sent) * 0.05


def test_rate(relay_for):
    sent = [f"m {n}" for n in range(60)]
    with Target() as target:
        relay = relay_for(target, rate='"20/s"')
        send(relay, sent)
        target.start()
        all_arrive(relay, target, sent)
        # Sixty at twenty in a second, ten of which may come at once.
        assert target.arrivals[-1] - target.arrivals[0] > 2
        assert shown(relay)["rate_limit"] == 20


def test_delay(relay_for):
    sent = [f"m {n}" for n in range(6)]
    with Target() as target:
        relay = relay_for(target, delay='"1s"', sessions=2)
        send(relay, sent)
        target.start()
        all_arrive(relay, target, sent)
        assert target.arrivals[-1] - target.arrivals[0] > 1.9


def test_one_session_for_each_client(relay_for):
    sources = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    sent = [f"{source} {n}" for source in sources for n in range(100)]
    with Target(xclient=True) as target:
        relay = relay_for(target, sessions=4)
        for source in sources:
            send(relay, [subject for subject in sent if subject.startswith(source)], source)
        target.start()
        all_arrive(relay, target, sent)
        of_session = collections.defaultdict(set)
        for number, named, source in target.clients:
            assert named == source
            of_session[number].add(named)
        assert all(len(clients) == 1 for clients in of_session.values())
        assert target.most_seen <= 4 and len(of_session) <= 20, len(of_session)
        assert shown(relay)["identity"] == "xclient"


def test_probe(relay_for):
    with Target() as target:
        relay = relay_for(target)
        done = relay.cli("probe", "example.org", check=False)
        assert done.returncode == 1 and "refused" in done.stdout
        target.start()
        for name in ("example.org", shown(relay)["name"]):
            lines = relay.cli("probe", name).stdout.splitlines()
            assert "< 220 primary.example.org ESMTP" in lines
            assert any(line.startswith("> EHLO backup.example.net") for line in lines)
            assert any(line.startswith("> MAIL FROM:<>") for line in lines)
            assert lines[-1].startswith("good")
        assert relay.json("probe", "example.org")["good"] is True
        assert target.count() == 0
        assert relay.cli("probe", "smtp:nobody:25", check=False).returncode == 1
