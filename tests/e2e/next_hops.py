"""Next hops of other makes: Postfix with logins or client identity, Exim and OpenSMTPD in roots of their own."""

import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest

from harness import DEADLINE_S, PostfixPrimary, Primary, ROOT, free_port, wait_for

sys.path.insert(0, str(ROOT / "tests/bench"))
from jail import Jail, Unavailable  # noqa: E402

DOVECOT = shutil.which("dovecot")


def certificate(directory):
    """A self-signed one: (certificate, key)."""
    paths = directory / "cert.pem", directory / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=primary.example.org", "-keyout", paths[1], "-out", paths[0]],
                   check=True, capture_output=True)
    return paths


class PostfixWithLogins(PostfixPrimary):
    """Takes mail from those alone who log in, inside TLS; Dovecot knows the passwords."""

    def __init__(self, directory, domain, users):
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True)
        cert, key = certificate(directory)
        super().__init__(directory, domain, {
            "mynetworks": "192.0.2.255/32",
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": "private/auth",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_auth_only": "yes",
            "smtpd_tls_cert_file": cert,
            "smtpd_tls_key_file": key,
            "smtpd_relay_restrictions": "permit_sasl_authenticated, reject",
        })
        self.users = users
        self.dovecot = None

    def start(self):
        super().start()
        # Its sockets lie deep below this, and the name of a socket has 107 octets.
        base = self.base = pathlib.Path(tempfile.mkdtemp(prefix="dovecot."))
        base.chmod(0o755)
        (base / "users").write_text("".join(f"{user}:{{PLAIN}}{password}\n" for user, password in self.users.items()))
        (base / "users").chmod(0o644)
        (base / "dovecot.conf").write_text(f"""
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/log
protocols =
ssl = no
auth_mechanisms = plain login scram-sha-1 scram-sha-256
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/
}}
service auth {{
  unix_listener {self.directory}/queue/private/auth {{
    mode = 0666
  }}
}}
""")
        self.dovecot = subprocess.Popen([DOVECOT, "-F", "-c", str(base / "dovecot.conf")])
        wait_for((self.directory / "queue/private/auth").exists, "Dovecot answers")
        return self

    def stop(self):
        if self.dovecot:
            self.dovecot.terminate()
            self.dovecot.wait()
            self.dovecot = None
            shutil.rmtree(self.base)
        super().stop()


class Relayed:
    """An MTA that passes all it takes on to a server that keeps the very octets."""

    users = ()

    def __init__(self, directory, domain, **features):
        self.root = pathlib.Path(directory) / "root"
        self.port = free_port()
        self.domain = domain
        self.features = features
        self.sink = Primary()
        self.process = None

    def __enter__(self):
        try:
            self.jail = Jail(self.root, self.package, list(self.users))
        except Unavailable as why:
            pytest.skip(str(why))
        self.sink.start()
        self.configure()
        self.process = subprocess.Popen(self.jail.command(*self.words), shell=True, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self.answers, f"{self.package} is up")
        return self

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as s:
                return s.recv(3) == b"220"
        except OSError:
            return False

    def __exit__(self, *_):
        os.killpg(self.process.pid, 15)  # the session that we began
        self.process.wait(DEADLINE_S)
        self.sink.stop()

    def stored(self):
        with self.sink.lock:
            return [octets for _, _, octets in self.sink.messages]


class Exim(Relayed):
    package = "exim4-daemon-light"
    users = ("Debian-exim",)
    words = ("/peer/usr/sbin/exim4", "-bdf", "-q1s")

    def configure(self):
        for path in ("var/spool/exim4", "var/log/exim4"):
            (self.root / path).mkdir(parents=True)
            os.chown(self.root / path, 64800, 64800)
        (self.root / "etc/exim4").mkdir(parents=True)
        tls = ""
        if self.features.get("tls"):
            cert, key = certificate(self.root / "etc")
            for path in (cert, key):
                os.chown(path, 64800, 64800)
            tls = "tls_certificate = /etc/cert.pem\ntls_privatekey = /etc/key.pem\n"
        (self.root / "etc/exim4/exim4.conf").write_text(f"""
exim_path = /peer/usr/sbin/exim4
primary_hostname = exim.example.net
domainlist relay_to = {self.domain}
daemon_smtp_ports = {self.port}
local_interfaces = 127.0.0.1
acl_smtp_rcpt = acl_rcpt
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
chunking_advertise_hosts = {'*' if self.features.get('chunking') else ''}
pipelining_advertise_hosts = {'*' if self.features.get('pipelining') else ''}
tls_advertise_hosts = {'*' if tls else ''}
{tls}keep_environment =
message_size_limit = 50M
begin acl
acl_rcpt:
  deny local_parts = bad
  defer local_parts = later
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
  port = {self.sink.port}
  allow_localhost = true
  hosts_avoid_tls = *
  message_linelength_limit = 100000000
begin retry
* * F,4d,1s
""")


class OpenSmtpd(Relayed):
    package = "opensmtpd"
    users = ("opensmtpd", "opensmtpq")
    words = ("/peer/usr/sbin/smtpd", "-F")

    def configure(self):
        (self.root / "var/lib/opensmtpd/empty").mkdir(parents=True)
        control = self.root / "peer/usr/sbin/smtpctl"  # insists on its group
        os.chown(control, 0, 64801)
        control.chmod(0o2755)
        (self.root / "etc/smtpd.conf").write_text(f"""
smtp max-message-size 50M
mta limit session-transaction-delay 0
listen on 127.0.0.1 port {self.port}
action "relay" relay host smtp://127.0.0.1:{self.sink.port}
match from any for domain "{self.domain}" rcpt-to "bad@{self.domain}" reject
match from any for domain "{self.domain}" action "relay"
""")


class PostfixWithout(PostfixPrimary):
    """Postfix that does not announce some of what it can."""

    def __init__(self, directory, domain, discard, tls=False):
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True)
        extra = {"smtpd_discard_ehlo_keywords": discard,
                 "smtpd_recipient_restrictions":
                     f"check_recipient_access inline:{{ {{ bad@{domain} = 550 5.1.1 no }}, "
                     f"{{ later@{domain} = 451 4.3.0 later }} }}"}
        if tls:
            extra["smtpd_tls_cert_file"], extra["smtpd_tls_key_file"] = certificate(directory)
            extra["smtpd_tls_security_level"] = "may"
        super().__init__(directory, domain, extra)

    def stored(self):
        return self.messages()
