"""Sessions: few, of each account fewer, together no larger than allowed, and over in time."""

import json
import threading

import pytest
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.server.sessions import BoundedSessions
from monailabel.utils.sessions import Sessions
from tiny_app import tiny_servers, write_image


@pytest.fixture
def sessions(tmp_path):
    return Sessions(str(tmp_path / "sessions"))


def sent(tmp_path, size=100):
    path = tmp_path / "sent.nii.gz"
    path.write_bytes(b"x" * size)
    return path


def refused(bounded, sessions, path, **keywords):
    with pytest.raises(ClientError) as error:
        bounded.add(sessions, path, **keywords)
    return error.value.status


def test_each_account_and_all_together(sessions, tmp_path):
    bounded = BoundedSessions(most=3, each=2, max_bytes=10**6)
    first = bounded.add(sessions, sent(tmp_path), account="anna")
    bounded.add(sessions, sent(tmp_path), account="anna")
    assert refused(bounded, sessions, sent(tmp_path), account="anna") == 429
    bounded.add(sessions, sent(tmp_path), account="tim")
    assert refused(bounded, sessions, sent(tmp_path), account="tim") == 429
    assert sent(tmp_path).exists()
    # What is sent with an inference is gone with it, and does not count.
    brief = bounded.add(sessions, sent(tmp_path), brief=True)
    sessions.remove_session(brief.name)
    sessions.remove_session(first.name)
    bounded.add(sessions, sent(tmp_path), account="anna")
    # After a restart they are still there, whosever they are.
    again = Sessions(sessions.store_path)
    assert refused(BoundedSessions(3, 2, 10**6), again, sent(tmp_path), account="anna") == 429


def test_bytes_of_all_together(sessions, tmp_path):
    bounded = BoundedSessions(most=10, each=10, max_bytes=3000)
    bounded.add(sessions, sent(tmp_path, 1000), account="anna")
    assert refused(bounded, sessions, sent(tmp_path, 3000), account="tim") == 413
    assert refused(bounded, sessions, sent(tmp_path, 3000), brief=True) == 413
    bounded.add(sessions, sent(tmp_path, 500), account="tim")


def test_sessions_end(sessions, tmp_path):
    bounded = BoundedSessions(most=2, each=2, max_bytes=10**6)
    one = bounded.add(sessions, sent(tmp_path), account="anna", expiry=10)
    bounded.add(sessions, sent(tmp_path), account="anna", expiry=5000)
    one.last_access_ts -= 11
    bounded.remove_expired(sessions)
    assert bounded.get(sessions, one.name) is None
    assert len(list((tmp_path / "sessions").iterdir())) == 1
    # Also from before a restart, which MONAI Label does not look at while it knows of none.
    [folder] = (tmp_path / "sessions").iterdir()
    description = json.loads((folder / "meta.info").read_text())
    (folder / "meta.info").write_text(json.dumps({**description, "last_access_ts": 0}))
    BoundedSessions(2, 2, 10**6).remove_expired(Sessions(sessions.store_path))
    assert not folder.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"last_access_ts": "x", "image": "/"}', '{"image": 7}'])
def test_a_damaged_session_harms_nobody(sessions, tmp_path, content):
    bounded = BoundedSessions(5, 5, 10**6)
    good = bounded.add(sessions, sent(tmp_path), account="anna")
    bad = bounded.add(sessions, sent(tmp_path), account="anna")
    (tmp_path / "sessions" / bad.name / "meta.info").write_text(content)
    again = Sessions(sessions.store_path)
    bounded.get(again, bad.name)
    bounded.remove_expired(again)
    assert bounded.get(again, good.name).name == good.name


def test_no_more_at_once_than_in_turn(sessions, tmp_path):
    bounded = BoundedSessions(most=4, each=4, max_bytes=10**6)
    statuses = []

    def add(number):
        (tmp_path / str(number)).mkdir()
        try:
            bounded.add(sessions, sent(tmp_path / str(number)), account="anna")
            statuses.append(200)
        except ClientError as error:
            statuses.append(error.status)

    threads = [threading.Thread(target=add, args=[number]) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 4 + [429] * 8


def test_sixty_sessions_over_http(tmp_path):
    content = write_image(tmp_path / "x.nii.gz").read_bytes()
    with tiny_servers(tmp_path / "servers") as servers:
        ours = servers.client(servers.server(sessions=6, sessions_each=5))
        answers = [ours.put("/session/", files={"files": ("x.nii.gz", content)}) for _ in range(60)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 55
        assert "DELETE /session/" in answers[-1].json()["error"]
        # A session from before a restart is found again.
        name = answers[0].json()["session_id"]
        from monailabel.interfaces.utils.app import app_instance

        app_instance().sessions().clear()
        data = {"params": json.dumps({"seconds": 0})}
        assert ours.post(f"/infer/slow?session_id={name}&output=json", data=data).status_code == 200
        folder = servers.folder / "sessions" / name / "meta.info"
        folder.write_text("{")
        app_instance().sessions().clear()
        assert ours.get(f"/session/{name}").status_code == 404
        assert ours.delete(f"/session/{answers[1].json()['session_id']}").status_code == 200
