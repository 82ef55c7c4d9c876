"""Forms with files: read within limits, and written under names that the server chooses."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from ..core.errors import ClientError

MOST_FILES = 10
MOST_FIELDS = 20
# Between two blocks a thread waits for the interpreter, and others for it.
_COPIED_AT_ONCE = 2**22


async def read_form(request: Request, max_field_bytes: int) -> FormData:
    """The form of a request, empty if it has none.

    Args:
        request: whose body may be a form.
        max_field_bytes: the largest field that is no file.

    Raises:
        ClientError: status 413 for a field that is too large, 400 for what is no form.
    """
    too_large = ClientError(
        f"a field of the form is larger than {max_field_bytes / 2**20:g} MB, what the option max_params_mb allows",
        413,
    )
    try:
        form = await request.form(max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=max_field_bytes)
    except HTTPException as error:
        if error.status_code == 400 and "maximum size" in str(error.detail):
            raise too_large from None
        raise
    # Starlette looks at the size of fields in one of the two kinds of forms only.
    if any(isinstance(value, str) and len(value) > max_field_bytes for value in form.values()):
        raise too_large
    return form


def field(form: FormData, name: str) -> str:
    """A text field of a form; empty if it is not there.

    Raises:
        ClientError: it is a file.
    """
    value = form.get(name, "")
    if not isinstance(value, str):
        raise ClientError(f"the field {name} of the form is a file; send it as text")
    return value


def file_field(form: FormData, name: str) -> UploadFile:
    """A file of a form.

    Raises:
        ClientError: there is none, or it is text, or there are several.
    """
    values = form.getlist(name)
    if len(values) != 1 or not isinstance(values[0], UploadFile):
        raise ClientError(f"send one file as the field {name} of a form (multipart/form-data)")
    return values[0]


def ending(file_name: str, allowed: Collection[str]) -> str:
    """Which of the allowed endings, each with its dot, a file name has; the longest that fits.

    Raises:
        ClientError: none.
    """
    fitting = [one for one in allowed if file_name.lower().endswith(one)]
    if not fitting:
        shown = file_name.replace("\\", "/").rsplit("/", 1)[-1][-60:]
        raise ClientError(f"the file is called {shown!r}; its name must end with one of {', '.join(sorted(allowed))}")
    return max(fitting, key=len)


def stem(file_name: str, its_ending: str) -> str:
    """A file name without folders and ending; clients send the path that the file has on their machine."""
    return file_name.replace("\\", "/").rsplit("/", 1)[-1][: -len(its_ending)]


@contextmanager
def on_disk(upload: UploadFile, its_ending: str, name: str = "upload") -> Iterator[Path]:
    """The uploaded file in a folder of its own, which is gone afterwards. Blocks.

    Args:
        upload: what was sent.
        its_ending: ending of the file.
        name: what it is called, without ending.
    """
    with tempfile.TemporaryDirectory(prefix="landmark_upload_") as folder:
        path = Path(folder) / f"{name}{its_ending}"
        with path.open("wb") as target:
            shutil.copyfileobj(upload.file, target, _COPIED_AT_ONCE)
        yield path
