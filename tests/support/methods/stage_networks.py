"""Stand-ins for networks and losses: a function on tensors as what inference and training call."""

from torch import nn

from auto_config.bundle_scripts.methods.interfaces import LOGITS, PointBatch


class Staged(nn.Module):
    """A function from images to logits as a network of stages."""

    flipped = False

    def __init__(self, function, shape=None):
        super().__init__()
        self.function, self.shape = function, shape

    def views(self):
        return [self]

    def forward(self, images):
        return {name: {LOGITS: self.function(image)} for name, image in images.items()}


class OnLogits(nn.Module):
    """A loss, called with logits, points ``(B, L, D)`` or ``(B, L, K, D)`` and status."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def forward(self, logits, points, status):
        several = points if points.ndim == 4 else points.unsqueeze(2)
        return self.loss({LOGITS: logits}, PointBatch(several, status), tuple(logits.shape[2:]))
