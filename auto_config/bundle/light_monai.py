"""MONAI with the modules that are used, and not with all of them.

``import monai`` imports each of its 300 modules, and with them what is installed beside it (matplotlib, torchvision,
mlflow): ten seconds or more, most of the time of a prediction of one image. A program that calls `install` before it
imports MONAI gets packages that import a module when something of it is asked for. The same is done with ignite, of
which MONAI needs one class and gets all, and with it torch's sharded training and sympy; and what MONAI imports only
where it is installed (`LATER`) is imported when it is used.

Nothing is missing: a name that no package exports is looked for once more with every module imported (`import_all`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from auto_config.errors import UserError

Done = TypeVar("Done")

PACKAGES = (
    "monai",
    "monai.apps",
    "monai.bundle",
    "monai.data",
    "monai.inferers",
    "monai.networks",
    "monai.networks.blocks",
    "monai.networks.layers",
    "monai.networks.nets",
    "monai.networks.schedulers",
    "monai.transforms",
    "monai.utils",
    "monai.visualize",
)
"""Those whose own imports are put off. Others import what belongs together."""
OF_IGNITE = ("ignite", "ignite.metrics")
"""The same of ignite, whose other packages import what belongs together."""
KNOWN = {"monai": "1.6", "pytorch-ignite": "0.5"}
"""Releases that this was tried with; with others nothing is put off."""
LATER = ("itk", "matplotlib", "pandas", "requests", "scipy.ndimage", "scipy.signal", "scipy.sparse", "skimage")
"""What MONAI asks for by `optional_import` and a prediction hardly ever needs."""


def install() -> bool:
    """Put MONAI's imports off, in a process that has not imported it.

    Returns:
        Whether it was done: not if MONAI is imported already, or is a release that nobody tried.
    """
    before = set(sys.modules)
    try:
        if not _put_off_all(PACKAGES, "monai"):
            return False
        sys.modules["monai"].__dict__["put_off"] = True
        sys.modules["monai.utils"].__dict__["optional_import"] = _optional_import
        _put_off_all(OF_IGNITE, "pytorch-ignite")
    except Exception:
        # Packages that do not look as they did in the releases that were tried: they are imported as ever.
        for name in {*PACKAGES, *OF_IGNITE} - before:
            sys.modules.pop(name, None)
        return False
    return True


def _put_off_all(packages: tuple[str, ...], distribution: str) -> bool:
    """Put the imports of packages off, the outermost first; False where that was not tried, or is too late."""
    first = packages[0]
    if first in sys.modules:
        return False
    try:
        release = version(distribution)
    except PackageNotFoundError:
        return False
    spec = importlib.util.find_spec(first)
    if not release.startswith(f"{KNOWN[distribution]}.") or spec is None or not spec.submodule_search_locations:
        return False
    root = Path(spec.submodule_search_locations[0])
    folders = {name: root.joinpath(*name.split(".")[1:]) for name in packages}
    if not all((folder / "__init__.py").is_file() for folder in folders.values()):
        return False
    for name, folder in folders.items():
        _put_off(name, folder)
    sys.modules[first].__dict__["__version__"] = release
    return True


def _put_off(name: str, folder: Path) -> None:
    """A package that imports its parts when they are asked for."""
    path = folder / "__init__.py"
    source = path.read_text(encoding="utf-8")
    names = exported_names(source, name)
    module = types.ModuleType(name)
    module.__path__ = [str(folder)]
    module.__file__ = str(path)
    module.__package__ = name
    module.__spec__ = ModuleSpec(name, None, origin=str(path), is_package=True)
    module.__spec__.submodule_search_locations = module.__path__
    module.__dict__["__all__"] = _listed(source) or [public for public in names if not public.startswith("_")]

    def found(wanted: str) -> Any:
        """What `from .part import wanted` of the package gives, or its part of that name."""
        if wanted in names:
            part, original = names[wanted]
            value = getattr(importlib.import_module(f"{name}.{part}"), original)
        elif (folder / wanted).is_dir() or (folder / f"{wanted}.py").is_file():
            value = importlib.import_module(f"{name}.{wanted}")
        elif not wanted.startswith("_") and import_all() and wanted in module.__dict__:
            return module.__dict__[wanted]
        else:
            raise AttributeError(f"module {name!r} has no attribute {wanted!r}")
        setattr(module, wanted, value)
        if (name, wanted) == ("monai.data", "MetaTensor"):
            _run_rest(source, module)
        return value

    module.__dict__["__getattr__"] = found
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], last, module)


def _listed(source: str) -> list[str]:
    """What a package says that `from package import *` gives."""
    for node in ast.parse(source).body if "__all__" in source else []:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def _run_rest(source: str, module: types.ModuleType) -> None:
    """Run what else stands in a package: `monai.data` says there how MetaTensors go to other processes."""
    body: list[ast.stmt] = [node for node in ast.parse(source).body if isinstance(node, ast.With | ast.Import)]
    exec(compile(ast.Module(body, type_ignores=[]), str(module.__file__), "exec"), module.__dict__)  # noqa: S102


class _Later:
    """What `optional_import` would give, imported when it is used: a module, or a class or function of it."""

    def __init__(self, give: Callable[[], Any]) -> None:
        self.__dict__["_give"] = cache(give)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._give(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._give()(*args, **kwargs)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self._give())

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self._give())

    def __mro_entries__(self, _: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self._give(),)


def _optional_import(module: str, *args: Any, **options: Any) -> tuple[Any, bool]:
    """MONAI's `optional_import`, which here imports what `LATER` names when it is used, if it is installed at all."""
    now = importlib.import_module("monai.utils.module").optional_import
    late = any(f"{module}.".startswith(f"{name}.") for name in LATER) and module not in sys.modules
    # `as_type` is the eighth: who asks for a base class gets it at once.
    if not late or len(args) > 6 or "as_type" in options or importlib.util.find_spec(module.partition(".")[0]) is None:
        given: tuple[Any, bool] = now(module, *args, **options)
        return given
    return _Later(lambda: now(module, *args, **options)[0]), True


def is_light() -> bool:
    """Whether `install` has put imports off in this process."""
    return getattr(sys.modules.get("monai"), "put_off", False) is True


def puts_off() -> bool:
    """Whether imports are still put off: `install` did so, and `import_all` has not been needed."""
    return is_light() and not vars(sys.modules["monai"]).get("all_imported", False)


def full_targets(config: Any) -> Any:
    """A config whose ``_target_`` of MONAI are whole names, because MONAI looks short ones up in what is imported.

    Args:
        config: JSON of a bundle.

    Raises:
        KeyError: a short name that no package of `SEARCHED` has.
    """
    if isinstance(config, list):
        return [full_targets(value) for value in config]
    if not isinstance(config, dict):
        return config
    done = {key: full_targets(value) for key, value in config.items()}
    target = config.get("_target_")
    if isinstance(target, str) and "." not in target and not target.startswith(("$", "@", "%")):
        done["_target_"] = f"{_package_of(target)}.{target}"
    return done


SEARCHED = (
    "transforms",
    "inferers",
    "networks.nets",
    "networks.blocks",
    "data",
    "engines",
    "handlers",
    "losses",
    "metrics",
    "optimizers",
)
"""Packages of MONAI in which short names are looked up."""


def _package_of(target: str) -> str:
    root = Path(next(iter(sys.modules["monai"].__path__)))
    for package in SEARCHED:
        source = root.joinpath(*package.split("."), "__init__.py")
        if target in exported_names(source.read_text(encoding="utf-8"), f"monai.{package}"):
            return f"monai.{package}"
    raise KeyError(target)


def import_all() -> bool:
    """Import every module of MONAI after all, as ``import monai`` does.

    Returns:
        Whether that was needed: not where it was done before, or where nothing was put off.
    """
    if not puts_off():
        return False
    monai = sys.modules["monai"]
    vars(monai)["all_imported"] = True
    from monai.utils.module import load_submodules

    left_out = r"(^(monai\.(handlers|bundle|fl|_C)))|(\.so$)|(__main__$)|(video_dataset$)|(nnunet)"
    for modules_too in (False, True):
        load_submodules(monai, modules_too, exclude_pattern=left_out)
    return True


def or_with_all_of_monai(work: Callable[[], Done]) -> Done:
    """Work that is done once more with every module of MONAI where it fails while imports are put off.

    Args:
        work: may need what MONAI has only when each of its modules is imported.

    Raises:
        UserError: as `work` does, at once. Its other errors, of the second time where there is one.
    """
    try:
        return work()
    except UserError:
        raise
    except Exception:
        if not import_all():
            raise
    return work()


@cache
def exported_names(source: str, package: str) -> dict[str, tuple[str, str]]:
    """What the imports of its own modules at the top of a package give: name to module and name there.

    Args:
        source: of its ``__init__.py``.
        package: its name, with which such an import begins where it is not relative.
    """
    names = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        inside = node.module.startswith(f"{package}.") and node.level == 0
        if node.level == 1 or inside:
            module = node.module.removeprefix(f"{package}.") if inside else node.module
            for alias in node.names:
                names[alias.asname or alias.name] = (module, alias.name)
    return names
