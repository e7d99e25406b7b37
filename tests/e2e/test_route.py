"""postern route: what would happen to mail for an address, with a name server of the test's."""

import pytest
from dnslib import RCODE
from dnslib.server import DNSLogger, DNSServer
from dnslib.zoneresolver import ZoneResolver

from conftest import domain
from harness import Relay, free_port

ZONE = """
$TTL 300
example.net.       IN MX 20 mx2nd.example.net.
example.net.       IN MX 10 mx1.example.net.
mx1.example.net.   IN A 192.0.2.1
mx1.example.net.   IN AAAA 2001:db8::1
mx2nd.example.net. IN A 192.0.2.2
backup.example.net. IN A 192.0.2.9
null.example.      IN MX 0 .
ours.example.      IN MX 10 backup.example.net.
local.example.     IN MX 10 here.example.
here.example.      IN A 127.0.0.1
plain.example.     IN A 192.0.2.5
smart.example.     IN A 192.0.2.25
"""


class Names(ZoneResolver):
    """A name that has other records has not this one, but it is there."""

    def resolve(self, request, handler):
        reply = super().resolve(request, handler)
        if any(name == request.q.qname for name, _, _ in self.zone):
            reply.header.rcode = RCODE.NOERROR
        return reply


@pytest.fixture
def routing(tmp_path):
    port = free_port()
    server = DNSServer(Names(ZONE), port=port, address="127.0.0.1", logger=DNSLogger(log="-request,-reply"))
    server.start_thread()
    relay = Relay(
        tmp_path,
        options={"dns_servers": f'{{"127.0.0.1:{port}"}}'},
        domains={"example.org": domain(port)},
    )
    relay.extra = ('smart_host "main" { target = {"smart.example:587"}\n'
                   '  senders = {"@example.com"}\n}\n'
                   'outbound { mta_sts = no sessions = 3 }\n')
    with relay:
        yield relay
    server.stop()


def route(relay, address, *words):
    return relay.json("route", address, *words)


def hosts(answer):
    return [(s["host"], s["port"], s["addresses"], s["tls"]) for s in answer["steps"] if s["kind"] == "host"]


def test_the_world_by_its_mx_records(routing):
    answer = route(routing, "u@example.net")
    assert (answer["queue"], answer["kind"]) == ("out:example.net", "outbound")
    assert answer["limits"]["sessions"] == 3
    assert hosts(answer) == [
        ("mx1.example.net", 25, ["2001:db8::1", "192.0.2.1"], "may"),
        ("mx2nd.example.net", 25, ["192.0.2.2"], "may"),
    ]
    assert hosts(route(routing, "u@plain.example")) == [("plain.example", 25, ["192.0.2.5"], "may")]


def test_relay_domains_and_smart_hosts(routing):
    assert route(routing, "u@example.org")["queue"] == "example.org"
    answer = route(routing, "u@example.net", "--from", "a@example.com")
    assert answer["queue"] == "smarthost:main"
    assert "the sender @example.com" in answer["why"]
    assert hosts(answer) == [("smart.example", 587, ["192.0.2.25"], "may")]


def test_what_is_refused(routing):
    done = routing.cli("route", "u@null.example", check=False)
    assert done.returncode == 1
    assert "null MX" in done.stdout
    for address in ("u@[192.0.2.1]", "u@backup.example.net", "u@localhost"):
        assert routing.cli("route", address, check=False).returncode == 1


def test_loops_and_loopback_are_passed_over(routing):
    for address, why in (("u@ours.example", "we are its best MX host ourselves"),
                         ("u@local.example", "has no address that can be connected to"),
                         ("u@nowhere.example", "")):
        answer = route(routing, address)
        assert not hosts(answer)
        assert why in " ".join(s.get("text", "") for s in answer["steps"])


def test_as_text(routing):
    text = routing.cli("route", "u@example.net").stdout
    assert "queue         out:example.net\n" in text
    assert "  1  mx1.example.net port 25: 2001:db8::1, 192.0.2.1\n" in text
    assert "     TLS may: out:example.net has tls = dane, and the host no TLSA records\n" in text
