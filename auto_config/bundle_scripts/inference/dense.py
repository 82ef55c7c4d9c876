"""One stage: peaks, or heatmaps of the whole image, by a sliding window, decoded view by view."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from monai.inferers import Inferer, SlidingWindowInferer

from ..grid.grids import to_cells
from ..grid.turning import sampled, turned_box
from ..methods.boxes import local_decoder
from ..methods.interfaces import Decoder, Output, StageNetwork, kept_heads
from ..points.instances import Instances
from ..points.peaks import Peaks
from ..points.shape import ShapeModel, shape_prior
from .expected.look import Sight, look_at_places, of_logits
from .expected.places import ExpectedPlaces
from .heatmaps import HeatmapInferer, Heatmaps, check_finite, slide
from .poses import Look, PoseSearch, judges, turned_back
from .streaming.peaks import saves_memory, stream_peaks
from .streaming.windows import on_host, plain_window
from .views import agreement, mean_of_views

Found = TypeVar("Found", Heatmaps, Peaks)

NO_ROOM = "no room on the GPU for heatmaps of an image of %d voxels: those of such images are merged on the CPU"


class DenseInferer(HeatmapInferer):
    """Finds every landmark in a heatmap of the whole planned grid.

    The window slides over the image once for each view. A sliding window is a weighted mean of what the network says,
    so the mean of the views' heatmaps is the heatmap of the mean of the views, and points are those that one pass with
    a network that averages would give.

    Args:
        window: MONAI's ``SlidingWindowInferer``, or another that gives what the network gives, head by head.
        decoder: from an output to peaks.
        spacing: mm of the planned grid.
        instances: which rows of peaks belong to which landmark, where the decoder finds several.
        shape: a shape model whose prior chooses among the maxima of a landmark that it finds far off; None for none.
            Views are compared without it, so that their disagreement means the same with it.
        stage: name of the stage.
        flip_pairs: see `HeatmapInferer`.
        amp: see `HeatmapInferer`.
        pose: tries poses of the whole image; None looks at it as it lies.
        pad_value: value of air, around turned images.
        expected: where the training cases have their landmarks; peaks alone are then looked for there, and in the whole
            image where something speaks against what was seen. None always looks at the whole image.
    """

    why_all_windows: str | None = None
    """Why all windows of the last image were looked at, a word of `scripts.inference.expected.doubts`; None where the
    expected places were enough, and where they were not tried."""

    def __init__(
        self,
        *,
        window: Inferer,
        decoder: Decoder,
        spacing: Sequence[float],
        instances: Instances | None = None,
        shape: ShapeModel | None = None,
        stage: str = "fine",
        flip_pairs: str | Path | Sequence[int] | None = None,
        amp: bool = False,
        pose: PoseSearch | None = None,
        pad_value: float = 0.0,
        expected: ExpectedPlaces | None = None,
    ) -> None:
        super().__init__({stage: decoder}, flip_pairs, amp=amp)
        self.window, self.decoder, self.instances, self.shape = window, decoder, instances, shape
        self.stage, self.pose, self.pad_value = stage, pose, float(pad_value)
        self.spacing, self.expected = np.asarray(spacing, dtype=np.float64), expected
        self._too_large = math.inf  # voxels of the smallest image whose heatmaps the device had no room for

    def find(self, image: torch.Tensor, network: StageNetwork) -> Heatmaps:
        """The output ``(channels, *grid)`` of an image ``(C, *size)`` on the planned grid, and its peaks.

        Raises:
            ValueError: if the network gives numbers that are not finite, as after a training that diverged.
        """
        single = self.decoder.single()
        return self._posed(
            image,
            network,
            lambda seen, turn: self._find(seen, network, turn),
            lambda found: single.decode(found.output),
            lambda seen: self._glance(seen, network.views()[0]),
        )

    def find_peaks(self, image: torch.Tensor, network: StageNetwork) -> Peaks:
        """The peaks that `find` finds; without a map of the whole image where slabs of it do and take less memory.

        That needs MONAI's own window, a decoder that looks only near the highest voxel, and no shape that chooses
        among maxima. Along the first axis the peaks are equal bit for bit. Where it is known where landmarks are
        expected, windows there come first; they are merged as all are, with fewer looks at a place.
        """
        self.why_all_windows = None
        window, local, views = plain_window(self.window), local_decoder(self.decoder), network.views()
        if window is None or local is None or self.shape is not None:
            return self.find(image, network).peaks
        looks = [self._look(view) for view in views]
        in_slabs = saves_memory(window, image.shape[1:], len(views), local.radius)

        def found(seen: torch.Tensor, turn: np.ndarray | None) -> Peaks:
            # A turned image has another frame.
            few = self._at_expected_places(window, seen, network, looks) if turn is None else None
            if few is None and not in_slabs:
                return self._find(seen, network, turn).peaks
            peaks, single = stream_peaks(window, seen, looks, local) if few is None else few
            check_finite(peaks.points, peaks.confidence)
            points = [one.points for one in single]
            columns = agreement(points, peaks.points, network.flipped, self.spacing, self.instances)
            columns = {name: column.to(peaks.confidence) for name, column in columns.items()}
            return turned_back(replace(peaks, **columns), turn)

        def glance(seen: torch.Tensor) -> Peaks:
            if in_slabs:
                return stream_peaks(window, seen, looks[:1], local)[0]
            return self._glance(seen, views[0])

        return self._posed(image, network, found, lambda peaks: peaks, glance)

    def _at_expected_places(
        self,
        window: SlidingWindowInferer,
        image: torch.Tensor,
        network: StageNetwork,
        looks: Sequence[Callable[[torch.Tensor], Output]],
    ) -> tuple[Peaks, list[Peaks]] | None:
        """Peaks of the mean of the views, and of each view, from the expected places alone; None in doubt."""
        decoder = of_logits(self.decoder)
        if self.expected is None or self.instances is not None or decoder is None:
            return None

        def fits(points: np.ndarray, confidence: np.ndarray, seen: np.ndarray) -> bool:
            return self._fits(network.shape, points * self.spacing, confidence, seen)

        looked = look_at_places(Sight(window, image, looks), decoder, self.expected, fits)
        if looked.why is not None:
            self.why_all_windows = looked.why
            logging.getLogger(__name__).info("all windows are looked at: %s", looked.why)
        return looked.found

    def _fits(self, shape: ShapeModel | None, points: np.ndarray, confidence: np.ndarray, seen: np.ndarray) -> bool:
        """Whether points ``(L, D)`` mm, those that are seen, agree with a shape; also where it says nothing."""
        if shape is None or not judges(shape):
            return True
        there, voxel = np.where(seen[:, None], points, np.nan), float(self.spacing.max())
        if shape.judge(there, voxel)[2].any():
            return False
        if self.pose is None:
            return True
        return self.pose.plausible(self.pose.look_at(shape, np.eye(len(self.spacing)), there, confidence, voxel))

    def _posed(
        self,
        image: torch.Tensor,
        network: StageNetwork,
        find: Callable[[torch.Tensor, np.ndarray | None], Found],
        peaks_of: Callable[[Found], Peaks],
        glance: Callable[[torch.Tensor], Peaks],
    ) -> Found:
        """What is found in the pose of the image that it is found best in.

        Args:
            image: ``(C, *size)``.
            network: with the shape that judges.
            find: from an image, and the map from its voxels to planned voxels, to what is found with all views.
            peaks_of: its peaks.
            glance: from a turned image to peaks of one view.
        """
        first_found = find(image, None)
        if self.pose is None:
            return first_found
        pose, voxel = self.pose, float(self.spacing.max())

        def judged(peaks: Peaks, rotation: np.ndarray, turn: np.ndarray | None) -> Look:
            back = turned_back(peaks, turn)
            points, sure = (values.double().cpu().numpy() for values in (back.points, back.confidence))
            return pose.look_at(network.shape, rotation, points * self.spacing, sure, voxel)

        def look(rotation: np.ndarray) -> Look:
            turned, turn = self._turned(image, rotation)
            return judged(glance(turned), rotation, turn)

        first = judged(peaks_of(first_found), np.eye(len(self.spacing)), None)
        best = pose.best(first, look, network.shape)
        return first_found if best is first else find(*self._turned(image, best.rotation))

    def _turned(self, image: torch.Tensor, rotation: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
        """The whole image on a turned grid, and the map from its voxels to planned voxels."""
        turn, size = turned_box(rotation, self.spacing, image.shape[1:])
        return sampled(image, turn, size, self.pad_value), turn

    def _find(self, image: torch.Tensor, network: StageNetwork, turn: np.ndarray | None) -> Heatmaps:
        """What the network finds in an image on a grid that `turn` brings back to the planned one."""
        return self._with_room(image, lambda window: self._find_with(window, image, network, turn))

    def _glance(self, image: torch.Tensor, view: StageNetwork) -> Peaks:
        """Peaks of one view, one for each landmark."""
        single = self.decoder.single()
        return self._with_room(image, lambda window: single.decode(slide(window, image, self._look(view))))

    def _with_room(self, image: torch.Tensor, work: Callable[[Inferer], Found]) -> Found:
        """What is made of heatmaps of the whole image, which lie on its device or, where that is full, on the host.

        Tried and not reckoned: what is free depends on the GPU at hand, on who else uses it and on what a decoder makes
        of the maps. Of images as large as one that failed no further one is tried.
        """
        voxels, elsewhere, full = image[0].numel(), on_host(self.window), False
        if image.device.type == "cpu" or elsewhere is None:
            return work(self.window)
        if voxels < self._too_large:
            try:
                return work(self.window)
            except torch.OutOfMemoryError:
                full = True
                logging.getLogger(__name__).warning(NO_ROOM, voxels)
        # Not within the clause above: the error's frames hold what was made so far.
        found = work(elsewhere)
        if full:
            # Only now: where the network itself has no room, the host is no help, and the error is the user's to see.
            self._too_large = voxels
        return found

    def _find_with(
        self, window: Inferer, image: torch.Tensor, network: StageNetwork, turn: np.ndarray | None
    ) -> Heatmaps:
        """`_find` with a window that says where heatmaps lie; so do the peaks."""
        looks = [partial(slide, window, image, self._look(view)) for view in network.views()]
        output, single = mean_of_views(looks, lambda seen: self.decoder.decode(seen).points)
        peaks = self.decoder.decode(output)
        check_finite(peaks.points, peaks.confidence)
        columns = agreement(single, peaks.points, network.flipped, self.spacing, self.instances)
        if self.shape is not None:
            # Axes of the planned grid times spacing are a right-handed frame in mm, as the world of the shape is.
            voxel = float(self.spacing.max())
            fitted, distance, far = self.shape.judge(peaks.points.double().cpu().numpy() * self.spacing, voxel)
            if far.any():
                deviation, stride = self.shape.deviation(voxel), self.decoder.stride
                centre, grid = to_cells(fitted / self.spacing, stride), output[self.decoder.heads[0]]
                prior = shape_prior(centre, deviation, self.spacing * stride, far, grid)
                peaks = self.decoder.decode(output, prior)
            columns |= {"shape_distance": torch.from_numpy(distance), "replaced": torch.from_numpy(far)}
        columns = {name: column.to(peaks.confidence) for name, column in columns.items()}
        first = output[self.decoder.heads[0]]
        origins = torch.zeros((len(first), len(self.spacing)), device=first.device)
        return Heatmaps(output, origins, turned_back(replace(peaks, **columns), turn), turn)

    def _look(self, view: StageNetwork) -> Callable[[torch.Tensor], Output]:
        """From windows ``(B, C, *size)`` to what one view says of them, head by head."""
        return lambda x: kept_heads(view({self.stage: x})[self.stage], self.decoder)
