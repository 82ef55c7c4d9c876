"""The server starts and answers where there is no network at all, only loopback."""

import json
import shutil
import subprocess
import sys

import pytest
from app_tools import NAMES, REPOSITORY, oblique_affine, write_volume

LOOPBACK_ONLY = ["unshare", "--net", "--map-root-user"]
PROGRAM = """
import json, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
from app_tools import start_server
bundles, studies, log = map(Path, sys.argv[2:5])
server = start_server(bundles, studies, log)
try:
    sockets = Path("/proc/net/tcp").read_text()
    print(json.dumps({"landmarks": list(server.landmarks("head", "case")), "sockets": sockets}))
finally:
    server.stop()
"""


def isolated(*command, **keywords):
    script = 'ip link set lo up && exec "$@"'
    return subprocess.run(
        [*LOOPBACK_ONLY, "sh", "-c", script, "sh", *command], capture_output=True, text=True, check=False, **keywords
    )


@pytest.fixture(scope="module", autouse=True)
def can_isolate():
    if not shutil.which("unshare") or not shutil.which("ip") or isolated("true").returncode != 0:
        pytest.skip(
            "needs unshare and ip (Debian packages util-linux, iproute2) and the right to make a network namespace"
        )


def test_start_and_inference_need_no_network(bundles, tmp_path):
    write_volume(tmp_path / "studies" / "case.nii.gz", oblique_affine("las"))
    paths = json.dumps([str(REPOSITORY / "tests/apps/support"), str(REPOSITORY / "tests/support"), str(REPOSITORY)])
    log = tmp_path / "server.log"
    done = isolated(sys.executable, "-c", PROGRAM, paths, bundles, tmp_path / "studies", log, timeout=400)
    assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["landmarks"] == list(NAMES)
    rows = [line.split() for line in answer["sockets"].splitlines()[1:]]
    # The state of a listening socket is 0A, its address is little-endian hexadecimal.
    listening = {row[1].split(":")[0] for row in rows if row[3] == "0A"}
    assert listening == {"0100007F"}
