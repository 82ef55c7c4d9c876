"""The command that trains: MONAI's own, with values as it reads them."""

import sys

from auto_config.running.training import command


def test_command_of_one_process(tmp_path):
    arguments = {"fold": "none", "resume": True, "train#trainer#max_epochs": 3, "device": "$torch.device('cpu')"}
    assert command(tmp_path, arguments) == [
        *[sys.executable, "-m", "monai.bundle", "run", "training"],
        f"--config_file='{tmp_path}/configs/train.json'",
        f"--bundle_root='{tmp_path}'",
        "--fold='none'",
        "--resume=True",
        "--train#trainer#max_epochs=3",
        "--device=\"$torch.device('cpu')\"",
    ]


def test_command_of_several_processes(tmp_path):
    start = command(tmp_path, {}, processes=2)
    assert start[1:8] == [
        *["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai.bundle", "run"],
    ]
    assert start[9] == f"--config_file=['{tmp_path}/configs/train.json', '{tmp_path}/configs/multi_gpu_train.json']"
