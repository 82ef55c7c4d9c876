"""What MONAI says at its start goes to a file; its warnings and errors stay on the terminal."""

import subprocess
import sys

import pytest

from auto_config.running import child
from auto_config.running.training_log import NOISE, quiet_logging

SAYS = """
import io, logging, logging.config, sys
logging.config.fileConfig(io.StringIO(open(sys.argv[1]).read()), disable_existing_loggers=False)
logging.getLogger("monai.bundle.scripts").info("> started: 1795660182.36")
logging.getLogger("monai.bundle.workflows").warning("no such file")
logging.getLogger("scripts.training.run.checkpoints").info("Resuming from latest.pt after epoch 9.")
"""


@pytest.mark.parametrize("folder", ["plain", "100 %(x)s 'quoted'"])
def test_infos_of_monai_go_to_the_file_and_all_else_is_seen(tmp_path, folder):
    (tmp_path / folder).mkdir()
    log, config = tmp_path / folder / "train.log", tmp_path / "logging.conf"
    config.write_text(quiet_logging(tmp_path / "none.conf", log))
    ended = subprocess.run([sys.executable, "-c", SAYS, config], capture_output=True, text=True, check=True)
    assert "started" not in ended.stdout + ended.stderr
    assert "after epoch 9" in ended.stdout
    assert "WARNING - no such file" in ended.stderr
    assert "started: 1795660182.36" in log.read_text()


def test_loggers_of_the_bundle_stay_as_they_were_changed(tmp_path):
    base = tmp_path / "logging.conf"
    base.write_text(
        "[loggers]\nkeys=root,mine\n[handlers]\nkeys=h\n[formatters]\nkeys=\n[logger_root]\nhandlers=h\n"
        "[logger_mine]\nqualname=mine\nlevel=ERROR\nhandlers=h\n[handler_h]\nclass=NullHandler\nargs=()\n"
    )
    text = quiet_logging(base, tmp_path / "train.log")
    assert "keys = root,mine,quiet0,quiet1" in text
    assert "[logger_mine]" in text


@pytest.mark.parametrize(
    "said",
    [
        "parsing config_file a.json: any value is passed to eval()",
        "This DataLoader will create 2 worker processes in total. Our suggested max number of worker is 1.",
    ],
)
def test_noise_on_standard_error_goes_to_the_file_and_errors_do_not(said, tmp_path, capfd):
    code = f"import sys; print({said!r}, file=sys.stderr); print('disk is full', file=sys.stderr)"
    noise = child.Noise(NOISE, tmp_path / "train.log")
    assert child.run([sys.executable, "-c", code], log=tmp_path / "error.log", noise=noise) == 0
    assert capfd.readouterr().err == "disk is full\n"
    assert noise.file.read_text() == said + "\n"
