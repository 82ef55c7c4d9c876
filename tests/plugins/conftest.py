"""The module for Slicer is found as Slicer finds it: by the folder of its file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins" / "slicer" / "LandmarkBundles"))
