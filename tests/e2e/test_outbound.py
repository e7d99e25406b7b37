"""Queues that no file in domains.d defines: the world's domains, and smart hosts."""

import re

import pytest
from dnslib.server import DNSLogger, DNSServer

from conftest import domain
from harness import Primary, Relay, free_port, wait_for
from test_hold_and_flush import send
from test_route import ZONE, Names


@pytest.fixture
def names():
    port = free_port()
    server = DNSServer(Names(ZONE), port=port, address="127.0.0.1", logger=DNSLogger(log="-request,-reply"))
    server.start_thread()
    yield port
    server.stop()


def relay_with(tmp_path, primary, names, smart_host=None):
    relay = Relay(tmp_path, options={"dns_servers": f'{{"127.0.0.1:{names}"}}'},
                  domains={"example.org": domain(primary.port)})
    relay.extra = "outbound { mta_sts = no }\n" + (smart_host or "")
    return relay


def forward(relay, primary, to):
    """A message that the primary has refused goes to somebody else."""
    primary.refuse = {"user@example.org": "550 5.1.1 no such user"}
    send(relay, 1)
    wait_for(lambda: relay.status()["queue"]["parked"] == 1, "it is parked")
    assert relay.api("POST", "/v1/queue/forward", {"address": to, "all": True})[0] == 200


def queue(relay, name):
    found = [row for row in relay.get("/v1/domains")["domains"] if row["name"] == name]
    return found[0] if found else None


def test_a_domain_that_takes_no_mail(tmp_path, primary, names):
    with primary, relay_with(tmp_path, primary, names) as relay:
        forward(relay, primary, "x@null.example")
        wait_for(lambda: (queue(relay, "out:null.example") or {}).get("parked") == 1, "it is refused")
        [row] = relay.messages(parked="true")
        assert "556 5.1.10" in row["last_reply"], row
        destination = relay.get("/v1/destinations/out:null.example")
        assert destination["parole"] is False and destination["replies"]["5xx"] == 1
        assert relay.cli("probe", "null.example", check=False).returncode == 1
        # Nobody was reached: nobody came back, nobody is up.
        log = relay.log()
        assert "556 5.1.10" in log
        assert not re.search(r"destination\.(ramp|up) destination=.*null\.example", log), log
        assert destination["last_success"] is None


def test_a_domain_that_takes_no_mail_any_more(tmp_path, primary):
    port = free_port()
    resolver = Names("$TTL 1\ngoing.example. IN MX 10 here.example.\nhere.example. IN A 127.0.0.1\n")
    server = DNSServer(resolver, port=port, address="127.0.0.1", logger=DNSLogger(log="-request,-reply"))
    server.start_thread()
    with primary, relay_with(tmp_path, primary, port) as relay:
        forward(relay, primary, "x@going.example")
        wait_for(lambda: (queue(relay, "out:going.example") or {}).get("state") == "down", "there is nowhere to send it")
        resolver.zone = Names("$TTL 1\ngoing.example. IN MX 0 .\n").zone
        wait_for(lambda: queue(relay, "out:going.example").get("parked") == 1, "it does not wait for ever")
        assert "556 5.1.10" in relay.messages(parked="true")[0]["last_reply"]
        log = relay.log()
        assert not re.search(r"destination\.(ramp|up) destination=.*going\.example", log), log
    server.stop()


def test_a_loop_is_no_verdict(tmp_path, primary, names):
    with primary, relay_with(tmp_path, primary, names) as relay:
        forward(relay, primary, "x@ours.example")
        waiting = wait_for(lambda: queue(relay, "out:ours.example"), "it waits")
        wait_for(lambda: queue(relay, "out:ours.example")["state"] == "down", "there is nowhere to send it")
        assert waiting["messages"] == 1 and queue(relay, "out:ours.example")["parked"] == 0


def test_a_smart_host_goes_and_comes(tmp_path, primary, names):
    host = Primary()
    smart_host = f'smart_host "main" {{ target = {{"127.0.0.1:{host.port}"}} }}\n'
    with primary, host, relay_with(tmp_path, primary, names, smart_host) as relay:
        host.stop()
        forward(relay, primary, "x@world.example")
        assert wait_for(lambda: queue(relay, "smarthost:main"), "it waits")["defined"]
        plain = relay.extra
        relay.extra = plain.replace(smart_host, "")
        relay.write_conf()
        relay.cli("reload")
        assert not queue(relay, "smarthost:main")["defined"]
        host.start()
        relay.cli("flush", "--all")
        assert host.count() == 0 and relay.queued() == 1
        relay.extra = plain
        relay.write_conf()
        relay.cli("reload")
        wait_for(lambda: host.count() == 1, "it arrives")
        assert host.messages[0][1] == ["x@world.example"]
        assert re.search(rb"Subject: 1", host.messages[0][2])
        wait_for(lambda: relay.queued() == 0, "nothing waits")
