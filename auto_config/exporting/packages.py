"""The packages of the extra ``onnx``; asked for before anything heavy is imported."""

from __future__ import annotations

from importlib.util import find_spec

from auto_config.errors import UserError
from auto_config.wording import install_line


def require(*packages: str) -> None:
    """Refuse to go on without packages of the extra ``onnx``.

    Raises:
        UserError: one is not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX needs {' and '.join(missing)}, not installed here; {install_line(*missing)}")
