"""kill -9 under load, a full disk, a sync that fails: every 250 is kept.

POSTERN_KILLS says how often the relay is killed (the long run does it 200 times).
"""

import os
import random
import re
import shutil
import smtplib
import subprocess
import threading
import time

import pytest

from conftest import domain
from harness import SANITIZED, Primary, Relay, free_port, wait_for, without_trace

KILLS = int(os.environ.get("POSTERN_KILLS", "8"))


class Load:
    """Clients that send without a pause and remember what was answered 250."""

    def __init__(self, relay, clients=6, seed=1):
        self.relay = relay
        self.sent = {}  # marker -> text, for each message whose text was begun
        self.taken = set()  # markers of those answered 250
        self.refused = set()
        self.lock = threading.Lock()
        self.ends = threading.Event()
        self.threads = [threading.Thread(target=self.client, args=(n, random.Random(seed * 100 + n))) for n in range(clients)]

    def client(self, number, generator):
        count = 0
        connection = None
        while not self.ends.is_set():
            count += 1
            marker = f"{number}-{count}-{generator.getrandbits(64):x}"
            size = generator.choice([100, 4000, 60_000, 400_000])
            body = b"".join(b"%060x\r\n" % generator.getrandbits(240) for _ in range(size // 62))
            text = f"Subject: {marker}\r\n\r\n".encode() + body + b"end\r\n"
            try:
                if not connection:
                    connection = smtplib.SMTP("127.0.0.1", self.relay.port, "client.example.net", timeout=30)
                    connection.ehlo()
                taken = self.send(connection, marker, text)
                with self.lock:
                    (self.taken if taken else self.refused).add(marker)
                if not taken:
                    time.sleep(0.02)
                    connection.rset()
            except (OSError, smtplib.SMTPException):
                connection = None
                time.sleep(0.02)

    def send(self, connection, marker, text):
        if connection.mail("sender@example.net")[0] != 250 or connection.rcpt("user@example.org")[0] != 250:
            return False
        with self.lock:
            self.sent[marker] = text
        try:
            return connection.data(text)[0] == 250
        except smtplib.SMTPDataError:  # no 354
            return False

    def takes(self, more):
        """Waits until that many more messages were answered 250."""
        count = len(self.taken) + more
        wait_for(lambda: len(self.taken) >= count, f"{more} more messages are taken")

    def end(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.end()


def marker_of(text):
    return re.search(rb"^Subject: (\S+)\r?$", text, re.M).group(1).decode()


def account(load, primary, killed_while_failed=0):
    """Every 250 arrived, whole; nothing that was refused did, but for so many messages that
    were being written when the store failed for the last time before a kill (what was
    refused is deleted when the store has healed). Returns for each message the times at
    which the sessions began that its copies came in."""
    times = {}
    for (_, _, octets), when in zip(primary.messages, primary.sessions):
        marker = marker_of(octets)
        assert without_trace(octets) == load.sent.get(marker), f"{marker} is damaged"
        times.setdefault(marker, []).append(when)
    lost = load.taken - set(times)
    assert not lost, f"{len(lost)} of {len(load.taken)} acknowledged messages are lost"
    wrong = load.refused & set(times)
    assert len(wrong) <= killed_while_failed, f"{len(wrong)} refused messages were delivered"
    return times


def duplicates_of(times):
    return sum(len(copies) - 1 for copies in times.values())


def test_kill_9_under_load(tmp_path):
    generator = random.Random(42)
    primary = Primary()
    relay = Relay(tmp_path, domains={"example.org": domain(primary.port)}).start()
    kills = []
    with Load(relay) as load:
        for number in range(KILLS):
            if number == KILLS // 2:
                primary.start()  # from here on it also delivers while it is killed
            load.takes(5)
            time.sleep(generator.random() * 0.4)
            relay.kill()
            kills.append(time.monotonic())
            relay.start()
    with relay:
        wait_for(lambda: relay.queued() == 0, "everything is delivered", 120)
        primary.stop()
        times = account(load, primary)
    # Twice means: handed over, and killed before that was on disk. So a kill lies between
    # the sessions of any two copies. (When they arrive proves nothing: the primary may be
    # reading what a killed relay has sent while the next one is already there.)
    for marker, copies in times.items():
        for first, second in zip(sorted(copies), sorted(copies)[1:]):
            assert any(first < kill < second for kill in kills), f"{marker} came twice for no reason"
    print(f"{len(load.taken)} acknowledged, {KILLS} kills, {duplicates_of(times)} duplicates, "
          f"each with a kill between its sessions")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, 96 MiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    image = tmp_path / "image"
    with open(image, "wb") as f:
        f.truncate(96 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], capture_output=True)
    if made.returncode or subprocess.run(["mount", "-o", "loop", str(image), str(mount)], capture_output=True).returncode:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(mount)], capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
    yield mount
    subprocess.run(["umount", str(mount)], check=True)


def fill(path, spare):
    """Takes all of a file system but `spare` octets."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * (1 << 16))
        except OSError:
            file.truncate(max(0, file.tell() - spare))


def test_a_full_disk_refuses_for_a_while_and_recovers(tmp_path, small_disk):
    primary = Primary()
    relay = Relay(tmp_path, options={"free_space": '"1M"', "write_buffer": '"4M"'},
                  domains={"example.org": domain(primary.port)}, spool=small_disk / "spool")
    with relay, Load(relay) as load:
        # Somebody else fills the disk while mail comes in, to the brim and nearly so.
        for spare in (0, 3 << 20, 100_000, 0):
            load.takes(20)
            fill(small_disk / "filler", spare)
            seen = len(load.refused)
            wait_for(lambda: len(load.refused) > seen + 10, "mail is refused")
            (small_disk / "filler").unlink()
            load.takes(10)  # again, and without a restart
            if not primary.controller:
                primary.start()
        load.end()
        wait_for(lambda: relay.queued() == 0, "everything is delivered", 120)
        primary.stop()
        times = account(load, primary)
    assert "spool.failed" in relay.log()  # it was not always seen in time
    print(f"{len(load.taken)} acknowledged, {len(load.refused)} refused, {duplicates_of(times)} duplicates")


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_sync_that_fails_is_never_acknowledged(tmp_path):
    primary = Primary()
    # The 40th fdatasync of a thread fails as on a dying disk, and every 60th after it. A
    # failure ends the store's threads, so that the counts begin anew.
    relay = Relay(tmp_path, domains={"example.org": domain(primary.port)},
                  wrap=["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
                        "-e", "inject=fdatasync:error=EIO:when=40+60"])
    relay.start()
    with Load(relay, clients=3) as load:
        for count in range(1, 5):
            wait_for(lambda: relay.log().count("spool.failed") >= count, "a sync failed")
            wait_for(lambda: relay.log().count("spool.recovered") >= count, "the spool works again, without a restart")
            load.takes(10)
            if count == 2:
                primary.start()  # from here on ends fail too
    relay.kill()
    relay.wrap = []
    with relay:
        wait_for(lambda: relay.queued() == 0, "everything is delivered", 120)
        primary.stop()
        times = account(load, primary, killed_while_failed=3)
    assert load.refused
    print(f"{len(load.taken)} acknowledged, {len(load.refused)} refused, {duplicates_of(times)} duplicates")


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_no_250_without_a_sync_of_its_own(tmp_path):
    primary = Primary()
    # From a thread's 20th fdatasync on none succeeds any more. The writer has its first one
    # for the first message, so one client at a time is told 250 fewer than 20 times.
    relay = Relay(tmp_path, domains={"example.org": domain(primary.port)},
                  wrap=["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync",
                        "-e", "inject=fdatasync:error=EIO:when=20+"])
    relay.start()
    load = Load(relay, clients=0)
    with relay.smtp() as client:
        for number in range(40):
            marker = f"one-{number}"
            taken = load.send(client, marker, f"Subject: {marker}\r\n\r\ntext\r\n".encode())
            (load.taken if taken else load.refused).add(marker)
            client.rset()
    relay.kill()
    assert 0 < len(load.taken) < 20
    relay.wrap = []
    with relay, primary:
        wait_for(lambda: relay.queued() == 0, "everything is delivered")
        account(load, primary, killed_while_failed=1)


def test_descriptors_run_out_and_come_back(tmp_path):
    primary = Primary()
    relay = Relay(tmp_path, options={"open_files": "50", "sessions_max": "5000", "sessions_per_network": "5000"},
                  domains={"example.org": domain(primary.port)},
                  wrap=["prlimit", "--nofile=200:200"])
    import socket
    with relay:
        idle = []
        for _ in range(260):
            s = socket.socket()
            s.settimeout(5)
            s.connect(("127.0.0.1", relay.port))
            idle.append(s)
        for s in idle:
            s.close()
        client = wait_for(lambda: relay.answers() and relay.smtp(), "clients are served again")
        client.sendmail("a@example.net", ["b@example.org"], b"Subject: x\r\n\r\ny\r\n")
        client.quit()
        assert relay.queued() == 1


def private_octets(pid):
    """Resident memory without what is only a mapped file."""
    status = open(f"/proc/{pid}/status").read()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) << 10


def test_thousand_clients_stay_within_the_memory_budget(tmp_path):
    import socket
    relay = Relay(tmp_path, options={"memory": '"24M"', "write_buffer": '"8M"', "sessions_max": "3000", "sessions_per_network": "3000"},
                  domains={"example.org": domain(free_port())})
    with relay:
        before = private_octets(relay.process.pid)
        text = b"Subject: big\r\n\r\n" + (b"x" * 70 + b"\r\n") * 14500
        clients = []
        for _ in range(1000):
            s = socket.create_connection(("127.0.0.1", relay.port), timeout=120)
            s.sendall(b"EHLO c.example.net\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
            clients.append(s)
        outcomes, lock, peak = [], threading.Lock(), [0]

        def finish(part):
            import select
            state = {}
            for s in part:
                s.setblocking(False)
                state[s] = [memoryview(text + b".\r\n"), b""]
            while state:
                readable, writable, _ = select.select(list(state), [s for s in state if state[s][0]], [], 60)
                if not readable and not writable:
                    break
                for s in writable:
                    try:
                        state[s][0] = state[s][0][s.send(state[s][0][:65536]):]
                    except BlockingIOError:
                        pass
                for s in readable:
                    try:
                        data = s.recv(4096)
                    except ConnectionError:
                        data = b""
                    state[s][1] += data
                    final = re.findall(rb"(?m)^(250 2\.0\.0|452)", state[s][1].split(b"354", 1)[-1])
                    if final or not data:
                        with lock:
                            outcomes.append(final[0][:3] if final else b"")
                        del state[s]

        threads = [threading.Thread(target=finish, args=(clients[n::4],)) for n in range(4)]
        for thread in threads:
            thread.start()
        while any(t.is_alive() for t in threads):
            peak[0] = max(peak[0], private_octets(relay.process.pid))
            time.sleep(0.05)
        for s in clients:
            s.close()
        print(f"{outcomes.count(b'250')} taken, {outcomes.count(b'452')} told 452, "
              f"{(peak[0] - before) >> 20} MiB more private memory at the peak")
        assert len(outcomes) == 1000 and set(outcomes) <= {b"250", b"452"}
        assert relay.queued() == outcomes.count(b"250")
        # The budget; the store's buffers; what each session has read and not yet used;
        # and as much again for what the allocator keeps. Without the budget it is 600 MiB.
        limit = (24 + 3 * 8 + 64 + 110) << 20
        if not SANITIZED:
            assert peak[0] - before < limit
