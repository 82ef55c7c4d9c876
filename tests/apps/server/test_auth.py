"""Tokens, roles, and who may send requests at all."""

import base64

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from landmark_app.lib.core.answers import answer_failures
from landmark_app.lib.server.auth import Account, Guard, Role, credentials, needs, read_tokens, sign_in
from landmark_app.lib.server.routes_auth import auth_router

from auto_config.running.exposure import exposure_problem, names_this_machine

ANNA, TIM, ADA = "a" * 20, "t" * 20, "d" * 20
FILE = f"# accounts\nanna annotate {ANNA}\n\ntim TRAIN {TIM}\nada admin {ADA}\n"


@pytest.fixture
def tokens(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(FILE)
    return read_tokens(path)


def client(tokens, *, insecure=False, origins=(), host="127.0.0.1", url="http://127.0.0.1:8000"):
    """A client of a server with a route for each role."""
    app = FastAPI()
    answer_failures(app)
    app.include_router(auth_router(tokens))
    for role in Role:
        app.add_api_route(f"/{role.name}", lambda: {}, methods=["GET", "POST"], dependencies=[Depends(needs(role))])
    app.add_middleware(Guard, tokens=tokens, insecure=insecure, origins=origins)
    return TestClient(app, base_url=url, client=(host, 4711), raise_server_exceptions=False)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_tokens_are_read(tokens):
    assert tokens.account(ANNA) == Account("anna", Role.ANNOTATE)
    assert tokens.account(TIM) == Account("tim", Role.TRAIN)
    assert [tokens.account(wrong) for wrong in ("", ANNA[:-1], ANNA + "a", "anna", "ä")] == [None] * 5


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "empty"),
        ("# nobody\n", "empty"),
        ("anna annotate\n", "line 1: 2 words"),
        (f"\nanna boss {ANNA}\n", "line 2: unknown role boss"),
        ("anna annotate short\n", "line 1: a token has 20 or more"),
        (f"anna annotate {ANNA}\nbob train {ANNA}\n", "line 2: this token is a duplicate"),
    ],
)
def test_a_wrong_file_of_tokens_is_named_and_no_token_quoted(tmp_path, content, problem):
    path = tmp_path / "tokens"
    path.write_text(content)
    with pytest.raises(ValueError, match=problem) as error:
        read_tokens(path)
    assert str(path) in str(error.value)
    assert ANNA not in str(error.value)
    with pytest.raises(ValueError, match="cannot be read"):
        read_tokens(tmp_path / "missing")


def test_credentials_of_headers():
    basic = base64.b64encode(b"anna:" + ANNA.encode()).decode()
    assert credentials(f"Bearer {ANNA}") == (None, ANNA)
    assert credentials(f"bearer {ANNA}") == (None, ANNA)
    assert credentials(f"Basic {basic}") == ("anna", ANNA)
    wrong = (None, "", "Bearer", "Bearer ", "Basic !!", "Basic " + base64.b64encode(b"x").decode(), "Digest x", ANNA)
    assert [credentials(one) for one in wrong] == [None] * len(wrong)


def test_a_name_must_be_the_tokens_own(tokens):
    assert sign_in(tokens, "anna", ANNA) == sign_in(tokens, None, ANNA) == Account("anna", Role.ANNOTATE)
    assert sign_in(tokens, "tim", ANNA) is None


def test_each_role_may_what_those_before_it_may(tokens):
    asked = client(tokens)
    allowed = {
        token: [asked.post(f"/{role.name}", headers=bearer(token)).status_code for role in Role]
        for token in (ANNA, TIM, ADA)
    }
    assert allowed == {ANNA: [200, 403, 403], TIM: [200, 200, 403], ADA: [200, 200, 200]}
    refused = asked.get("/TRAIN", headers=bearer(ANNA))
    assert refused.json() == {"error": "anna has the role annotate; this needs the role train"}


def test_without_a_token_nothing_is_told(tokens):
    asked = client(tokens)
    for headers in ({}, bearer("wrong" * 5), {"Authorization": "Basic x"}):
        for path in ("/ANNOTATE", "/missing", "/auth/token/valid"):
            answer = asked.get(path, headers=headers)
            assert (answer.status_code, list(answer.json())) == (401, ["error"])
            assert answer.headers["www-authenticate"].startswith("Basic ")


def test_with_tokens_other_machines_are_answered(tokens):
    far = client(tokens, host="10.0.0.7", url="http://scans.example.org")
    assert far.get("/ANNOTATE", headers=bearer(ANNA)).status_code == 200


def test_without_tokens_only_this_machine_is_answered():
    assert client(None).post("/ADMIN").status_code == 200
    assert client(None, host="::1", url="http://[::1]:8000").post("/ADMIN").status_code == 200
    assert client(None, url="http://localhost:8000").post("/ADMIN").status_code == 200
    assert client(None, host="10.0.0.7").post("/ADMIN").status_code == 403
    assert client(None, host="10.0.0.7", insecure=True).post("/ADMIN").status_code == 200
    # A web page whose DNS entry was turned to this machine.
    assert client(None, url="http://evil.example.org:8000").get("/ADMIN").status_code == 403


@pytest.mark.parametrize(
    "origin", ["https://evil.example.org", "null", "http://127.0.0.1:9000", "http://localhost:8000"]
)
def test_pages_of_other_origins_change_nothing(origin):
    asked = client(None)
    answer = asked.post("/ANNOTATE", headers={"Origin": origin})
    assert answer.status_code == 403
    assert "cors_origins" in answer.json()["error"]
    assert client(None, origins=[origin]).post("/ANNOTATE", headers={"Origin": origin}).status_code == 200
    assert asked.post("/ANNOTATE", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200


def test_the_plugin_signs_in(tokens):
    """The way of MONAI Label's client: ask whether, fetch a token, check it."""
    asked = client(tokens)
    assert asked.get("/auth/").json()["enabled"] is True
    wrong = asked.post("/auth/token", data={"username": "anna", "password": TIM, "grant_type": "password"})
    assert wrong.status_code == 401
    answer = asked.post("/auth/token", data={"username": "anna", "password": ANNA, "grant_type": "password"})
    assert answer.json() == {"access_token": ANNA, "token_type": "bearer"}
    valid = asked.get("/auth/token/valid", headers=bearer(ANNA))
    assert valid.json() == {"username": "anna", "roles": ["annotate"]}
    assert client(None).get("/auth/").status_code == 404


def test_the_rule_for_hosts(tmp_path):
    for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        assert exposure_problem(host, None, False) is None
    for host in ("0.0.0.0", "::", "10.0.0.7", "scans.example.org"):
        assert "--tokens" in exposure_problem(host, None, False)
        assert exposure_problem(host, tmp_path / "tokens", False) is None
        assert exposure_problem(host, None, True) is None
    assert names_this_machine("127.0.0.1:8000")
    assert names_this_machine("[::1]:8000")
    assert not names_this_machine("")
    assert not names_this_machine("127.0.0.1.example.org")
