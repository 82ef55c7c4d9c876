"""The server's behaviour towards clients: data store, sessions, roles, jobs, weights, options of the server itself."""

import asyncio
import io
import json
import uuid
from unittest import mock

import httpx
import pytest
import torch
from landmark_app.lib.core.errors import ClientError
from landmark_app.lib.server.limits import WorkQueue
from landmark_app.lib.server.options import ServerOptions, read_options
from landmark_app.lib.store.images import check_self_contained
from tiny_app import tiny_servers, write_image

ANNA, TIM, ADA = "a" * 20, "t" * 20, "d" * 20
QUICK = {"params": json.dumps({"seconds": 0})}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with tiny_servers(tmp_path_factory.mktemp("server")) as both:
        yield both


@pytest.fixture
def image(tmp_path):
    return write_image(tmp_path / "image.nii.gz", 3.0).read_bytes()


def test_numbers_that_json_lacks_are_null(servers):
    odd = {"params": json.dumps({"seconds": 0, "odd": True})}
    answer = servers.ours.post("/infer/slow?image=case0&output=json", data=odd)
    assert answer.status_code == 200
    assert answer.json()["radius"] is None


def test_images_are_sent_once(servers, tmp_path, image):
    name = "Größe (1) v1.2"
    url = f"/datastore/image?image={name}"
    assert servers.ours.put(url, files={"file": ("C:\\data\\x.nii.gz", image)}).json() == {"image": name}
    assert servers.ours.get("/datastore/image", params={"image": name}).content == image
    assert servers.ours.head("/datastore/image", params={"image": name}).status_code == 200
    # The same again is no mistake, another one of this name is.
    assert servers.ours.put(url, files={"file": ("x.nii.gz", image)}).status_code == 200
    other = write_image(tmp_path / "other.nii.gz", 4.0).read_bytes()
    answer = servers.ours.put(url, files={"file": ("x.nii.gz", other)})
    assert (answer.status_code, list(answer.json())) == (409, ["error"])
    assert servers.ours.get("/datastore/image", params={"image": name}).content == image
    assert servers.ours.put("/datastore/image", files={"file": ("x.exe", image)}).status_code == 400
    info = servers.ours.get("/datastore/image/info", params={"image": name}).json()
    assert info["user"] == "local"
    assert servers.ours.delete("/datastore/image", params={"id": name}).status_code == 200
    assert servers.ours.get("/datastore/image", params={"image": name}).status_code == 404


def test_labels_are_kept_with_what_is_known_of_them(servers):
    files = {"label": ("C:\\Users\\a 1.5mm\\x.nii.gz", b"label")}
    where = {"image": "case1", "tag": "final"}
    params = json.dumps({"label_info": [{"name": "a", "idx": 1}], "client_id": None})
    answer = servers.ours.put("/datastore/label", params=where, files=files, data={"params": params})
    assert answer.json() == {"image": "case1", "label": "case1"}
    label = {"label": "case1", "tag": "final"}
    assert servers.ours.get("/datastore/label", params=label).content == b"label"
    assert servers.ours.head("/datastore/label", params=where).status_code == 200
    info = servers.ours.get("/datastore/label/info", params=label).json()
    assert info["label_info"] == [{"name": "a", "idx": 1}]
    changed = servers.ours.put("/datastore/label/info", params=label, data={"info": '{"done": true}'})
    assert changed.status_code == 200
    assert servers.ours.get("/datastore/label/info", params=label).json()["done"] is True
    for wrong in ('{"a": "$1"}', "[1]", "{"):
        assert servers.ours.put("/datastore/label/info", params=label, data={"info": wrong}).status_code == 400
    assert servers.ours.get("/datastore/label", params={"label": "case0", "tag": "final"}).status_code == 404
    assert servers.ours.delete("/datastore/label", params={"id": "case1", "tag": "final"}).status_code == 200


def test_a_session_is_an_image_for_a_while(servers, image):
    answer = servers.ours.put("/session/", files={"files": ("../../x.nii.gz", image)})
    assert answer.status_code == 200, answer.text
    name = answer.json()["session_id"]
    assert str(uuid.UUID(name)) == name
    assert str(servers.folder) not in answer.text
    assert servers.ours.get(f"/session/{name}").json()["name"] == name
    assert servers.ours.get(f"/session/{name}?image=true").content == image
    result = servers.ours.post(f"/infer/slow?session_id={name}&output=json", data=QUICK)
    assert result.json()["path"].startswith(str(servers.folder / "sessions" / name))
    assert servers.ours.delete(f"/session/{name}").status_code == 200
    assert servers.ours.post(f"/infer/slow?session_id={name}", data=QUICK).status_code == 404
    assert servers.ours.put("/session/", files={"files": ("x.nii.gz", image[:50])}).status_code == 422


def test_an_image_that_is_sent_along_is_gone_afterwards(servers, image):
    answer = servers.ours.post("/infer/slow?output=json", data=QUICK, files={"file": ("x.nii.gz", image)})
    assert answer.json()["path"].startswith(str(servers.folder / "sessions"))
    from pathlib import Path

    assert not Path(answer.json()["path"]).exists()


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("x.nrrd", b"NRRD0004\ntype: short\ndata file: /etc/hostname\n\n", True),
        ("x.nrrd", b"NRRD0004\r\ntype: short\r\nDataFile:/etc/hostname\r\n\r\n", True),
        ("x.nrrd", b"NRRD0004\ntype: short\n\ndata file: x", False),
        ("x.mha", b"ObjectType = Image\nElementDataFile = /etc/hostname\n", True),
        ("x.mha", b"ObjectType = Image\nElementDataFile = LOCAL\n\0\1", False),
        ("x.nii", b"data file: x", False),
    ],
)
def test_images_that_name_another_file_are_refused(tmp_path, name, text, refused):
    path = tmp_path / name
    path.write_bytes(text)
    if not refused:
        check_self_contained(path)
        return
    with pytest.raises(ClientError, match="another file"):
        check_self_contained(path)


def test_a_second_training_is_refused(servers):
    tasks = []

    def run(method, request, enqueue):
        tasks.append({"id": "1", "status": "SUBMITTED", "request": request})
        return tasks[-1], None

    with (
        mock.patch("landmark_app.lib.server.routes_tasks.AsyncTask.run", side_effect=run),
        mock.patch("landmark_app.lib.server.routes_tasks.tasks", lambda method: tasks),
    ):
        first = servers.ours.post("/train/tiny", json={"max_epochs": 3})
        assert first.json()["request"] == {"model": "tiny", "max_epochs": 3}
        second = servers.ours.post("/train/tiny", json={"max_epochs": 3})
        assert (second.status_code, len(tasks)) == (429, 1)
        assert servers.ours.post("/train/tiny?enqueue=true", json={}).status_code == 200
        assert servers.ours.post("/train/", json={"tiny": {"max_epochs": 4}}).status_code == 200
        assert tasks[-1]["request"] == {"model": "tiny", "max_epochs": 4}
        assert servers.ours.post("/train/", json={"missing": {}}).status_code == 404


def test_jobs_that_are_not_there(servers):
    for path in ("/train/", "/scoring/", "/batch/infer"):
        assert servers.ours.get(path).status_code == 404
        assert servers.ours.delete(path).json() == {}
    assert servers.ours.post("/train/missing", json={}).status_code == 404
    assert servers.ours.post("/scoring/missing", json={}).status_code == 404
    assert servers.ours.post("/train/tiny", content=b"{").status_code == 422
    assert servers.ours.post("/train/tiny", json=[1]).status_code == 422


def test_the_next_image(servers):
    sample = servers.ours.post("/activelearning/random", json={"client_id": "here"}).json()
    assert sample["id"] in {"case0", "case1"}
    assert sample["strategy"]["random"]["client_id"] == "here"
    assert servers.ours.post("/activelearning/random", json={"x": "$1"}).status_code == 400


def test_unknown_addresses_and_methods_are_clear(servers):
    for method, path, status in [("GET", "/missing", 404), ("PATCH", "/info/", 405), ("GET", "/infer/tiny", 405)]:
        answer = servers.ours.request(method, path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_what_nobody_expected_is_a_500_without_the_inside(servers):
    with mock.patch("landmark_app.lib.server.routes_tasks.app_instance", side_effect=RuntimeError("/secret/path")):
        answer = servers.ours.get("/info/")
    assert answer.status_code == 500
    assert list(answer.json()) == ["error"]
    assert "secret" not in answer.text


def test_roles_of_the_routes(servers, tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"anna annotate {ANNA}\ntim train {TIM}\nada admin {ADA}\n")
    server = servers.client(servers.server(tokens=path, admin=frozenset({"logs", "model"})), host="10.0.0.7")
    # Nothing is there to be trained or removed: who may ask learns so, who may not does not.
    asked = [
        ("GET", "/info/", {}, [200, 200, 200]),
        ("GET", "/datastore/", {}, [200, 200, 200]),
        ("GET", "/train/", {}, [404, 404, 404]),
        ("GET", "/proxy/dicom/qido/studies", {}, [404, 404, 404]),
        ("GET", "/ohif/", {}, [200, 200, 200]),
        ("POST", "/infer/missing", {}, [404, 404, 404]),
        ("POST", "/train/missing", {"json": {}}, [403, 404, 404]),
        ("POST", "/batch/infer/missing", {"json": {}}, [403, 404, 404]),
        ("POST", "/scoring/missing", {"json": {}}, [403, 404, 404]),
        ("DELETE", "/train/", {}, [403, 200, 200]),
        ("GET", "/datastore/dataset", {}, [403, 404, 404]),
        ("DELETE", "/datastore/image?id=missing", {}, [403, 403, 404]),
        ("DELETE", "/datastore/label?id=missing&tag=final", {}, [403, 403, 404]),
        ("GET", "/logs/", {}, [403, 403, 200]),
        ("GET", "/model/missing", {}, [403, 403, 404]),
        ("DELETE", "/model/missing", {}, [403, 403, 404]),
    ]
    for method, url, keywords, expected in asked:
        found = [
            server.request(method, url, headers={"Authorization": f"Bearer {token}"}, **keywords).status_code
            for token in (ANNA, TIM, ADA)
        ]
        assert found == expected, (method, url)
        assert server.request(method, url, **keywords).status_code == 401


def test_every_route_needs_an_account(servers, tmp_path):
    file = tmp_path / "tokens"
    file.write_text(f"anna annotate {ANNA}\n")
    app = servers.server(tokens=file, admin=frozenset({"logs", "model", "reload"}))
    client = servers.client(app)
    paths = {path: list(methods) for path, methods in app.openapi()["paths"].items()}
    routes = [(method.upper(), path) for path, methods in paths.items() for method in methods]
    assert len(routes) > 40
    hidden = [("GET", path) for path in ("/", "/ohif/", "/ohif/app-config.js", "/proxy/dicom/qido/studies", "/missing")]
    for method, path in [*routes, *hidden]:
        if not path.startswith("/auth"):
            answer = client.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401, (method, path)


def test_weights_are_replaced_by_weights_only(servers):
    ours = servers.client(servers.server(admin=frozenset({"model"})))
    weights = servers.folder / "app/tiny/models/model.pt"
    before = weights.read_bytes()

    def saved(content):
        stream = io.BytesIO()
        torch.save(content, stream)
        return {"file": ("model.pt", stream.getvalue())}

    for wrong in ({"file": ("model.pt", b"no weights")}, saved([1]), saved({"a": 1}), saved({"a": ServerOptions()})):
        assert ours.put("/model/tiny", files=wrong).status_code == 422
        assert weights.read_bytes() == before
    assert ours.put("/model/tiny", files={"file": ("model.ts", b"x")}).status_code == 400
    assert ours.put("/model/tiny", files=saved({"a": torch.ones(2)})).status_code == 200
    assert torch.load(weights, weights_only=True)["a"].tolist() == [1, 1]
    weights.write_bytes(before)


def test_ohif_is_served_with_its_pages(servers):
    index = servers.ours.get("/ohif/")
    assert "OHIF" in index.text
    assert servers.ours.get("/ohif/monai-label?StudyInstanceUIDs=1.2").content == index.content
    assert "window.config" in servers.ours.get("/ohif/app-config.js").text
    for escape in ("..%2f..%2fapp.py", "%2e%2e/%2e%2e/app.py", "%2fetc%2fpasswd"):
        assert servers.ours.get(f"/ohif/{escape}").content == index.content


def test_options_are_read():
    assert read_options({"bundles": "x"}) == ServerOptions()
    conf = {
        "tokens": "t",
        "insecure": "true",
        "cors_origins": "https://a.org, http://b:3000",
        "admin_endpoints": "logs,model",
        "max_upload_mb": "3",
        "max_params_mb": "2",
        "max_voxels": "1000",
        "inference_workers": "2",
        "inference_queue": "5",
        "check_workers": "3",
        "max_sessions": "7",
        "max_sessions_each": "6",
        "max_sessions_mb": "4",
    }
    read = read_options(conf)
    assert (read.tokens.name, read.insecure, read.cors_origins) == ("t", True, ("https://a.org", "http://b:3000"))
    assert read.admin == {"logs", "model"}
    assert (read.max_upload_bytes, read.max_params_bytes) == (3 * 2**20, 2 * 2**20)
    assert read.max_voxels == 1000
    assert (read.inference_workers, read.inference_queue, read.check_workers) == (2, 5, 3)
    assert (read.sessions, read.sessions_each, read.max_sessions_bytes) == (7, 6, 4 * 2**20)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cors_origins", "*"),
        ("cors_origins", "https://a.org/path"),
        ("admin_endpoints", "all"),
        ("insecure", "yes"),
        ("max_upload_mb", "0"),
        ("max_upload_mb", "-1"),
        ("max_voxels", "0"),
        ("inference_workers", "1.5"),
    ],
)
def test_wrong_options_are_named(name, value):
    with pytest.raises(ValueError, match=f"--conf {name}"):
        read_options({name: value})


def test_no_more_than_allowed_run_and_wait():
    async def crowd():
        import threading

        queue = WorkQueue("inferences", workers=2, waiting=1)
        go, running, most, lock = threading.Event(), [0], [0], threading.Lock()

        def work():
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            go.wait(10)
            with lock:
                running[0] -= 1
            return "done"

        tasks = [asyncio.create_task(queue.run(work)) for _ in range(5)]
        await asyncio.sleep(0.2)
        go.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        after = await queue.run(lambda: "again")
        return results, most[0], after

    results, most, after = asyncio.run(crowd())
    assert [result for result in results if result == "done"] == ["done"] * 3
    assert [getattr(result, "status", None) for result in results].count(429) == 2
    assert (most, after) == (2, "again")


def test_one_account_does_not_have_all_places():
    """The others are served in the order in which they came."""
    from types import SimpleNamespace

    def request(name, gone=False):
        async def is_disconnected():
            return gone

        account = SimpleNamespace(name=name)
        return SimpleNamespace(state=SimpleNamespace(account=account), is_disconnected=is_disconnected)

    async def crowd():
        queue, order = WorkQueue("checks", workers=1, waiting=5, each=3), []
        wanted = ["anna", "anna", "anna", "anna", "tim", "gone", "ada"]
        asked = [
            asyncio.create_task(queue.run(lambda name=name: order.append(name) or name, request(name, name == "gone")))
            for name in wanted
        ]
        return await asyncio.gather(*asked, return_exceptions=True), order, queue

    results, order, queue = asyncio.run(crowd())
    assert [getattr(one, "status", one) for one in results] == ["anna"] * 3 + [429, "tim", 499, "ada"]
    assert order == ["anna", "anna", "anna", "tim", "ada"]
    assert (queue.running, len(queue.line), dict(queue.accounts)) == (0, 0, {})


def test_sixteen_clients_at_once(servers):
    """Everybody gets an answer, and no label is lost."""

    async def crowd():
        transport = httpx.ASGITransport(app=servers.server(), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
            save = [
                client.put(
                    "/datastore/label",
                    params={"image": "case0", "tag": f"t{i}"},
                    files={"label": ("x.nii.gz", bytes([i]))},
                )
                for i in range(16)
            ]
            infer = [client.post("/infer/slow?image=case0&output=json", data=QUICK) for _ in range(16)]
            return await asyncio.gather(*save, *infer)

    assert {answer.status_code for answer in asyncio.run(crowd())} == {200}
    for i in range(16):
        label = servers.ours.get("/datastore/label", params={"label": "case0", "tag": f"t{i}"})
        assert label.content == bytes([i])
