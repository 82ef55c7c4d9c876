"""Thousands of requests that nobody would send, over every route: no failure of the server, no growth of its memory."""

import gc
from collections import Counter

import pytest

pytest.importorskip("monailabel")

from app_tools import write_fixed_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from route_fuzzer import fuzzed_server, requests, routes, status_of

psutil = pytest.importorskip("psutil")  # MONAI Label needs it

ROUNDS, EXAMPLES = 6, 700
# What a round may leave: fragments of the heap, caches of libraries. A leak of the bodies alone would be more.
GROWTH = 64 * 2**20
INFO = b"GET /info/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def test_no_failure_and_no_growth(tmp_path):
    write_fixed_bundle(tmp_path / "bundles/head")
    memory, statuses = [], Counter()
    with fuzzed_server(tmp_path / "server", tmp_path / "bundles") as (port, app):
        known = routes(app)

        @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def send(data):
            request = data.draw(requests(known))
            status = status_of(port, request)
            statuses[status] += 1
            assert status is None or status < 500, (status, request[:3000])

        for _ in range(ROUNDS):
            send()
            gc.collect()
            memory.append(psutil.Process().memory_info().rss)
        assert status_of(port, INFO) == 200
    print(dict(statuses), [f"{one / 2**20:.0f} MB" for one in memory])
    # Everything was reached, not only the first check.
    assert {200, 400, 404, 405, 422} <= statuses.keys()
    assert memory[-1] - memory[1] < GROWTH
