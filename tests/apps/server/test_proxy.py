"""The proxy's addresses: DICOMweb resources pass, nothing else does, and the PACS never gets a client's credentials."""

import pytest
from fake_pacs import pacs  # noqa: F401  a fixture
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from landmark_app.lib.core.answers import answer_failures
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.server.auth import Guard
from landmark_app.lib.server.proxy import Pacs, proxy_router

PACS = Pacs("http://pacs:8042/dicom-web", wado="w")
INSTANCE = "studies/1.2/series/1.3/instances/1.4"


@pytest.mark.parametrize(
    ("service", "path", "method", "url"),
    [
        ("qido", "studies", "GET", "studies"),
        ("qido", "studies/1.2/series", "GET", "studies/1.2/series"),
        ("qido", "studies/1.2/series/1.3/instances", "GET", "studies/1.2/series/1.3/instances"),
        ("qido", "studies/1.2/series/1.3/metadata", "GET", "w/studies/1.2/series/1.3/metadata"),
        ("wado", "studies/1.2", "GET", "w/studies/1.2"),
        ("wado", "studies/1.2/series/1.3/metadata", "GET", "w/studies/1.2/series/1.3/metadata"),
        ("wado", f"{INSTANCE}/frames/1", "GET", f"w/{INSTANCE}/frames/1"),
        ("wado", f"{INSTANCE}/frames/1,2/rendered", "GET", f"w/{INSTANCE}/frames/1,2/rendered"),
        ("wado", f"{INSTANCE}/bulk/00420011/1", "GET", f"w/{INSTANCE}/bulk/00420011/1"),
        ("stow", "studies", "POST", "studies"),
    ],
)
def test_resources_pass(service, path, method, url):
    assert PACS.url(service, path, method) == f"http://pacs:8042/dicom-web/{url}"


ESCAPES = [
    "",
    "..",
    "../system",
    "../../instances",
    "studies/..",
    "studies/../../system",
    "studies/1.2/series/..",
    "studies/../series",
    "studies/./series",
    "%2e%2e/system",
    "studies/%2e%2e",
    "%252e%252e/system",
    "studies//series",
    "/studies",
    "studies/",
    "//evil.example.org/studies",
    "studies/1.2\\..\\x",
    "studies;a",
    "studies?x",
    "studies#x",
    "studies\n",
    "studies/1.2/archive",
    "system",
    f"{INSTANCE}/bulk/../../../../../../system",
    "studies/１.2",
]


@pytest.mark.parametrize("path", ESCAPES)
@pytest.mark.parametrize("service", ["qido", "wado"])
def test_everything_else_does_not(service, path):
    with pytest.raises(ClientError) as refused:
        PACS.url(service, path, "GET")
    assert refused.value.status == 404


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(
        st.sampled_from(["studies", "series", "instances", "metadata", "..", ".", "1.2", "%2e", "", "x"]), max_size=7
    )
)
def test_a_path_never_climbs(parts):
    for service in ("qido", "wado"):
        try:
            url = PACS.url(service, "/".join(parts), "GET")
        except ClientError:
            continue
        assert url.startswith("http://pacs:8042/dicom-web/")
        assert not {"", ".", ".."} & set(url.removeprefix("http://").split("/"))
        assert "%" not in url


@pytest.mark.parametrize(("service", "method"), [("qido", "POST"), ("wado", "POST"), ("stow", "GET")])
def test_methods_belong_to_services(service, method):
    with pytest.raises(ClientError) as refused:
        PACS.url(service, "studies/1.2" if service != "qido" else "studies", method)
    assert refused.value.status == 405


def client(studies):
    app = FastAPI()
    answer_failures(app)
    app.include_router(proxy_router(studies))
    app.add_middleware(Guard, tokens=None, insecure=False, origins=())
    return TestClient(app, base_url="http://127.0.0.1", client=("127.0.0.1", 1), follow_redirects=False)


def test_the_answer_of_the_pacs_comes_back(pacs):  # noqa: F811
    url, asked = pacs
    headers = {"Accept": "application/dicom+json", "Authorization": "Bearer secret", "Cookie": "c=1", "X-Other": "1"}
    query = "limit=101&00080020=2020-2021&PatientName=*M%26x*&%2e%2e=1"
    answer = client(url).get(f"/proxy/dicom/qido/studies?{query}", headers=headers)
    assert (answer.status_code, answer.json()) == (200, [{"a": 1}])
    assert "set-cookie" not in answer.headers
    [(method, path, sent)] = asked
    assert (method, path) == ("GET", "/root/studies?limit=101&00080020=2020-2021&PatientName=%2AM%26x%2A")
    assert sent["accept"] == "application/dicom+json"
    assert not {"authorization", "cookie", "x-other"} & set(sent)


def test_instances_are_stored(pacs):  # noqa: F811
    url, asked = pacs
    kind = "multipart/related; type=application/dicom; boundary=x"
    answer = client(url).post("/proxy/dicom/stow/studies", content=b"--x--", headers={"Content-Type": kind})
    assert (answer.status_code, answer.content) == (200, b"--x--")
    assert (asked[0][0], asked[0][1], asked[0][2]["content-type"]) == ("POST", "/root/studies", kind)


def test_redirects_are_not_followed(pacs):  # noqa: F811
    url, asked = pacs
    assert client(url).get("/proxy/dicom/wado/studies/1.9").status_code == 502
    assert len(asked) == 1


@pytest.mark.parametrize("path", ["%2e%2e/system", "%252e%252e/system", "studies/%2e%2e/%2e%2e/system", "..%2fsystem"])
@pytest.mark.parametrize("service", ["qido/", "wado/", "stow/", ""])
def test_escapes_never_reach_the_pacs(pacs, service, path):  # noqa: F811
    url, asked = pacs
    answer = client(url).get(f"/proxy/dicom/{service}{path}")
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]
    assert asked == []


def test_without_a_pacs_there_is_no_proxy(tmp_path):
    assert client(str(tmp_path)).get("/proxy/dicom/qido/studies").status_code == 404
    assert client("http://127.0.0.1:9/root").get("/proxy/dicom/qido/studies").status_code == 502


def test_other_methods_are_refused(pacs):  # noqa: F811
    for method in ("PUT", "DELETE", "PATCH"):
        assert client(pacs[0]).request(method, "/proxy/dicom/wado/studies/1.2").status_code == 405


@pytest.mark.parametrize(
    "kind",
    [
        "application/dicom",
        "application/dicom+json; charset=utf-8",
        'multipart/related; type="application/octet-stream"; boundary=x',
        "image/jpeg",
        "application/octet-stream",
    ],
)
def test_types_of_dicomweb_are_passed_on(pacs, kind):  # noqa: F811
    answer = client(pacs[0]).get("/proxy/dicom/wado/studies/1.2", params={"type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)


@pytest.mark.parametrize(
    "kind",
    [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "",
        "image/svg+xml",
        "application/xhtml+xml",
        "text/xml",
        "application/pdf",
        "text/javascript",
        "image/jpeg, text/html",
        "multipart/mixed",
    ],
)
def test_a_page_of_the_pacs_is_not_passed_on(pacs, kind):  # noqa: F811
    asked = client(pacs[0])
    answer = asked.get("/proxy/dicom/wado/studies/1.2", params={"type": kind or " "})
    assert (answer.status_code, list(answer.json())) == (502, ["error"])
    for status, shown in ((404, 404), (409, 409), (500, 502), (401, 502), (403, 502)):
        answer = asked.get("/proxy/dicom/wado/studies/1.2", params={"type": kind or " ", "status": status})
        assert (answer.status_code, list(answer.json())) == (shown, ["error"])


def test_a_failure_in_words_of_dicomweb_is_passed_on(pacs):  # noqa: F811
    answer = client(pacs[0]).get("/proxy/dicom/qido/studies?status=409")
    assert (answer.status_code, answer.json()) == (409, [{"a": 1}])


def test_a_pacs_that_does_not_answer_holds_up_nobody_else(tmp_path):
    """Its requests have threads of their own, as `/info/` has."""
    import socket
    import threading
    import time

    from tiny_app import tiny_servers

    with socket.create_server(("127.0.0.1", 0)) as silent, tiny_servers(tmp_path) as servers:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/root"
        with servers.client(servers.server()) as waiting:
            pass
        asked = client(address)
        threads = [
            threading.Thread(target=asked.get, args=["/proxy/dicom/qido/studies"], daemon=True) for _ in range(60)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        begin = time.monotonic()
        assert waiting.get("/info/").status_code == 200
        assert time.monotonic() - begin < 20
