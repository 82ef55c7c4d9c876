"""The packages of the extra ``onnx``; asked for before anything heavy is imported."""

from __future__ import annotations

from importlib.util import find_spec

from auto_config.errors import UserError


def require(*packages: str) -> None:
    """Refuse to go on without packages of the extra ``onnx``.

    Raises:
        UserError: one is not installed.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UserError(
            f"ONNX needs {' and '.join(missing)}, not installed here: pip install 'landmark-bundles[onnx]' (or "
            f"{' '.join(missing)})"
        )
