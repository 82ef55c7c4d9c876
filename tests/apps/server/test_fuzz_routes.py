"""Every route, with requests that nobody would send: never a failure of the server; `make test-clients` sends more."""

import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from route_fuzzer import fuzzed_server, requests, routes, status_of

EXAMPLES = 250


@pytest.fixture(scope="module")
def server(tmp_path_factory, bundles):
    with fuzzed_server(tmp_path_factory.mktemp("fuzzed"), bundles) as running:
        yield running


def test_no_request_is_a_failure_of_the_server(server, caplog):
    port, app = server
    known = routes(app)
    assert len(known) > 40

    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.data())
    def send(data):
        request = data.draw(requests(known))
        status = status_of(port, request)
        assert status is None or status < 500, (status, request[:2000])

    with caplog.at_level(logging.CRITICAL):
        send()
    assert status_of(port, b"GET /info/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n") == 200
