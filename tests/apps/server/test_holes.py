"""Each hole of the stock server: shown to be there, and closed in ours. The payloads only make or read a file here."""

import asyncio
import io
import json
import tarfile
import time
from unittest import mock

import httpx
import pytest
from fake_pacs import pacs  # noqa: F401  a fixture
from tiny_app import tiny_servers, write_image

TAKES_SECONDS = 2.0


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    with tiny_servers(tmp_path_factory.mktemp("holes")) as both:
        yield both


def refused(answer, status):
    """Whether an answer is a clear refusal."""
    message = answer.json().get("error", "") if answer.content else ""
    return answer.status_code == status and bool(message) and "\n" not in message and "Traceback" not in message


def writes(path):
    """An expression that a config parser would evaluate: it makes a file."""
    return f"$open({str(path)!r}, 'w').write('x')"


@pytest.mark.parametrize("option", ["max_epochs", "device"])
def test_code_in_an_option_of_training(servers, tmp_path, option):
    params = {"multi_gpu": False, "pretrained": True, option: writes(tmp_path / "made")}
    # In the server's process, so that the test need not wait for another one.
    servers.stock.post("/train/tiny?run_sync=true", json=params)
    assert (tmp_path / "made").exists()
    (tmp_path / "made").unlink()
    with mock.patch("landmark_app.lib.server.routes_tasks.AsyncTask.run") as started:
        answer = servers.ours.post("/train/tiny?run_sync=true", json=params)
    assert refused(answer, 400)
    assert option in answer.json()["error"]
    started.assert_not_called()
    assert not (tmp_path / "made").exists()


def test_code_in_a_displayed_option_of_inference(servers, tmp_path):
    params = {"factor": writes(tmp_path / "made"), "device": "cpu"}
    answer, ours = servers.both("POST", "/infer/tiny?image=case0", data={"params": json.dumps(params)})
    assert (tmp_path / "made").exists()
    assert refused(ours, 400)
    (tmp_path / "made").unlink()
    # The option itself works.
    params = {"factor": 0.25, "device": "cpu", "result_extension": ".nii.gz"}
    answer = servers.ours.post("/infer/tiny?image=case0", data={"params": json.dumps(params)})
    assert answer.status_code == 200, answer.content
    assert not (tmp_path / "made").exists()


def upload(name="x.nii.gz", content=b"x", field="label"):
    return {field: (name, content)}


def test_a_tag_that_leaves_the_data_store(servers):
    url = "/datastore/label?image=case0&tag=../../escaped_label"
    escaped = servers.folder / "escaped_label" / "case0.nii.gz"
    assert servers.stock.put(url, files=upload()).status_code == 200
    assert escaped.exists()
    escaped.unlink()
    assert refused(servers.ours.put(url, files=upload()), 400)
    assert not escaped.exists()


def test_an_image_id_that_leaves_the_data_store(servers, tmp_path):
    image = write_image(tmp_path / "x.nii.gz").read_bytes()
    escaped = servers.folder / "escaped.nii.gz"
    for url in ("/datastore/image?image=../escaped", "/datastore/?image=../escaped"):
        assert servers.stock.put(url, files=upload(content=image, field="file")).status_code == 200
        assert escaped.exists()
        escaped.unlink()
        assert refused(servers.ours.put(url, files=upload(content=image, field="file")), 400)
        assert not escaped.exists()
    name = "../../escaped.nii.gz"
    answer = servers.ours.put("/datastore/image", files=upload(name, image, "file"))
    assert answer.json() == {"image": "escaped"}
    assert (servers.studies / "escaped.nii.gz").exists()
    assert not escaped.exists()


def test_any_file_as_an_image(servers, tmp_path):
    secret = write_image(tmp_path / "secret.nii.gz")
    data = {"params": json.dumps({"result_extension": ".nii.gz", "device": "cpu", "factor": 0.5})}
    stock, ours = servers.both("POST", f"/infer/tiny?image={secret}", data=data)
    assert stock.status_code == 200
    assert refused(ours, 400)
    # Nor is it told whether there is such a file.
    missing = servers.ours.post("/infer/tiny?image=/no/such/file", data=data)
    assert refused(missing, 400)
    assert missing.json()["error"].split(":")[-1] == ours.json()["error"].split(":")[-1]


def test_params_that_take_the_place_of_the_image(servers, tmp_path):
    secret = write_image(tmp_path / "secret.nii.gz")
    params = {"image": str(secret), "result_extension": ".nii.gz", "device": "cpu", "factor": 0.5}
    stock, ours = servers.both("POST", "/infer/tiny?image=case0", data={"params": json.dumps(params)})
    assert stock.status_code == 200
    assert refused(ours, 400)
    for name in ("model", "label", "bundle_path", "session", "description", "image_path"):
        answer = servers.ours.post("/infer/tiny?image=case0", data={"params": json.dumps({name: str(secret)})})
        assert refused(answer, 400), name


def test_a_result_that_is_written_elsewhere(servers, tmp_path):
    """The ending of the result is put behind the name of a temporary file."""
    params = {"result_extension": f"/../../../../../../../{tmp_path}/made.nrrd", "device": "cpu", "factor": 0.5}
    answer = servers.ours.post("/infer/tiny?image=case0", data={"params": json.dumps(params)})
    assert refused(answer, 400)


def test_weights_are_not_replaced(servers):
    weights = servers.folder / "app/tiny/models/model.pt"
    before = weights.read_bytes()
    files = upload("x.pt", b"anything", "file")
    assert servers.stock.put("/model/tiny", files=files).status_code == 200
    assert weights.read_bytes() == b"anything"
    weights.write_bytes(before)
    for method in ("PUT", "DELETE", "GET"):
        keywords = {"files": files} if method == "PUT" else {}
        assert servers.ours.request(method, "/model/tiny", **keywords).status_code in {404, 405}
    assert weights.read_bytes() == before


def test_the_app_is_not_dropped(servers):
    from monailabel.interfaces.utils.app import app_instance, apps

    app_instance()
    with mock.patch.dict(apps):
        assert servers.stock.post("/reload").status_code == 200
        assert apps == {}
    assert refused(servers.ours.post("/reload"), 404)
    assert len(apps) == 1


def test_the_log_is_not_shown(servers):
    stock, ours = servers.both("GET", "/logs/?text=true")
    assert "patient 17" in stock.text
    assert refused(ours, 404)


def test_other_origins_read_nothing(servers):
    stock, ours = servers.both("GET", "/info/", headers={"Origin": "https://evil.example.org"})
    assert stock.headers["access-control-allow-origin"] in {"*", "https://evil.example.org"}
    assert stock.headers["access-control-allow-credentials"] == "true"
    assert not [name for name in ours.headers if name.startswith("access-control")]
    asks = {"Origin": "https://evil.example.org", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in servers.ours.options("/train/tiny", headers=asks).headers
    listed = servers.client(servers.server(cors_origins=("https://good.example.org",)))
    good = listed.get("/info/", headers={"Origin": "https://good.example.org"})
    assert good.headers["access-control-allow-origin"] == "https://good.example.org"
    assert "access-control-allow-origin" not in listed.get("/info/", headers={"Origin": "https://evil.org"}).headers


def test_the_proxy_reaches_no_more_than_dicomweb(servers, pacs):  # noqa: F811
    url, asked = pacs
    with mock.patch.object(servers.settings, "MONAI_LABEL_STUDIES", url):
        servers.stock.get("/proxy/dicom/%2e%2e/system")
        assert asked.pop()[1] == "/system"
    ours = servers.client(servers.server(studies=url))
    for path in ("%2e%2e/system", "wado/%2e%2e/system", "qido/%252e%252e/system", "wado/studies/%2e%2e/%2e%2e/system"):
        assert refused(ours.get(f"/proxy/dicom/{path}"), 404)
    assert asked == []
    assert ours.get("/proxy/dicom/qido/studies").status_code == 200


def test_an_archive_that_unpacks_elsewhere(servers, tmp_path):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(str(tmp_path / "escaped.txt"))
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    files = upload("x.tar", archive.getvalue(), "files")
    servers.stock.put("/session/?uncompress=true", files=files)
    assert (tmp_path / "escaped.txt").exists()
    (tmp_path / "escaped.txt").unlink()
    for query in ("?uncompress=true", ""):
        assert refused(servers.ours.put(f"/session/{query}", files=files), 400)
    assert not (tmp_path / "escaped.txt").exists()


def test_sessions_stay_in_their_folder(servers):
    """The stock server takes any folder with a meta.info for a session, and removes it when asked."""
    victim = servers.folder / "victim"
    victim.mkdir()
    (victim / "meta.info").write_text(json.dumps({"image": str(victim / "meta.info"), "path": str(victim)}))
    url = "/session/%2e%2e%2fvictim"
    for method in ("GET", "DELETE"):
        assert servers.ours.request(method, url).status_code in {400, 404, 405}
    assert victim.exists()


def test_bodies_without_limit(servers):
    large = b"\0" * 3_000_000
    url = "/datastore/label?image=case0&tag=large"
    assert servers.stock.put(url, files=upload(content=large)).status_code == 200
    ours = servers.client(servers.server(max_upload_bytes=2_000_000))
    assert refused(ours.put(url, files=upload(content=large)), 413)

    def parts():
        """A body whose length is not announced."""
        for _ in range(30):
            yield b"\0" * 100_000

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(ours.put(url, content=parts(), headers=kind), 413)
    assert refused(ours.post("/activelearning/random", content=parts()), 413)


def test_the_field_of_parameters_has_a_limit_that_can_be_set(servers):
    clicks = json.dumps({"seconds": 0})
    params = clicks[:-1] + " " * (1_500_000 - len(clicks)) + "}"
    stock, ours = servers.both("POST", "/infer/slow?image=case0", files={"params": (None, params)})
    assert (stock.status_code, ours.status_code) == (400, 200)
    small = servers.client(servers.server(max_params_bytes=1_000_000))
    for form in ({"files": {"params": (None, params)}}, {"data": {"params": params}}):
        assert refused(small.post("/infer/slow?image=case0", **form), 413)


FAILURES = [
    ("POST", "/infer/tiny?image=missing", {"data": {"params": "{}"}}, 404),
    ("POST", "/infer/missing?image=case0", {"data": {"params": "{}"}}, 404),
    ("POST", "/infer/tiny?image=case0", {"data": {"params": "{"}}, 400),
    ("POST", "/infer/tiny?image=case0", {"data": {"params": "[1]"}}, 400),
    ("POST", "/infer/tiny", {"data": {"params": "{}"}}, 400),
    ("POST", "/activelearning/missing", {"json": {}}, 404),
    ("PUT", "/datastore/label?image=missing&tag=final", {"files": {"label": ("x.nii.gz", b"x")}}, 404),
    ("DELETE", "/datastore/image?id=missing", {}, 404),
    ("PUT", "/datastore/label/info?label=missing&tag=final", {"data": {"info": "{}"}}, 404),
    ("GET", "/datastore/dataset", {}, 404),
]


@pytest.mark.parametrize(("method", "url", "keywords", "status"), FAILURES)
def test_bare_failures(servers, method, url, keywords, status):
    stock, ours = servers.both(method, url, **keywords)
    assert stock.status_code == 500
    assert refused(ours, status)


def test_a_damaged_image_is_named_as_such(servers, tmp_path):
    whole = write_image(tmp_path / "whole.nii.gz").read_bytes()
    damaged = servers.studies / "damaged.nii.gz"
    damaged.write_bytes(whole[: len(whole) // 2])
    from monailabel.interfaces.utils.app import app_instance

    app_instance().datastore().refresh()
    params = json.dumps({"result_extension": ".nii.gz", "device": "cpu", "factor": 0.5})
    stock, ours = servers.both("POST", "/infer/tiny?image=damaged", data={"params": params})
    assert (stock.status_code, stock.text) == (500, "Internal Server Error")
    assert refused(ours, 422)
    assert str(servers.folder) not in ours.text
    # The stock server takes such a file into its data store.
    files = upload("sent.nii.gz", whole[: len(whole) // 2], "file")
    stock = servers.stock.put("/datastore/image?image=sent", files=files)
    ours = servers.ours.put("/datastore/image?image=sent2", files=files)
    assert stock.status_code == 200
    assert refused(ours, 422)
    for name in ("damaged", "sent"):
        app_instance().datastore().remove_image(name)


async def _info_behind_inferences(app) -> float:
    """Seconds that /info/ takes while two inferences, of TAKES_SECONDS each, have begun."""
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=30) as client:
        params = {"params": json.dumps({"seconds": TAKES_SECONDS})}
        running = [asyncio.create_task(client.post("/infer/slow?image=case0", data=params)) for _ in range(2)]
        begin = time.monotonic()
        # As it would arrive from the network: after the inferences, which have begun by then.
        await asyncio.sleep(0.3)
        answer = await client.get("/info/")
        seconds = time.monotonic() - begin - 0.3
        assert answer.status_code == 200
        assert [(await task).status_code for task in running] == [200, 200]
    return seconds


def test_info_waits_for_no_inference(servers):
    assert asyncio.run(_info_behind_inferences(servers.stock_app)) > TAKES_SECONDS
    ours = servers.server(inference_workers=1)
    assert asyncio.run(_info_behind_inferences(ours)) < TAKES_SECONDS
