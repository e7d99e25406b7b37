"""Peers that are processes of their own: what stops one of them does not stop the test.

    peers.py PORT FILE     a primary on loopback; each message's subject becomes a line of FILE
"""

import pathlib
import signal
import subprocess
import sys

from harness import DEADLINE_S, Primary, free_port, wait_for

DNSMASQ = "/usr/sbin/dnsmasq"


class PrimaryProcess:
    """A primary that can be frozen, as a machine that swaps, or a hypervisor that pauses it."""

    def __init__(self, directory):
        self.port = free_port()
        self.path = pathlib.Path(directory) / "subjects"
        self.path.touch()
        self.process = None

    def __enter__(self):
        self.process = subprocess.Popen([sys.executable, __file__, str(self.port), str(self.path)],
                                        stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"up\n"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def subjects(self):
        return self.path.read_text().split()


class Dns:
    """A name server with a few addresses, which can go away and come back."""

    def __init__(self, addresses):
        self.port = free_port()
        self.addresses = addresses
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [DNSMASQ, "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
             "--listen-address=127.0.0.1", "--bind-interfaces", f"--port={self.port}", "--log-facility=-",
             *(f"--host-record={name},{address}" for name, address in self.addresses.items())],
            stderr=subprocess.PIPE)
        for line in self.process.stderr:
            if b"started" in line:
                return self
        raise AssertionError("dnsmasq did not start")

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Recorder(Primary):
    def __init__(self, port, path):
        super().__init__(port)
        self.file = open(path, "a", buffering=1)

    async def handle_DATA(self, server, session, envelope):
        for line in envelope.original_content.split(b"\r\n"):
            if line.startswith(b"Subject: "):
                self.file.write(line[9:].decode() + "\n")
        return "250 2.0.0 kept"


if __name__ == "__main__":
    with Recorder(int(sys.argv[1]), sys.argv[2]):
        print("up", flush=True)
        signal.pause()
