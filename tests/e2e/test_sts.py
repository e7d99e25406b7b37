"""MTA-STS (RFC 8461) against real peers: MX hosts, a web server with the policies, a resolver.

Loopback addresses are nobody's MX, and policies are fetched from port 443 of a name that the
system's resolver knows. So all of it runs in a network and with mounts of its own: this file
starts itself again in there, where 192.0.2.0/24 is on the loopback interface.
"""

import os
import pathlib
import smtplib
import subprocess
import sys
import tempfile

import pytest

from harness import PostfixPrimary, Relay, UnixConnection, wait_for
from trust import Certificate, PolicyServer, Unbound, Zone

INSIDE = "POSTERN_OWN_NETWORK"

MX, WEB, BAD_WEB = "192.0.2.10", "192.0.2.20", "192.0.2.21"

# name -> (certificate of its MX host, mode of its policy or None, what the policy names)
DOMAINS = {
    "right": ("good", "enforce", "mx.right.example"),
    "pattern": ("good", "enforce", "*.pattern.example"),
    "wrong": ("other", "enforce", "mx.wrong.example"),
    "untrusted": ("stranger", "enforce", "mx.untrusted.example"),
    "unnamed": ("good", "enforce", "mx.elsewhere.example"),
    "testing": ("other", "testing", "mx.testing.example"),
    "none": ("other", "none", "mx.none.example"),
    "unreachable": ("other", None, ""),
    "badweb": ("other", "enforce", "mx.badweb.example"),
    "expiring": ("other", "enforce", "mx.expiring.example"),
}


def inside(test):
    return test if INSIDE in os.environ else None


def outside(test):
    return test if INSIDE not in os.environ else None


@outside
def test_in_a_network_of_its_own():
    # Not below pytest's own directory: Postfix's user has to get through to its Maildir.
    with tempfile.TemporaryDirectory(prefix="postern-") as directory:
        done = subprocess.run(
            ["unshare", "--net", "--mount", sys.executable, "-m", "pytest", "-q", "-x", "--tb=short",
             "-p", "no:cacheprovider", "--basetemp", f"{directory}/in", __file__],
            env={**os.environ, INSIDE: "yes"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "2 passed" in done.stdout


class PublicPostfix(PostfixPrimary):
    """It listens on port 25 of every address of this network."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.port = 25
        self.extra["inet_interfaces"] = "all"

    def write(self):
        conf = super().write()
        master = conf / "master.cf"
        master.write_text(master.read_text().replace("127.0.0.1:25 inet", "25 inet"))
        return conf


def policy(name, mode, mx, max_age=86400):
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age}\r\n"


class World:
    def __init__(self, directory):
        self.directory = directory
        root = Certificate(directory, "root", authority=True)
        stranger = Certificate(directory, "stranger", authority=True)
        self.root = root
        issuers = {"good": (root, None), "other": (root, "mx.other.example"), "stranger": (stranger, None)}
        self.chains = {}
        for name, (kind, _, _) in DOMAINS.items():
            issuer, other = issuers[kind]
            self.chains[f"mx.{name}.example"] = Certificate(
                directory, name, [other or f"mx.{name}.example"], issuer).chain
        hosts = [f"mta-sts.{name}.example" for name in DOMAINS]
        self.web_certificate = Certificate(directory, "web", hosts, root)
        self.bad_certificate = Certificate(directory, "badweb", hosts, stranger)
        zones = [Zone(directory, f"{name}.example", [
            f"@ IN MX 10 mx.{name}.example.", f"mx IN A {MX}", '_mta-sts IN TXT "v=STSv1; id=1"',
            f"mta-sts IN A {BAD_WEB if name == 'badweb' else WEB}"], signed=False) for name in DOMAINS]
        self.resolver = Unbound(directory, zones, port=53)
        self.postfix = PublicPostfix(directory / "postfix", "static:all")
        table = directory / "sni"
        table.write_text("".join(f"{host} {chain}\n" for host, chain in self.chains.items()))
        (directory / "main.cf").write_text("compatibility_level = 3.6\n")
        subprocess.run(["postmap", "-c", str(directory), "-F", f"hash:{table}"], check=True, capture_output=True)
        self.postfix.extra.update({
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": self.bad_certificate.chain,
            "tls_server_sni_maps": f"hash:{table}",
        })


def own_network():
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (MX, WEB, BAD_WEB):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)


def own_files(directory, root):
    """The system's resolver and its authorities are ours, for libcurl's sake."""
    resolv = directory / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    for ours, theirs in ((resolv, "/etc/resolv.conf"), (root, "/etc/ssl/certs/ca-certificates.crt")):
        subprocess.run(["mount", "--bind", str(ours), str(pathlib.Path(theirs).resolve())], check=True)
    os.environ["SSL_CERT_FILE"] = str(root)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sts")
    own_network()
    built = World(directory)
    own_files(directory, built.root.certificate)
    with built.postfix, built.resolver:
        with PolicyServer(WEB, built.web_certificate) as web, PolicyServer(BAD_WEB, built.bad_certificate) as bad:
            built.web, built.bad = web, bad
            yield built


def publish(world, expiring_s=86400):
    for server in (world.web, world.bad):
        server.policies = {f"mta-sts.{name}.example": policy(name, mode, mx, expiring_s if name == "expiring" else 86400)
                           for name, (_, mode, mx) in DOMAINS.items() if mode}


def relay_of(directory, names):
    settings = {"target": "mx", "recipients": "{any}", "when_up": "accept", "retry_min": '"10s"'}
    return Relay(directory, options={"dns_servers": '{"127.0.0.1:53"}', "reverse_dns": "no", "log_level": "debug"},
                 domains={f"{name}.example": settings for name in names})


def send(relay, name, subject):
    with smtplib.SMTP("127.0.0.1", relay.port, "client.example.net") as client:
        client.sendmail("a@client.example", [f"b@{name}.example"], f"Subject: {subject}\r\n\r\nproof\r\n".encode())


def subjects(world):
    return {line[9:].decode() for text in world.postfix.messages() for line in text.split(b"\n")
            if line.startswith(b"Subject: ")}


def reasons(relay):
    return "\n".join(line for line in relay.log().splitlines() if "destination.down" in line or "session-failed" in line)


@inside
def test_policies(world, tmp_path):
    publish(world)
    right = {"right", "pattern", "testing", "none", "unreachable", "badweb"}
    wrong = {
        "wrong": "the certificate is for mx.other.example, not for mx.wrong.example",
        "untrusted": "mx.untrusted.example[192.0.2.10]:25: TLS handshake: the certificate cannot be trusted",
        "unnamed": "the MTA-STS policy of the domain does not name it",
    }
    with relay_of(tmp_path, DOMAINS.keys() - {"expiring"}) as relay:
        for name in DOMAINS.keys() - {"expiring"}:
            send(relay, name, name)
        wait_for(lambda: right <= subjects(world), f"{right} are delivered")
        for name, reason in wrong.items():
            wait_for(lambda: reason in reasons(relay), f"{name}: {reason}")
        wait_for(lambda: relay.queued() <= len(wrong), "what was delivered has left the queue")
        assert subjects(world) == right
        log = relay.log()
        assert "name mx.right.example, issuer CN=root (the MTA-STS policy of right.example, mode enforce)" in log
        faults = [line for line in log.splitlines() if "outbound.tls-fault" in line]
        assert len(faults) == 1 and "testing.example" in faults[0] and "hostname mismatch" in faults[0]
        connection = UnixConnection(relay.socket)
        connection.request("GET", "/metrics")
        metrics = dict(line.split(" ") for line in connection.getresponse().read().decode().splitlines()
                       if line.startswith("postern_tls_sts_"))
        connection.close()
        assert int(metrics["postern_tls_sts_success_total"]) >= 2
        assert int(metrics["postern_tls_sts_certificate_host_mismatch_total"]) >= 2  # wrong and testing
        assert int(metrics["postern_tls_sts_certificate_not_trusted_total"]) >= 1


@inside
def test_expiry(world, tmp_path):
    """A policy outlives its web server, and a restart; when its time is over there is none."""
    publish(world, expiring_s=10)
    with relay_of(tmp_path, ["expiring"]) as relay:
        send(relay, "expiring", "late")
        wait_for(lambda: "not for mx.expiring.example" in reasons(relay), "the policy is obeyed")
        world.web.policies = {}
        asked = len(world.web.asked)
        relay.stop()
        seen = reasons(relay)
        relay.start()
        wait_for(lambda: reasons(relay) != seen, "it is obeyed after a restart")
        assert reasons(relay).count("not for mx.expiring.example") > seen.count("not for mx.expiring.example")
        assert len(world.web.asked) == asked
        wait_for(lambda: "late" in subjects(world), "the policy has expired")
