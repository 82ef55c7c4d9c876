"""The scripts of a bundle are compiled once for all the bundles that tests write: they differ in their folder alone."""

import marshal
from _imp import _fix_co_filename
from importlib.machinery import SourceFileLoader

KEPT: dict[bytes, bytes] = {}
compile_source = SourceFileLoader.source_to_code


def install(scripts=()):
    """Keep what is compiled from sources of folders called ``scripts``, and compile these now."""
    SourceFileLoader.source_to_code = source_to_code
    for path in scripts:
        source_to_code(SourceFileLoader("", str(path)), path.read_bytes(), f"scripts/{path.name}")


def source_to_code(loader, data, path, **options):
    """As `SourceFileLoader` does it; the code knows the path of its own file."""
    if options or not isinstance(data, bytes) or "scripts/" not in str(path):
        return compile_source(loader, data, path, **options)
    if data not in KEPT:
        KEPT[data] = marshal.dumps(compile_source(loader, data, path))
    code = marshal.loads(KEPT[data])
    _fix_co_filename(code, str(path))
    return code
