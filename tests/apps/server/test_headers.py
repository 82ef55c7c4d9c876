"""What every answer tells a browser: which frames may hold it, what may run in it, and that its type is its type."""

import pytest
from tiny_app import tiny_servers


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with tiny_servers(tmp_path_factory.mktemp("headers")) as both:
        yield both


ANSWERS = [
    ("/", 200),
    ("/info/", 200),
    ("/missing", 404),
    ("/datastore/image?image=case0", 200),
    ("/datastore/image?image=missing", 404),
    ("/proxy/dicom/qido/studies", 404),
    ("/ohif/", 200),
    ("/ohif/app-config.js", 200),
]


@pytest.mark.parametrize(("path", "status"), ANSWERS)
def test_every_answer_says_what_a_browser_must_not_do(servers, path, status):
    answer = servers.ours.get(path)
    assert answer.status_code == status
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["content-security-policy"].split(";"))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    if path.startswith("/ohif"):
        assert policy["frame-ancestors"] == policy["default-src"] == policy["base-uri"] == "'self'"
        assert policy["object-src"] == "'none'"
        assert not any("http" in sources or "*" in sources for sources in policy.values())
        assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    else:
        assert policy == {"default-src": "'none'", "frame-ancestors": "'none'", "sandbox": ""}
        assert answer.headers["x-frame-options"] == "DENY"


def test_refusals_before_any_route_say_it_too(servers):
    refused = servers.ours.get("/info/", headers={"Host": "evil.example.org"})
    assert (refused.status_code, refused.headers["x-frame-options"]) == (403, "DENY")
    broken = servers.ours.post("/train/tiny", content=b"{")
    assert (broken.status_code, broken.headers["x-content-type-options"]) == (422, "nosniff")
