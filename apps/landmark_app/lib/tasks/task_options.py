"""The options of each kind of task that clients may set: those that the task declares, each in its declared type."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..core.errors import ClientError
from ..core.requests import (
    Check,
    check_plain,
    flag,
    gpus,
    integer,
    label_infos,
    number,
    one_of,
    points,
    shown,
    tag,
    text,
)

RESULT_EXTENSIONS = (".nrrd", ".seg.nrrd", ".nii", ".nii.gz", ".json", ".mrk.json")
RESULT_TYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def _tag_option(name: str, value: Any) -> str:
    return tag(text(name, value))


def declared_checks(config: Mapping[str, Any]) -> dict[str, Check]:
    """Checks of the options that a task declares: the type of an option is that of its default, a list its choices."""
    checks: dict[str, Check] = {}
    for name, default in config.items():
        if name == "gpus":
            checks[name] = gpus
        elif isinstance(default, bool):
            checks[name] = flag
        elif isinstance(default, int):
            checks[name] = integer
        elif isinstance(default, float):
            checks[name] = number
        elif isinstance(default, (list, tuple, Mapping)):
            checks[name] = one_of(list(default))
        else:
            checks[name] = text
    return checks


def check_options(given: Mapping[str, Any], checks: Mapping[str, Check], what: str) -> dict[str, Any]:
    """The given options, each checked and in its declared type.

    Args:
        given: options of a client, by name.
        checks: a check for each option that there is.
        what: whose options, for the error.

    Raises:
        ClientError: an option is not declared or has the wrong type.
    """
    checked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in checks:
            # Slicer sends the clicks of every label that it knows: an empty list says nothing.
            if value == []:
                continue
            raise ClientError(f"{what} has no option {shown(name)}; its options are {', '.join(sorted(checks))}")
        checked[name] = check_plain(checks[name](name, value), name)
    return checked


def _without_model(given: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The options without the model's name, which some clients repeat."""
    if given.get("model", model) != model:
        raise ClientError(f"params name the model {shown(given['model'])}, the address {shown(model)}; give one")
    return {name: value for name, value in given.items() if name != "model"}


def infer_options(
    given: Mapping[str, Any], model: str, info: Mapping[str, Any], devices: Collection[str]
) -> dict[str, Any]:
    """The options of an inference.

    Args:
        given: `params` of the client.
        model: name of the task.
        info: what the task says about itself: `config`, `labels`.
        devices: devices that there are.

    Raises:
        ClientError: an option is not declared or has the wrong type.
    """
    labels = list(info.get("labels") or ())
    given = _without_model(given, model)
    # Slicer repeats the name of the selected label. Nothing reads it, and a stock task takes it for a file.
    if "label" not in labels and given.get("label") in [None, "", "background", "foreground", *labels]:
        given.pop("label", None)
    config = dict(info.get("config") or {})
    checks: dict[str, Check] = {
        **dict.fromkeys(["background", "foreground", *labels], points),
        "client_id": text,
        "label_info": label_infos,
        "label_tag": _tag_option,
        "logging": one_of(LOG_LEVELS),
        "restore_label_idx": flag,
        "result_compress": flag,
        "result_dtype": one_of(RESULT_TYPES),
        "result_extension": one_of(RESULT_EXTENSIONS),
        **declared_checks(config),
        "device": _device(config, devices),
    }
    return check_options(given, checks, f"model {model}")


def train_options(
    given: Mapping[str, Any], model: str, config: Mapping[str, Any], devices: Collection[str]
) -> dict[str, Any]:
    """The options of a training; the arguments are those of `infer_options`, `config` what the trainer declares.

    Raises:
        ClientError: an option is not declared or has the wrong type.
    """
    checks: dict[str, Check] = {
        "client_id": text,
        "name": text,
        "run_id": one_of(("", "run")),
        **declared_checks(config),
        "device": _device(config, devices),
    }
    return check_options(_without_model(given, model), checks, f"trainer {model}")


def batch_options(
    given: Mapping[str, Any], model: str, info: Mapping[str, Any], devices: Collection[str]
) -> dict[str, Any]:
    """The options of a batch inference: those of an inference, and how the images are worked through.

    Raises:
        ClientError: an option is not declared or has the wrong type.
    """
    own: dict[str, Check] = {
        "gpus": gpus,
        "label_tag": _tag_option,
        "max_batch_size": integer,
        "max_workers": integer,
        "multi_gpu": flag,
        "save_label": flag,
    }
    given = _without_model(given, model)
    rest = {name: value for name, value in given.items() if name not in own}
    checked = check_options({name: value for name, value in given.items() if name in own}, own, f"model {model}")
    return {**infer_options(rest, model, info, devices), **checked}


def scoring_options(given: Mapping[str, Any], method: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a scoring method: tags of the labels that are compared, and what it declares.

    Raises:
        ClientError: an option is not declared or has the wrong type.
    """
    checks: dict[str, Check] = {"client_id": text, "y": _tag_option, "y_pred": _tag_option, **declared_checks(config)}
    return check_options(given, checks, f"scoring method {method}")


def sample_options(given: Mapping[str, Any], strategy: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a strategy of active learning.

    Raises:
        ClientError: an option is not declared or has the wrong type.
    """
    checks: dict[str, Check] = {"client_id": text, "label_tag": _tag_option, **declared_checks(config)}
    return check_options(given, checks, f"strategy {strategy}")


def _device(config: Mapping[str, Any], devices: Collection[str]) -> Check:
    declared = config.get("device")
    named = [declared] if isinstance(declared, str) else list(declared or ())
    return one_of(list(dict.fromkeys([*named, *devices])))
