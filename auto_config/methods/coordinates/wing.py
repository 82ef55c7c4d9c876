"""`wing`: wing loss on the mean of a heatmap."""

from auto_config.methods.coordinates.shared import method

METHOD = method(
    "wing",
    "coordinates as means of heatmaps, by a loss that is steep for small errors",
    "Feng et al., Wing Loss for Robust Facial Landmark Localisation with Convolutional Neural Networks, CVPR 2018",
    loss="losses.WingLoss",
    rule={"omega": 5.0, "epsilon": 0.5, "weight": 50.0, "sigma": 1.0},
    why="logarithm of errors below 5 voxels, and the regulariser of method dsnt, because the loss leaves the form of "
    "heatmaps open; it weighs 50, because the loss is in voxels, whose slope is some 50 times that of the shares of a "
    "patch of method dsnt: with 1 it was not felt (1.7 mm on the mouse skulls, as the mean shape)",
    bytes_per_voxel=58.0,
    # The slope of the loss does not fall as the error does, so points of heatmaps of finite training tremble about it.
    tolerance=0.1,
)
