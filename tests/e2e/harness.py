"""The real daemon with real peers, on loopback.

A Relay is one posternd in a directory of its own, a Primary one SMTP server that can be
down and up again. Ports are free ones; every wait has a deadline and asks for a
condition, so that no test depends on how fast the machine is.
"""

import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import smtplib
import socket
import subprocess
import threading
import time
import urllib.parse

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("POSTERN_BIN", ROOT / "build/release"))
CORPUS = pathlib.Path(os.environ.get("POSTERN_CORPUS", ROOT.parent / "shared/corpus"))
DEADLINE_S = 60
# A sanitizer takes memory as it likes.
SANITIZED = (BIN / "posternd").exists() and re.search(rb"lib[at]san\.so", (BIN / "posternd").read_bytes()) is not None


def ports():
    """Numbers that this process alone gives out, and that the system gives to nobody by itself."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = 10_000 + worker % 4 * 5_000
    start = random.randrange(5_000)
    while True:
        for number in range(5_000):
            yield first + (start + number) % 5_000


PORTS = ports()


def free_port(host="127.0.0.1"):
    for port in PORTS:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError:
                continue
            return port


def wait_for(condition, what, deadline_s=DEADLINE_S, every_s=0.02):
    """Returns condition()'s first true value; fails with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        time.sleep(every_s)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_S)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Relay:
    """One posternd. Options are lines of postern.conf; domains are name -> options.

    An option whose value is None is left at the product's own default.
    """

    started = []  # conftest.py ends those that a failed test leaves behind

    def __init__(self, directory, options=None, domains=None, wrap=None, spool=None):
        self.directory = pathlib.Path(directory)
        self.spool = pathlib.Path(spool or self.directory / "spool")
        self.port = free_port()
        self.options = {
            "hostname": '"backup.example.net"',
            "free_space": '"32M"',
            "probe_min": '"1s"',  # so that no test waits for the usual 5 s
        }
        self.options.update(options or {})
        self.extra = ""
        self.wrap = wrap or []
        self.process = None
        for path in (self.spool, self.directory / "domains.d", self.directory / "run"):
            path.mkdir(parents=True, exist_ok=True)
        self.socket = self.directory / "run/admin.sock"
        self.log_path = self.directory / "posternd.log"
        for name, settings in (domains or {}).items():
            self.write_domain(name, settings)

    def write_domain(self, name, settings):
        text = "".join(f"{key} = {value}\n" for key, value in settings.items())
        path = self.directory / "domains.d" / f"{name}.conf"
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.rename(path)

    def write_conf(self):
        lines = [f"{key} = {value}" for key, value in self.options.items() if value is not None]
        lines += [
            f'spool = "{self.spool}"',
            f'domains = "{self.directory}/domains.d"',
            f'admin = "{self.socket}"',
            f'listener "mx" {{ address = {{"127.0.0.1:{self.port}"}} }}',
            self.extra,
        ]
        path = self.directory / "postern.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def start(self, wait=True):
        assert not self.running()
        conf = self.write_conf()
        environment = {k: v for k, v in os.environ.items() if k != "JOURNAL_STREAM"}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrap, str(BIN / "posternd"), "-c", str(conf)],
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self.started.append(self)
        if wait:
            wait_for(self.answers, f"posternd is up\n{self.log()[-2000:]}")
        return self

    def answers(self):
        assert self.process.poll() is None, f"posternd ended:\n{self.log()[-3000:]}"
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                return s.recv(3) == b"220"
        except OSError:
            return False

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends it cleanly and says how it went."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"posternd did not stop:\n{self.log()[-3000:]}")
        return self.process.returncode if self.process else None

    def __enter__(self):
        return self if self.running() else self.start()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def __exit__(self, failed, *_):
        status = self.stop()
        log = self.log()
        if failed:
            print(log[-6000:])  # shown with the failure
            return
        assert "Sanitizer" not in log and "assertion" not in log, log[-6000:]
        assert status in (0, -signal.SIGKILL), f"exit status {status}:\n{log[-3000:]}"

    def cli(self, *words, check=True):
        done = subprocess.run(
            [str(BIN / "postern"), "-s", str(self.socket), *words],
            capture_output=True, text=True, timeout=DEADLINE_S,
        )
        if check:
            assert done.returncode == 0, f"postern {words}: {done.returncode}\n{done.stderr}{done.stdout}"
        return done

    def json(self, *words):
        return json.loads(self.cli("--json", *words).stdout)

    def api(self, method, path, body=None, **terms):
        """One call of the admin API, as the tool makes it: (status, answer)."""
        connection = UnixConnection(self.socket)
        try:
            query = "?" + urllib.parse.urlencode(terms) if terms else ""
            connection.request(method, path + query, json.dumps(body) if body is not None else None)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def get(self, path, **terms):
        status, answer = self.api("GET", path, **terms)
        assert status == 200, (path, status, answer)
        return answer

    def status(self):
        return self.get("/v1/status")

    def messages(self, **terms):
        return self.get("/v1/queue", **terms)["messages"]

    def queued(self):
        return self.status()["queue"]["messages"]

    def smtp(self, timeout=DEADLINE_S):
        client = smtplib.SMTP("127.0.0.1", self.port, "client.example.net", timeout=timeout)
        client.ehlo()
        return client


class Raw:
    """A client that says exactly the octets it is told to."""

    def __init__(self, port, timeout=20, source=""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))
        self.file = self.socket.makefile("rb")

    def reply(self):
        """One whole reply as text; "" when the connection has ended."""
        lines = []
        while True:
            try:
                line = self.file.readline()
            except ConnectionError:
                line = b""
            if not line:
                return "".join(lines)
            lines.append(line.decode("latin-1"))
            if line[3:4] != b"-":
                return "".join(lines)

    def send(self, octets):
        self.socket.sendall(octets)

    def say(self, line):
        self.send(line.encode("latin-1") + b"\r\n")
        return self.reply()

    def ended(self):
        try:
            return self.file.read(1) == b""
        except ConnectionError:
            return True

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        self.greeting = self.reply()
        return self

    def __exit__(self, *_):
        self.close()


class WideSMTP(SMTP):
    line_length_limit = 1 << 26  # real mails have lines of any length


class Primary:
    """An aiosmtpd server that keeps what it gets; it can be stopped and started again."""

    def __init__(self, port=None, **options):
        self.port = port or free_port()
        self.options = options
        self.messages = []  # (sender, recipients, octets)
        self.arrivals = []  # when each came
        self.sessions = []  # and when the session began in which it came
        self.lock = threading.Lock()
        self.refuse = {}  # recipient -> reply
        self.controller = None

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        session.began = time.monotonic()
        return responses

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        if address in self.refuse:
            return self.refuse[address]
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        with self.lock:
            self.messages.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content))
            self.arrivals.append(time.monotonic())
            self.sessions.append(session.began)
        return "250 2.0.0 kept"

    def start(self):
        options = {"enable_SMTPUTF8": True, "data_size_limit": 0, **self.options}
        primary = self

        class Server(Controller):
            def factory(self):
                return WideSMTP(primary, hostname="primary.example.org", **options)

        self.controller = Server(self, hostname="127.0.0.1", port=self.port)
        self.opened = time.monotonic()
        self.controller.start()
        return self

    def stop(self):
        if self.controller:
            self.controller.stop()
            self.controller = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def count(self):
        with self.lock:
            return len(self.messages)


class PostfixPrimary:
    """A real Postfix in a directory of its own, which delivers into one Maildir."""

    def __init__(self, directory, domain, extra=None):
        self.directory = pathlib.Path(directory)
        self.domain = domain
        self.port = free_port()
        self.extra = extra or {}
        self.maildir = self.directory / "mail/all"
        self.master = None

    def write(self):
        conf = self.directory / "etc"
        for path in (conf, self.directory / "queue", self.directory / "data", self.directory / "mail"):
            path.mkdir(parents=True, exist_ok=True)
        user = "postfix"
        subprocess.run(["chown", user, self.directory / "data", self.directory / "mail"], check=True)
        for parent in [self.directory, *self.directory.parents]:
            if parent.stat().st_uid == os.getuid() and parent != pathlib.Path("/"):
                parent.chmod(parent.stat().st_mode | 0o111)
        uid = subprocess.run(["id", "-u", user], capture_output=True, text=True, check=True).stdout.strip()
        gid = subprocess.run(["id", "-g", user], capture_output=True, text=True, check=True).stdout.strip()
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.directory / "queue",
            "data_directory": self.directory / "data",
            "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin",
            "mail_owner": user,
            "setgid_group": "postdrop",
            "myhostname": "primary.example.org",
            "mydestination": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "virtual_mailbox_domains": self.domain,
            "virtual_mailbox_base": self.directory / "mail",
            "virtual_mailbox_maps": f"static:all/",
            "virtual_uid_maps": f"static:{uid}",
            "virtual_gid_maps": f"static:{gid}",
            "virtual_minimum_uid": "1",
            "virtual_mailbox_limit": "0",
            "message_size_limit": "0",
            "maillog_file": "/dev/stdout",
            "maillog_file_prefixes": f"/dev/stdout, {self.directory}",
            "alias_maps": "",
            "alias_database": "",
            "local_recipient_maps": "",
            # Mail is to be stored as it comes.
            "message_drop_headers": "",
            "local_header_rewrite_clients": "",
            "smtputf8_enable": "yes",
            "strict_smtputf8": "no",
            "header_size_limit": "10240000",
            "hopcount_limit": "200",
            "smtpd_client_connection_count_limit": "0",
            "default_process_limit": "50",
        }
        settings.update(self.extra)
        settings["maillog_file"] = self.directory / "maillog"
        (conf / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        master = pathlib.Path("/etc/postfix/master.cf")
        lines = (master if master.exists() else pathlib.Path("/usr/share/postfix/master.cf.dist")).read_text()
        lines = re.sub(r"(?m)^smtp\s+inet.*$", f"127.0.0.1:{self.port} inet n - n - - smtpd", lines)
        lines = re.sub(r"(?m)^(\S+\s+(?:unix|inet|fifo|unix-dgram)\s+\S+\s+\S+\s+)[y-](\s)", r"\1n\2", lines)
        if "postlog" not in lines:
            lines += "postlog unix-dgram n - n - 1 postlogd\n"
        (conf / "master.cf").write_text(lines)
        return conf

    def start(self):
        conf = self.write()
        started = subprocess.run(["postfix", "-c", str(conf), "start"], capture_output=True, text=True, timeout=DEADLINE_S)
        assert started.returncode == 0, started.stderr + self.log()[-2000:]
        wait_for(self.answers, "Postfix is up")
        self.opened = time.monotonic()
        return self

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                return s.recv(3) == b"220"
        except OSError:
            return False

    def stop(self):
        self.command("stop")
        wait_for(lambda: self.command("status").returncode != 0, "Postfix has ended")

    def command(self, word):
        return subprocess.run(["postfix", "-c", str(self.directory / "etc"), word], capture_output=True, timeout=DEADLINE_S)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def log(self):
        path = self.directory / "maillog"
        return path.read_text(errors="replace") if path.exists() else ""

    def messages(self):
        """The stored files: Postfix writes LF and puts its own fields before ours."""
        found = []
        for sub in ("new", "cur"):
            folder = self.maildir / sub
            if folder.is_dir():
                found += [path.read_bytes() for path in folder.iterdir()]
        return found

    def count(self):
        folder = self.maildir / "new"
        return len(list(folder.iterdir())) if folder.is_dir() else 0


def wire(octets):
    """What a client sends for a file: every line end made CR LF, the last one added."""
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", octets)
    return text if text.endswith(b"\r\n") else text + b"\r\n"


def digest(octets):
    return hashlib.sha256(octets).hexdigest()


# Up to the date: a message may itself begin with a blank.
TRACE = re.compile(rb"\AReceived: from [^;]*;\s+\w{3}, \d+ \w{3} \d{4} [\d:]{8} \+0000\r\n")


def without_trace(octets):
    """The message without the relay's own Received field, which must be the first."""
    match = TRACE.match(octets)
    assert match and b"backup.example.net" in match.group(0), octets[:300]
    return octets[match.end():]
