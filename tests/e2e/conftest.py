"""Fixtures: a relay for example.org whose primary is down until a test starts it."""

import pytest

from harness import Primary, Relay


def domain(port, **options):
    settings = {"target": f'{{"127.0.0.1:{port}"}}', "recipients": "{any}", "when_up": "accept"}
    settings.update(options)
    return settings


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    yield
    while Relay.started:
        relay = Relay.started.pop()
        if relay.running():
            relay.kill()


@pytest.fixture
def primary():
    server = Primary()
    yield server
    server.stop()


@pytest.fixture
def relay(tmp_path, primary):
    with Relay(tmp_path, domains={"example.org": domain(primary.port)}) as running:
        yield running
