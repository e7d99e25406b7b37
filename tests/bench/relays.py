"""The relays of the race: each with files, ports and processes of its own, at its best."""

import contextlib
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess

import psutil

import load
from harness import Relay, UnixConnection, free_port, wait_for
from jail import Jail, Unavailable  # noqa: F401 (who uses peers catches it)
from load import DOMAIN, WAIT_S, listening

HOLD, FORWARD, PASS = "hold", "forward", "pass-through"


class Peer:
    """What the race asks of a relay.

    `mode` is what it does with mail: HOLD (the primary is down), FORWARD (stored, then sent on),
    PASS (the primary judges before the client is told 250). `sessions` bounds what it opens
    to the primary; None is what was measured to be its best.
    """

    share = 1.0  # of the messages that Postern gets: a slow relay shows its rate with fewer

    def __init__(self, directory, primary_port, mode=HOLD, sessions=None):
        self.directory = pathlib.Path(directory)
        self.primary_port = primary_port
        self.mode = mode
        self.sessions = sessions or self.best
        self.port = free_port()

    def account(self):
        return load.account(self.pid())

    def memory(self):
        return load.memory(self.pid())

    def settled(self):
        """Nothing moves any more that belongs to mail which has come in."""
        return True

    def rest(self):
        """After a drain: the primary is away again."""


class Postern(Peer):
    name = "Postern"
    best = 20
    settings = ("defaults, but sessions_per_network, sessions_max = 20000, free_space = 64M, reverse_dns = no; in "
                "pass-through sessions = 40, because each of two workers may need one for each of 20 clients")

    def __enter__(self):
        # By name: a client at the target's own address is never passed through to it.
        host = "localhost" if self.mode == PASS else "127.0.0.1"
        self.relay = Relay(
            self.directory,
            options={"sessions_per_network": "20000", "sessions_max": "20000", "free_space": '"64M"',
                     "reverse_dns": "no", "probe_min": None},
            domains={DOMAIN: {"target": f'{{"{host}:{self.primary_port}"}}',
                              "recipients": "{call-ahead}" if self.mode == PASS else "{any}",
                              "when_up": "pass-through" if self.mode == PASS else "accept",
                              "sessions": str(40 if self.mode == PASS else self.sessions)}})
        self.relay.start()
        self.port = self.relay.port
        if self.mode == PASS:
            wait_for(lambda: any(d["state"] == "up" for d in self.relay.status()["destinations"]), "the primary is up")
        return self

    def __exit__(self, *_):
        self.relay.stop()

    def restart(self):
        self.relay.stop()
        self.relay.start()

    def pid(self):
        return self.relay.process.pid

    def held(self):
        return self.relay.queued()

    def syncs(self):
        connection = UnixConnection(self.relay.socket)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return float(re.search(r"^postern_spool_syncs (\S+)", text, re.M)[1])

    def drain(self):
        self.relay.cli("flush", DOMAIN)


class Kept(Peer):
    """A relay of many processes, all below one keeper, whose account has also those that ended."""

    def __enter__(self):
        self.keeper = subprocess.Popen([load.TOOLS / "keeper"], stdin=subprocess.PIPE, text=True)
        try:
            self.launch()
            wait_for(lambda: listening(self.port), f"{self.name} listens")
        except BaseException:
            self.__exit__()
            raise
        return self

    def run(self, line):
        self.keeper.stdin.write(line + "\n")
        self.keeper.stdin.flush()

    def __exit__(self, *_):
        self.halt()
        self.signal_all(signal.SIGTERM)
        try:
            wait_for(lambda: len(load.processes(self.keeper.pid)) == 1, f"{self.name} ends", 20)
        finally:
            self.signal_all(signal.SIGKILL)
            self.keeper.stdin.close()
            self.keeper.wait()

    def signal_all(self, number):
        for p in load.processes(self.keeper.pid)[1:]:
            with contextlib.suppress(psutil.NoSuchProcess):
                p.send_signal(number)

    def pid(self):
        return self.keeper.pid

    def halt(self):
        """The polite way to end it, if there is one."""


def count_files(top, wanted=lambda name: True):
    return sum(1 for _, _, files in os.walk(top) for name in files if wanted(name))


class Postfix(Kept):
    name = "Postfix"
    share = 0.15
    best = 10
    settings = ("Debian's master.cf without chroot, default_process_limit 150, destination concurrency 10, "
                "no client limits, no retries during the run, syncs on")

    def write(self):
        conf = self.directory / "etc"
        for path in (conf, self.directory / "queue", self.directory / "data"):
            path.mkdir(parents=True, exist_ok=True)
        shutil.chown(self.directory / "data", "postfix")
        for parent in [self.directory, *self.directory.parents]:
            if parent.stat().st_uid == os.getuid() and parent != pathlib.Path("/"):
                parent.chmod(parent.stat().st_mode | 0o111)
        settings = {
            "compatibility_level": "3.6", "queue_directory": self.directory / "queue",
            "data_directory": self.directory / "data", "command_directory": "/usr/sbin",
            "daemon_directory": "/usr/lib/postfix/sbin", "mail_owner": "postfix",
            "setgid_group": "postdrop", "myhostname": "postfix.example.net", "mydestination": "",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8",
            "relay_domains": DOMAIN, "relay_transport": f"relay:[127.0.0.1]:{self.primary_port}",
            "smtpd_client_connection_count_limit": "0", "smtpd_client_connection_rate_limit": "0",
            "default_process_limit": "300" if self.mode == HOLD else "150",
            "default_destination_concurrency_limit": self.sessions,
            "relay_destination_concurrency_limit": self.sessions,
            "maillog_file": self.directory / "maillog",
            "maillog_file_prefixes": self.directory, "alias_maps": "", "alias_database": "",
            "local_recipient_maps": "", "in_flow_delay": "0", "smtputf8_enable": "yes",
            "qmgr_message_active_limit": "100000", "qmgr_message_recipient_limit": "100000",
            "minimal_backoff_time": "1d", "maximal_backoff_time": "1d", "queue_run_delay": "1d",
        }
        if self.mode == PASS:
            settings["smtpd_proxy_filter"] = f"127.0.0.1:{self.primary_port}"
        (conf / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        lines = pathlib.Path("/usr/share/postfix/master.cf.dist").read_text()
        lines = re.sub(r"(?m)^smtp\s+inet.*$", f"127.0.0.1:{self.port} inet n - n - - smtpd", lines)
        lines = re.sub(r"(?m)^(\S+\s+(?:unix|inet|fifo|unix-dgram)\s+\S+\s+\S+\s+)[y-](\s)", r"\1n\2", lines)
        (conf / "master.cf").write_text(lines)
        self.conf = shlex.quote(str(conf))

    def launch(self):
        self.write()
        self.run(f"postfix -c {self.conf} start >{self.directory}/start 2>&1")

    def halt(self):
        subprocess.run(f"postfix -c {self.conf} stop", shell=True, capture_output=True)

    def held(self):
        return sum(count_files(self.directory / "queue" / top) for top in ("deferred", "active", "incoming"))

    def settled(self):
        return not any(count_files(self.directory / "queue" / top) for top in ("incoming", "active"))

    def drain(self):
        self.run(f"postqueue -c {self.conf} -f")


class Exim(Kept):
    name = "Exim"
    share = 0.025
    best = 4
    settings = ("queue_only while the primary is down, split_spool_directory, no accept limits, "
                "drained by 4 queue runners (-qqff) at once")

    def launch(self):
        self.jail = Jail(self.directory / "root", "exim4-daemon-light", ["Debian-exim"])
        root = self.directory / "root"
        (root / "etc/exim4").mkdir(parents=True)
        for path in ("var/spool/exim4", "var/log/exim4"):
            (root / path).mkdir(parents=True)
            os.chown(root / path, 64800, 64800)
        self.spool = root / "var/spool/exim4"
        (root / "etc/exim4/exim4.conf").write_text(f"""
exim_path = /peer/usr/sbin/exim4
primary_hostname = exim.example.net
domainlist relay_to = {DOMAIN}
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
acl_smtp_rcpt = acl_rcpt
queue_only = {'true' if self.mode == HOLD else 'false'}
queue_only_override = false
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
smtp_accept_queue_per_connection = 0
smtp_connect_backlog = 1000
smtp_enforce_sync = false
pipelining_advertise_hosts = *
split_spool_directory = true
queue_run_max = 100
tls_advertise_hosts =
keep_environment =
message_size_limit = 50M
begin acl
acl_rcpt:
  accept domains = +relay_to
begin routers
primary:
  driver = manualroute
  domains = +relay_to
  route_list = * 127.0.0.1 byname
  transport = relay
  self = send
begin transports
relay:
  driver = smtp
  port = {self.primary_port}
  allow_localhost = true
  hosts_avoid_tls = *
  connection_max_messages = 1000
begin retry
* * F,4d,1d
""")
        self.run(self.jail.command("/peer/usr/sbin/exim4", "-bdf") + f" >{self.directory}/start 2>&1")

    def held(self):
        return count_files(self.spool / "input", lambda name: name.endswith("-H"))

    def drain(self):
        for _ in range(self.sessions):
            self.run(self.jail.command("/peer/usr/sbin/exim4", "-qqff"))


class OpenSmtpd(Kept):
    name = "OpenSMTPD"
    share = 0.025
    best = 10
    settings = ("max-mails 1000000 a session; no delays between connections to the primary, at most 10 of them; "
                "its transfer agent is paused while the primary is down")

    def launch(self):
        self.jail = Jail(self.directory / "root", "opensmtpd", ["opensmtpd", "opensmtpq"])
        root = self.directory / "root"
        (root / "var/lib/opensmtpd/empty").mkdir(parents=True)
        self.spool = root / "var/spool/smtpd"
        control = root / "peer/usr/sbin/smtpctl"  # insists on its group
        os.chown(control, 0, 64801)
        control.chmod(0o2755)
        (root / "etc/smtpd.conf").write_text(f"""
smtp limit max-mails 1000000
smtp max-message-size 50M
mta limit conn-delay-route 0
mta limit conn-delay-relay 0
mta limit reconn-delay-route 0
mta limit max-conn-per-host {self.sessions}
mta limit max-conn-per-route {self.sessions}
mta limit max-conn-per-relay {self.sessions}
mta limit session-transaction-delay 0
mta max-deferred 100000
listen on 127.0.0.1 port {self.port}
action "relay" relay host smtp://127.0.0.1:{self.primary_port}
match from any for domain "{DOMAIN}" action "relay"
""")
        self.run(self.jail.command("/peer/usr/sbin/smtpd", "-F") + f" >{self.directory}/start 2>&1")
        wait_for((root / "run/smtpd.sock").exists, f"{self.name} can be told")
        if self.mode == HOLD:
            self.control("pause", "mta")

    def control(self, *words):
        subprocess.run(self.jail.command("/peer/usr/sbin/smtpctl", *words), shell=True, check=True,
                       capture_output=True, timeout=WAIT_S)

    def held(self):
        top = self.spool / "queue"
        return sum(1 for bucket in top.iterdir() for _ in bucket.iterdir()) if top.exists() else 0

    def drain(self):
        self.control("resume", "mta")

    def rest(self):
        self.control("pause", "mta")
