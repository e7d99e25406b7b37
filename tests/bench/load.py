"""What surrounds a relay in the race: clients, primaries, a long line, and the accounts."""

import contextlib
import os
import pathlib
import re
import resource
import socket
import subprocess
import sys
import threading
import time

import psutil

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
from harness import wait_for  # noqa: E402

DOMAIN = "example.org"
WAIT_S = 180
TOOLS = HERE  # where build() has put the programs


def build(directory):
    """Compiles the programs of this folder."""
    global TOOLS
    TOOLS = pathlib.Path(directory)
    for name in ("source", "sink", "keeper"):
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", HERE / f"{name}.c", "-o", TOOLS / name], check=True)


def source(port, messages, sessions, octets, keep, pipelining=True, neutral=False):
    """Clients to their end; returns seconds. `neutral`: Postfix's smtp-source, which does not pipeline."""
    if neutral:
        command = ["smtp-source", "-s", sessions, "-m", messages, "-l", octets, "-M", "client.example.net",
                   "-f", "sender@example.net", "-t", f"user@{DOMAIN}", *(["-d"] if keep else []),
                   f"127.0.0.1:{port}"]
    else:
        command = [TOOLS / "source", "-s", sessions, "-m", messages, "-l", octets,
                   *(["-d"] if keep else []), *(["-p"] if pipelining else []), "127.0.0.1", port]
    began = time.monotonic()
    process = subprocess.Popen([str(word) for word in command])
    # A wait with a time-out looks every 50 ms, and some runs last five times that.
    guard = threading.Timer(WAIT_S, process.kill)
    guard.start()
    status = process.wait()
    seconds = time.monotonic() - began
    guard.cancel()
    if status != 0:
        raise subprocess.CalledProcessError(status, command)
    return seconds


class Sink:
    """A primary that takes everything, with the time of its first and latest message."""

    def __init__(self, port):
        self.port = port
        self.count = 0
        self.first = self.last = None

    def __enter__(self):
        self.process = subprocess.Popen([TOOLS / "sink", str(self.port)], stdout=subprocess.PIPE)
        threading.Thread(target=self.read, daemon=True).start()
        wait_for(lambda: listening(self.port), "the sink listens")
        self.opened = time.monotonic()
        return self

    def read(self):
        while piece := os.read(self.process.stdout.fileno(), 65536):
            now = time.monotonic()
            found = re.findall(rb"mesg=(\d+)", piece)
            if found and int(found[-1]) > self.count:
                self.count = int(found[-1])
                self.first = self.first or now
                self.last = now

    def rate(self):
        return (self.count - 1) / max(self.last - self.first, 0.001)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Line:
    """A port behind which another one lies `ms` away."""

    def __init__(self, port, to_port, ms):
        self.port = port
        self.command = [sys.executable, str(HERE / "delay.py"), str(port), str(to_port), str(ms)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command)
        wait_for(lambda: listening(self.port), "the long line is there")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


@contextlib.contextmanager
def idle_sessions(port, count):
    """Sessions that have said EHLO and then nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, count + 200), hard), hard))
    clients = []
    try:
        for _ in range(count):
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=60))
        for client in clients:
            client.recv(1024)
            client.sendall(b"EHLO client.example.net\r\n")
        for client in clients:
            answer = client.recv(4096)
            assert answer.startswith(b"250"), answer
        yield
    finally:
        for client in clients:
            client.close()


def listening(port):
    """By the kernel's table: a connection would be a session of the relay's."""
    wanted = f":{port:04X} 00000000:0000 0A"
    return wanted in pathlib.Path("/proc/net/tcp").read_text()


def processes(pid):
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def account(pid):
    """(seconds of CPU, octets written to disk) of a process, its children, and those it has waited for."""
    seconds = octets = 0
    for p in processes(pid):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            t = p.cpu_times()  # in hundredths of a second, which a short-lived process never reaches:
            seconds += t.children_user + t.children_system
            for task in pathlib.Path(f"/proc/{p.pid}/task").iterdir():  # so what lives is counted by the scheduler
                seconds += int((task / "schedstat").read_text().split()[0]) / 1e9
            octets += int(re.search(r"^write_bytes: (\d+)", pathlib.Path(f"/proc/{p.pid}/io").read_text(), re.M)[1])
    return seconds, octets


def memory(pid):
    """Octets of a process and its children; what several share is divided among them (Pss)."""
    total = 0
    for p in processes(pid):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            text = pathlib.Path(f"/proc/{p.pid}/smaps_rollup").read_text()
            total += int(re.search(r"^Pss: +(\d+)", text, re.M)[1]) * 1024
    return total


def anonymous(pid):
    return int(re.search(r"^RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1]) * 1024


def syncs(directory, octets, count=300):
    """What the disk can do: appends of so many octets, each synced, in a second."""
    path = pathlib.Path(directory) / "syncs"
    piece = os.urandom(octets)
    with open(path, "wb", buffering=0) as file:
        began = time.monotonic()
        for _ in range(count):
            file.write(piece)
            os.fdatasync(file.fileno())
        seconds = time.monotonic() - began
    path.unlink()
    return count / seconds
