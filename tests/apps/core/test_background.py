"""Jobs end with the server that started them, whenever that ends."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from landmark_app.lib.core.background import nobody_reads

JOB = """
import subprocess, sys, time
from landmark_app.lib.core.background import end_with_parent
time.sleep(float(sys.argv[1]))
with end_with_parent():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    time.sleep(600)
"""
SERVER = """
import subprocess, sys, time
job = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
print(job.pid, flush=True)
print(job.stdout.readline().strip(), flush=True)
time.sleep(600)
"""


def ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.skipif(sys.platform == "win32", reason="the parent alone tells there")
def test_a_pipe_that_nobody_reads(tmp_path):
    read, write = os.pipe()
    assert not nobody_reads(write)
    os.close(read)
    assert nobody_reads(write)
    os.close(write)
    with (tmp_path / "x").open("w") as file:
        assert not nobody_reads(file.fileno())


@pytest.mark.parametrize("importing", [True, False])
def test_a_job_ends_with_its_server(importing):
    """Also one that was still importing when the server was killed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / "apps")}
    command = [sys.executable, "-c", SERVER, JOB, "1.5" if importing else "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        pids = [int(server.stdout.readline())]
        if not importing:
            pids.append(int(server.stdout.readline()))
        server.kill()
    deadline = time.monotonic() + 60
    while not all(map(ended, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
