"""Words that options take, on the command line and in the functions behind it. Without imports: help is quick."""

from typing import Literal

Missing = Literal["unknown", "absent"]
"""What a name that one case's file lacks means."""

Outside = Literal["error", "absent"]
"""What a point outside its image is."""

Coordinates = Literal["ras", "lps", "voxel", "pixel", "mm"]
"""What the numbers of a point mean: RAS or LPS mm of a volume, mm of a picture, or indices of voxels or pixels (the
centre of the first one is 0)."""

NameField = Literal["labels", "descriptions", "order"]
"""What a landmark of a Slicer file is called by: its label, its description, or its place in the file (1, 2, ...)."""

Pose = Literal["auto", "upright", "free"]
"""How cases lie: alike, in any pose, or as their points tell."""

ImageMode = Literal["refer", "link", "copy"]
"""How a written data set has its images: by their paths, as links, or as copies."""

PointsFormat = Literal["roi", "fiducial"]
"""What a server gives to Slicer: boxes that its plugin submits again, or points."""

ExportFormat = Literal["onnx", "torchscript", "all"]
"""Files that networks are exported to."""

Runtime = Literal["torch", "onnx"]
"""What runs the networks of a prediction: PyTorch, or onnxruntime on the CPU."""

Jitter = Literal["gaussian", "out_of_fold"]
"""How far training crops lie from their landmarks: as planned, or as the coarse stage of an earlier training erred."""
