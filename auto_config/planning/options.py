"""What a user may decide instead of the planner, checked."""

from __future__ import annotations

from dataclasses import dataclass

from auto_config.errors import UserError
from auto_config.methods.choosing import check_names

MODALITIES = ("ct", "mr")
MOST_CUT = 0.9
POSES = ("auto", "upright", "free")


@dataclass(frozen=True)
class PlanOptions:
    """Wishes of the user; None leaves the decision to the planner.

    Args:
        method: one of ``METHODS``; None for the first one.
        network: one of ``BACKBONES`` that the method takes, or a class or a ``.json`` file of the user's.
        target: one of ``TARGETS``; None for the method's own, or one that fits the loss.
        loss: one of ``LOSSES``; None for the method's own.
        decoder: one of ``DECODERS``; None for the method's own, or one that fits the loss.
        gpu_memory_gb: memory to plan for, in GB.
        found_gpu_memory_gb: memory of the GPU of this machine, if it has one (`hardware.gpu_memory_gb`).
        spacing: mm of the planned grid, RAS order; one number or none for all axes at once is the caller's business.
        patch_size: voxels of the patch (two stages: of the fine crops), RAS order.
        stages: 1 or 2.
        modality: ``"ct"`` or ``"mr"``, or one for each channel with commas between: ``"ct,mr"``.
        cut_share: share of the training samples whose field of view is cut, below 1; 0 cuts none.
        pose: ``upright``, ``free``, or ``auto`` for what the points tell.
        channel_names: What the channels are called, such as ``("T1", "T2")``.
        few_labels: plan for few labelled cases.
        deformation: deform patches smoothly, or not; None for few labels only.
    """

    method: str | None = None
    network: str | None = None
    target: str | None = None
    loss: str | None = None
    decoder: str | None = None
    gpu_memory_gb: float | None = None
    found_gpu_memory_gb: float | None = None
    spacing: tuple[float, ...] | None = None
    patch_size: tuple[int, ...] | None = None
    stages: int | None = None
    modality: str | None = None
    channel_names: tuple[str, ...] | None = None
    cut_share: float | None = None
    pose: str = "auto"
    few_labels: bool = False
    deformation: bool | None = None

    def check(self, spatial_dims: int) -> None:
        """Refuse what cannot be planned.

        Raises:
            UserError: an option has a value that is not allowed, or two options contradict each other.
        """
        check_names(self.method, self.network, self.target, self.loss, self.decoder)
        for modality in self.modalities:
            _choice("modality", modality, MODALITIES)
        if self.gpu_memory_gb is not None and not 1 <= self.gpu_memory_gb <= 1000:
            raise UserError(f"--gpu_memory_gb must be between 1 and 1000 GB, got {self.gpu_memory_gb:g}")
        if self.stages not in (None, 1, 2):
            raise UserError(f"--stages must be 1 or 2, got {self.stages}")
        if self.cut_share is not None and not 0 <= self.cut_share <= MOST_CUT:
            raise UserError(
                f"--cut_share must be between 0 (no field of view is cut) and {MOST_CUT:g}, got {self.cut_share:g}"
            )
        _choice("pose", self.pose, POSES)
        _axes("spacing", self.spacing, spatial_dims, "millimetres above 0, such as 0.5")
        _axes("patch_size", self.patch_size, spatial_dims, "whole numbers of voxels above 0, such as 96")

    @property
    def modalities(self) -> tuple[str, ...]:
        """The given modalities: none, one for all channels, or one for each."""
        return () if self.modality is None else tuple(part.strip() for part in self.modality.split(","))

    def check_channels(self, channels: int) -> None:
        """Refuse as many names or modalities as there are no channels.

        Raises:
            UserError: another number than of channels.
        """
        for option, given in (("modality", self.modalities[1:] and self.modalities), ("channels", self.channel_names)):
            if given and len(given) != channels:
                what = f"--{option} {','.join(given)}"
                raise UserError(f"{what}: has {len(given)} parts, the images have {channels} channels")


def _choice(option: str, value: str | None, allowed: tuple[str, ...]) -> None:
    if value is not None and value not in allowed:
        raise UserError(f"--{option} must be one of {', '.join(allowed)}, got {value!r}")


def _axes(option: str, value: tuple[float, ...] | tuple[int, ...] | None, spatial_dims: int, what: str) -> None:
    if value is None:
        return
    if len(value) != spatial_dims or any(not 0 < number < float("inf") for number in value):
        given = ",".join(f"{number:g}" for number in value)
        raise UserError(
            f"--{option} needs {spatial_dims} numbers (x,y{',z' * (spatial_dims - 2)}), {what}; got {given}"
        )
