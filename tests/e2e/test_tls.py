"""TLS to real peers: each proof is asked of a right one and of wrong ones (RFC 6125, RFC 7672).

One Postfix has a certificate for each host, chosen by SNI; one relay has a domain for each row.
Whoever is right gets the mail, over TLS where that is needed. Whoever is wrong gets none: the mail
stays, and the reason is said. Names, addresses and TLSA records come from zones that a real
validating resolver serves.
"""

import pathlib
import re
import smtplib
import subprocess
import tempfile

import pytest

from harness import BIN, DEADLINE_S, PostfixPrimary, Relay, wait_for
from trust import Certificate, Unbound, Zone

MAIL = b"Subject: %s\r\n\r\nproof\r\n"


class World:
    """Authorities, a Postfix with a certificate for each host, zones, and a resolver."""

    def __init__(self, directory):
        self.directory = directory
        self.root = Certificate(directory, "root", authority=True)
        self.stranger = Certificate(directory, "stranger", authority=True)
        self.postfix = PostfixPrimary(directory / "postfix", "static:all")
        zone = "signed.example"
        named = [f"{name}.{zone}" for name in ("good", "ta")]
        self.certificates = {
            "good": Certificate(directory, "good", [named[0]], self.root),
            "wrong": Certificate(directory, "wrong", ["other.example"], self.root),
            "expired": Certificate(directory, "expired", [f"expired.{zone}"], self.root, expired=True),
            "untrusted": Certificate(directory, "untrusted", [f"untrusted.{zone}"], self.stranger),
            "self": Certificate(directory, "self", [f"self.{zone}"]),
            "ta": Certificate(directory, "ta", [named[1]], self.stranger),
            "taname": Certificate(directory, "taname", ["other.example"], self.stranger),
            "ee": Certificate(directory, "ee", ["other.example"], expired=True),
            "eedigest": Certificate(directory, "eedigest", [f"eedigest.{zone}"]),
            "usage1": Certificate(directory, "usage1", [f"usage1.{zone}"]),
            "badsig": Certificate(directory, "badsig", [f"badsig.{zone}"]),
            "short": Certificate(directory, "short", [f"short.{zone}"]),
        }
        c = self.certificates
        records = {
            "ta": [self.stranger.tlsa(2, 0)],
            "taname": [self.stranger.tlsa(2, 1)],
            "ee": [c["ee"].tlsa(3, 1), "TLSA 3 1 1 " + 64 * "1"],  # the old key's and the new one's
            "eedigest": ["TLSA 3 1 1 " + 64 * "0", "TLSA 3 0 1 " + 64 * "0"],
            "usage1": ["TLSA 1 1 1 " + 64 * "0"],
            "badsig": [c["badsig"].tlsa(3, 1)],
            "short": ["TLSA 3 1 1 0000"],
        }
        port = self.postfix.port
        self.zone = Zone(directory, zone, [f"{name} IN A 127.0.0.1" for name in c] + [
            f"_{port}._tcp.{name} IN {record}" for name, of in records.items() for record in of])
        self.zone.spoil(f"_{port}._tcp.badsig.{zone}.")
        plain = Zone(directory, "plain.example", ["mail IN A 127.0.0.1",
                                                  f"_{port}._tcp.mail IN TLSA 3 1 1 {64 * '0'}"], signed=False)
        broken = Zone(directory, "broken.example", ["mail IN A 127.0.0.1"])
        self.resolver = Unbound(directory, [self.zone, plain, broken])
        broken.anchor.write_text(re.sub(r"[0-9a-f]{64}", 64 * "0", broken.anchor.read_text()))

    def prepare(self):
        table = self.directory / "sni"
        table.write_text("".join(f"{name}.signed.example {c.chain}\n" for name, c in self.certificates.items()))
        subprocess.run(["postmap", "-F", f"texthash:{table}"], check=False, capture_output=True)
        subprocess.run(["postmap", "-c", str(self.directory), "-F", f"hash:{table}"], check=True,
                       capture_output=True)
        self.postfix.extra.update({
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": self.certificates["self"].chain,
            "tls_server_sni_maps": f"hash:{table}",
            "smtpd_tls_loglevel": "1",
        })


@pytest.fixture(scope="module")
def world():
    # Not below pytest's own directory, which each run of pytest closes to Postfix's user again.
    with tempfile.TemporaryDirectory(prefix="postern-") as name:
        directory = pathlib.Path(name)
        (directory / "main.cf").write_text("compatibility_level = 3.6\ndefault_database_type = hash\n")
        world = World(directory)
        world.prepare()
        with world.postfix, world.resolver:
            yield world


def domain_of(world, row):
    host, options = row
    settings = {"target": f'{{"{host}:{world.postfix.port}"}}', "recipients": "{any}", "when_up": "accept",
                "retry_min": '"10s"'}
    settings.update(options)
    return settings


def send(relay, name):
    with smtplib.SMTP("127.0.0.1", relay.port, "client.example.net") as client:
        client.sendmail("a@client.example", [f"b@{name}"], MAIL % name.encode())


def judge(world, tmp_path, right, wrong):
    """right: name -> (host, options). wrong: the same, and a part of the reason."""
    rows = {**right, **{name: row[:2] for name, row in wrong.items()}}
    domains = {f"{name}.example": domain_of(world, row) for name, row in rows.items()}
    options = {"dns_servers": f'{{"127.0.0.1:{world.resolver.port}"}}', "reverse_dns": "no",
               "log_level": "debug"}
    with Relay(tmp_path, options=options, domains=domains) as relay:
        for name in domains:
            send(relay, name)

        def delivered():
            text = b"".join(world.postfix.messages())
            return {name for name in rows if b"Subject: %s.example\n" % name.encode() in text}

        wait_for(lambda: set(right) <= delivered(), f"{set(right)} are delivered")
        for name, (host, _, reason) in wrong.items():
            wait_for(lambda: reason in why(relay, f"{name}.example", host), f"{name}: {reason}")
        wait_for(lambda: relay.queued() <= len(wrong), "what was delivered has left the queue")
        assert delivered() == set(right)
        assert relay.queued() == len(wrong)
        assert "parked" not in relay.log() and "delivery.refused" not in relay.log()
        return relay.log()


def why(relay, name, host):
    """What was said about the destination of that domain."""
    return "\n".join(line for line in relay.log().splitlines() if (name in line or f"{host}:" in line)
                     and ("destination.down" in line or "session-failed" in line))


def test_resumption(world, tmp_path):
    """A session that goes on is as well proven as when it began; others' sessions are not touched."""
    target = domain_of(world, ("ee.signed.example", {"tls": "dane-only", "messages_per_session": 1}))
    other = domain_of(world, ("ee.signed.example", {"tls": "encrypt", "messages_per_session": 1}))
    options = {"dns_servers": f'{{"127.0.0.1:{world.resolver.port}"}}', "reverse_dns": "no", "log_level": "debug",
               "workers": 1}
    with Relay(tmp_path, options=options, domains={"one.example": target, "two.example": other}) as relay:
        for name in ("one", "one", "one", "two"):
            send(relay, f"{name}.example")
            wait_for(lambda: relay.queued() == 0, "it is delivered")
        tls = [line for line in relay.log().splitlines() if " outbound.tls " in line]
        one = [line for line in tls if "queue=one.example" in line]
        two = [line for line in tls if "queue=two.example" in line]
        assert len(one) >= 3 and "TLSA 3 1 1 (" in one[0], one
        assert all("TLSA 3 1 1, resumed (" in line for line in one[1:]), one
        assert "nothing proven (" in two[0] and not any("TLSA" in line for line in two), two


def test_verify_and_fingerprint(world, tmp_path):
    root = {"tls_ca_file": f'"{world.root.certificate}"'}
    checked = {"tls": "verify", **root}
    own = world.certificates["self"]
    log = judge(world, tmp_path, {
        "right": ("good.signed.example", checked),
        "othername": ("wrong.signed.example", {**checked, "tls_names": "{nobody.example, other.example}"}),
        "anybody": ("self.signed.example", {"tls": "encrypt"}),
        "whole": ("self.signed.example",
                  {"tls": "fingerprint", "tls_fingerprints": f'{{"{own.digest(0)}"}}'}),
        "key": ("expired.signed.example",
                {"tls": "fingerprint",
                 "tls_fingerprints": f'{{"{64 * "0"}", "{world.certificates["expired"].digest(1).upper()}"}}'}),
        "may": ("expired.signed.example", {"tls": "may"}),
    }, {
        "wrongname": ("wrong.signed.example", checked, "the certificate is for other.example, not for wrong.signed.example"),
        "expired": ("expired.signed.example", checked, "certificate has expired"),
        "untrusted": ("untrusted.signed.example", checked, "self-signed certificate in certificate chain"),
        "selfsigned": ("self.signed.example", checked, "self-signed certificate"),
        "noroot": ("good.signed.example", {"tls": "verify"}, "cannot be trusted"),
        "nofile": ("good.signed.example", {"tls": "verify", "tls_ca_file": '"/nonexistent.pem"'},
                   "cannot use the authorities in /nonexistent.pem"),
        "badprint": ("self.signed.example", {"tls": "fingerprint", "tls_fingerprints": f'{{"{64 * "0"}"}}'},
                     f"none of the fingerprints; its own is {own.digest(0)}, that of its key {own.digest(1)}"),
    })
    assert "name good.signed.example, issuer CN=root" in log
    assert f"fingerprint {own.digest(0)} of the certificate" in log


def test_dane(world, tmp_path):
    dane, only = {"tls": "dane"}, {"tls": "dane-only"}
    log = judge(world, tmp_path, {
        "ee": ("ee.signed.example", only),  # neither its name nor its date counts
        "ta": ("ta.signed.example", only),
        "none": ("good.signed.example", dane),
        "usage1": ("usage1.signed.example", dane),  # encrypted, nothing is proven
        "short": ("short.signed.example", dane),
        "insecure": ("mail.plain.example", dane),  # nobody has signed those records
    }, {
        "digest": ("eedigest.signed.example", dane, "none of 2 usable TLSA records matches the certificate"),
        "taname": ("taname.signed.example", dane, "the certificate is for other.example, not for taname.signed.example"),
        "badsig": ("badsig.signed.example", dane, "the lookup of its TLSA records failed"),
        "onlybadsig": ("badsig.signed.example", only, "the lookup of its TLSA records failed"),
        "onlynone": ("good.signed.example", only, "tls = dane-only, and it has no TLSA records"),
        "onlyusage1": ("usage1.signed.example", only, "none of its TLSA records can be used"),
        "onlyinsecure": ("mail.plain.example", only, "not DNSSEC-validated"),
        "bogus": ("mail.broken.example", dane, "the lookup of its addresses failed"),
    })
    assert "TLSA 3 1 1" in log and "TLSA 2 0 1" in log


def test_files_are_checked(world, tmp_path):
    """Keys that others may read, certificates that have expired or do not fit, files that are not there."""
    loose, expired = world.certificates["good"], world.certificates["expired"]
    loose.key.chmod(0o644)
    expired.key.chmod(0o600)
    login = tmp_path / "login"
    login.write_text("user\nsecret\n")
    login.chmod(0o640)
    rows = {
        "loose": ({"tls_certificate": f'"{loose.certificate}"', "tls_key": f'"{loose.key}"'},
                  [f"tls_key {loose.key}: others than its owner may read or change it (mode 644)",
                   f"the certificate in {loose.certificate} expires in 4 days"]),
        "old": ({"tls_certificate": f'"{expired.certificate}"', "tls_key": f'"{expired.key}"'},
                [f"the certificate in {expired.certificate} has expired"]),
        "unfit": ({"tls_certificate": f'"{loose.certificate}"', "tls_key": f'"{expired.key}"'},
                  [f"cannot use the key in {expired.key} with the certificate in {loose.certificate}"]),
        "login": ({"credentials": f'"{login}"'}, [f"credentials {login}: others than its owner may read"]),
        "gone": ({"tls_ca_file": '"/nonexistent"'}, ["cannot use the authorities in /nonexistent"]),
    }
    domains = {f"{name}.example": domain_of(world, ("127.0.0.1", settings)) for name, (settings, _) in rows.items()}
    with Relay(tmp_path, domains=domains) as relay:
        checked = subprocess.run([str(BIN / "posternd"), "-c", str(tmp_path / "postern.conf"), "--check"],
                                 capture_output=True, text=True, timeout=DEADLINE_S)
        assert checked.returncode == 0, checked.stderr  # they are warnings
        for name, (_, sentences) in rows.items():
            said = relay.cli("domain", "check", f"{name}.example", check=False).stdout
            for sentence in sentences:
                assert f"{name}.example.conf: warning: {sentence}" in checked.stderr or \
                    f"{name}.example.conf: warning: tls_ca_file: {sentence}" in checked.stderr, checked.stderr
                assert sentence in " ".join(said.split()), said
        assert "secret" not in checked.stderr
