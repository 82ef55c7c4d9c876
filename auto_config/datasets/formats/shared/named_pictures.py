"""Where the pictures lie that one file names, in the folder layouts of the tools that write such files.

The file lies beside the pictures, above them, or in ``annotations/`` of a folder that holds them (COCO, CVAT's export
"COCO Keypoints"): ``annotations/person_keypoints_train2017.json`` with ``train2017/`` or ``images/train2017/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from auto_config.datasets.formats.shared.case_files import find_images
from auto_config.datasets.formats.shared.entries import absolute
from auto_config.datasets.formats.shared.image_names import ImageNames, local_path, without_zeros
from auto_config.datasets.formats.shared.points import shown
from auto_config.datasets.images import is_image
from auto_config.errors import UserError

ANNOTATIONS = "annotations"
"""Folder of the file, beside the folders of the pictures."""


def root_of(source: Path) -> Path:
    """The folder below which the pictures of a file lie: its own, or the one above ``annotations/``."""
    return source.parent.parent if source.parent.name.lower() == ANNOTATIONS else source.parent


@dataclass(frozen=True)
class NamedPictures:
    """The images below the folder of a file that names them.

    Args:
        source: The file.
        root: The folder below which they lie.
        files: All of them.
    """

    source: Path
    root: Path
    files: tuple[Path, ...]

    @classmethod
    def of(cls, source: Path) -> NamedPictures:
        """Look for the images of a file."""
        root = root_of(source)
        return cls(source, root, tuple(find_images(root, root)[1]))

    def find(self, name: object, where: str, what: str) -> Path | None:
        """The image of a name, or None where there is none.

        Args:
            name: Its path or name in the file, with ``/`` or a backslash between folders.
            where: The place in the file, named in errors.
            what: The key or line that has the name, named in errors.

        The path relative to the file counts first, then that below the root; then images of that name anywhere below
        the root, of which those in the folder whose name the file has (``default``, ``train2017``) come first.

        Raises:
            UserError: It is no name, or fits several images.
        """
        if not isinstance(name, str) or not name or not name.isprintable():
            raise UserError(f"{where}: {what} is {shown(name)}; give the name of its picture")
        try:
            direct = local_path(self.source.parent, name)
            if is_image(direct):
                return absolute(direct)
        except OSError:  # a name that is too long for a file
            return None
        found = [path for path in ImageNames(self.files, self.root).find(name) if not without_zeros(name, path)]
        own = [path for path in found if self.source.stem.endswith(f"_{path.parent.name}")]
        found = own if len(found) > 1 and own else found
        if len(found) > 1:
            listed = " and ".join(str(path.relative_to(self.root)) for path in found)
            raise UserError(f"{where}: {name!r} fits several pictures, {listed}; keep one, or name its path")
        return absolute(found[0]) if found else None
