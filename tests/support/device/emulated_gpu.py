"""A GPU that computes on the CPU: tensors claim to be on ``cuda:0``, mixes of devices raise, waits are counted.

Whether a tensor is on the device is known of its storage, not of its class, so that MONAI's `MetaTensor`, parameters,
gradients and what autograd makes in between are covered alike. Two modes of torch see all that happens: one what Python
calls (``device``, ``to``, ``numpy``, factories), the other every operation, those of a backward pass included.

A wait is what CUDA makes the host wait for: reading a value (``item``, ``bool``, ``tolist``), a copy that is not
declared ``non_blocking`` or whose memory of the host is not pinned, and shapes that follow from values (``nonzero``,
indexing with booleans).
It says nothing about kernels: whether they exist, what they cost, and whether they round alike.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")

# Values of the host that the device is given: a copy that waits.
_FROM_HOST = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}
_READS = {torch.Tensor.tolist: "tolist", torch.Tensor.cpu: "cpu"}
# In inference mode their operations come by no mode, so they are counted where Python asks.
_VALUES = {
    torch.Tensor.item,
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.Tensor.__index__,
}
_ARRAYS = {torch.Tensor.numpy, torch.Tensor.__array__}
# Operations whose result has a shape that follows from values, or that look at a value.
_WAITING = {
    "aten::_local_scalar_dense": "item",
    "aten::nonzero": "nonzero",
    "aten::masked_select": "masked_select",
    "aten::_unique2": "unique",
    "aten::unique_dim": "unique",
    "aten::unique_consecutive": "unique",
    "aten::equal": "equal",
    "aten::_linalg_check_errors": "linalg",
    "aten::linalg_eigh": "linalg",
    "aten::_linalg_eigh": "linalg",
    "aten::repeat_interleave": "repeat_interleave",
    "aten::bincount": "bincount",
}
_INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class MixedDevicesError(RuntimeError):
    """What CUDA says of an operation on tensors of both devices."""


class EmulatedGPU:
    """What is on the device, and how often the host waited for it."""

    def __init__(self) -> None:
        self.waits: Counter[str] = Counter()
        self._held: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}
        self._counting = True
        self.asked = 0  # calls of Python that are under way

    @property
    def count(self) -> int:
        """How often the host waited."""
        return sum(self.waits.values())

    def reset(self) -> None:
        """Count from 0."""
        self.waits.clear()

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor is on the device."""
        return _lists(self._held, tensor)

    def put(self, tensor: torch.Tensor) -> None:
        """Say that a tensor, and all that shares its memory, is on the device."""
        _list(self._held, tensor)

    def pinned(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor lies in memory of the host that the device copies from and to by itself."""
        return _lists(self._pinned, tensor)

    def pin(self, tensor: torch.Tensor) -> None:
        """Say that a tensor, and all that shares its memory, lies there."""
        _list(self._pinned, tensor)

    def take(self, tensor: torch.Tensor) -> None:
        """Say that a tensor is on the host."""
        self._held.pop(tensor.untyped_storage()._cdata, None)

    def wait(self, kind: str) -> None:
        """Count one wait, with the line of ours or of MONAI's that made it."""
        if self._counting:
            self.waits[f"{kind} {_caller()}"] += 1

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Look at values without waiting for them."""
        before, self._counting = self._counting, False
        try:
            yield
        finally:
            self._counting = before

    def moved(self, tensor: torch.Tensor, to_gpu: bool, *, non_blocking: bool, **how: Any) -> torch.Tensor:
        """A tensor on a device: itself where it is there already, and else a copy."""
        was = self.holds(tensor)
        if was == to_gpu:
            return tensor.to(**how) if how else tensor
        # On the way to the host torch pins the memory of what it makes, if it is not to wait.
        if not non_blocking or (to_gpu and not self.pinned(tensor)):
            self.wait("copy to the device" if to_gpu else "copy to the host")
        copy = tensor.to(copy=True, **how)
        (self.put if to_gpu else self.take)(copy)
        if non_blocking and not to_gpu:
            self.pin(copy)
        return copy


def _lists(found: Mapping[int, StorageWeakRef], tensor: torch.Tensor) -> bool:
    held = found.get(tensor.untyped_storage()._cdata)
    return held is not None and not held.expired()


def _list(found: dict[int, StorageWeakRef], tensor: torch.Tensor) -> None:
    storage = tensor.untyped_storage()
    # The weak reference keeps the address from being used again.
    if storage._cdata not in found or found[storage._cdata].expired():
        found[storage._cdata] = StorageWeakRef(storage)
    if len(found) > 20_000:
        for key in [key for key, ref in found.items() if ref.expired()]:
            del found[key]


def _caller() -> str:
    """The innermost line outside of torch, of this file and of the standard library."""
    frame = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if not any(part in path for part in ("/torch/", "emulated_gpu", "/lib/python3.11/contextlib", "<")):
            return f"{'/'.join(path.split('/')[-2:])}:{frame.f_lineno}"
        if frame.f_back is None:
            break
        frame = frame.f_back
    return "autograd"


class _Calls(TorchFunctionMode):
    """What Python asks of tensors."""

    def __init__(self, gpu: EmulatedGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.backward:
            # torch would take this mode away for the call; what autograd functions of Python do is seen too.
            (loss,) = args
            seed = torch.ones_like(loss)
            with self:
                torch.autograd.Variable._execution_engine.run_backward(
                    (loss,), (seed,), False, False, (), allow_unreachable=True, accumulate_grad=True
                )
            return None
        self.gpu.asked += 1
        try:
            return self._call(func, args, dict(kwargs or {}))
        finally:
            self.gpu.asked -= 1

    def _call(self, func: Callable[..., Any], args: Any, given: dict[str, Any]) -> Any:
        gpu = self.gpu
        first = args[0] if args and isinstance(args[0], torch.Tensor) else None
        if first is not None:
            on_gpu = gpu.holds(first)
            if func == torch.Tensor.device.__get__:
                return GPU if on_gpu else CPU
            if func == torch.Tensor.is_cuda.__get__:
                return on_gpu
            if func == torch.Tensor.is_cpu.__get__:
                return not on_gpu
            if func in _ARRAYS and on_gpu:
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
            if func in _VALUES and on_gpu:
                gpu.wait("item")
                with gpu.uncounted():
                    return func(*args, **given)
            if func in _READS and on_gpu:
                gpu.wait(_READS[func])
                if func is torch.Tensor.tolist:
                    return func(*args, **given)
                with gpu.uncounted():
                    return gpu.moved(first, False, non_blocking=False)
            if func is torch.Tensor.cuda:
                return gpu.moved(first, True, non_blocking=bool(given.get("non_blocking", False)))
            if func is torch.Tensor.to:
                return self._to(first, args[1:], given)
            if func is torch.Tensor.pin_memory:
                copy = first if gpu.pinned(first) else first.clone()
                gpu.pin(copy)
                return copy
            if func is torch.Tensor.is_pinned:
                return gpu.pinned(first)
            if func is torch.unravel_index and on_gpu:
                # It sends the lengths of the axes; what it calls within itself comes by no mode.
                gpu.wait("copy to the device")
                with gpu.uncounted():
                    places = func(first.cpu(), *args[1:], **given)
                for place in places:
                    gpu.put(place)
                return places
            if func in (torch.Tensor.type, torch.Tensor.__deepcopy__):
                return func(*args, **given)
        device = given.get("device")
        if device is not None and not isinstance(device, int):
            wanted = torch.device(device)
            given["device"] = "cpu"
            return self._made(func, args, given, wanted.type == "cuda")
        return func(*args, **given)

    def _made(self, func: Callable[..., Any], args: Any, given: dict[str, Any], on_gpu: bool) -> Any:
        gpu = self.gpu
        source = args[0] if args else given.get("data")
        if func in (torch.as_tensor, torch.asarray) and isinstance(source, torch.Tensor):
            given.pop("device")
            return gpu.moved(func(*args, **given), on_gpu, non_blocking=False)
        made = func(*args, **given)
        if not isinstance(made, torch.Tensor):
            return made
        if not on_gpu:
            gpu.take(made)
        elif func in _FROM_HOST:
            gpu.wait("copy to the device")
            made = made.clone() if func in (torch.as_tensor, torch.asarray) else made
            gpu.put(made)
        else:
            gpu.put(made)
        return made

    def _to(self, tensor: torch.Tensor, args: Any, given: dict[str, Any]) -> torch.Tensor:
        gpu = self.gpu
        named = dict(given)
        flags = iter(("non_blocking", "copy"))
        for value in args:
            if isinstance(value, bool):
                named[next(flags)] = value
            elif isinstance(value, torch.dtype):
                named["dtype"] = value
            elif isinstance(value, torch.Tensor):
                named |= {"device": GPU if gpu.holds(value) else CPU, "dtype": value.dtype}
            elif value is not None:
                named["device"] = value
        copy, non_blocking = bool(named.get("copy")), bool(named.get("non_blocking"))
        device = None if named.get("device") is None else torch.device(named["device"])
        dtype, layout = named.get("dtype"), named.get("memory_format")
        how: dict[str, Any] = {}
        if dtype is not None:
            how["dtype"] = dtype
        if layout is not None:
            how["memory_format"] = layout
        if device is None:
            return tensor.to(**how, copy=copy) if how or copy else tensor
        moved = gpu.moved(tensor, device.type == "cuda", non_blocking=non_blocking, **how)
        return moved.clone() if copy and moved is tensor else moved


class _Operations(TorchDispatchMode):
    """Every operation, below autograd."""

    def __init__(self, gpu: EmulatedGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        gpu, given = self.gpu, dict(kwargs or {})
        name = func._schema.name
        given_tensors = [x for x in tree_iter((args, given)) if isinstance(x, torch.Tensor)]
        there = [gpu.holds(x) for x in given_tensors]
        if any(there):
            self._check(name, args, given_tensors, there)
        out = func(*args, **given)
        if not given_tensors and isinstance(out, torch.Tensor) and not gpu.asked:
            # Zeros that autograd makes for what has no gradient.
            if torch._C._current_graph_task_id() != -1:
                gpu.put(out)
            return out
        if any(there) and not (name == "aten::copy_" and not there[0]):
            for value in tree_iter(out):
                if isinstance(value, torch.Tensor):
                    gpu.put(value)
        return out

    def _check(self, name: str, args: Any, tensors: list[torch.Tensor], there: list[bool]) -> None:
        gpu = self.gpu
        if name in _WAITING and not (name == "aten::repeat_interleave" and len(tensors) < 2 and len(args) > 1):
            gpu.wait(_WAITING[name])
        if name == "aten::copy_":
            on_host = tensors[1] if there[0] else tensors[0]
            if there[0] != there[1] and not (len(args) > 2 and args[2] and gpu.pinned(on_host)):
                gpu.wait("copy to the device" if there[0] else "copy to the host")
            return
        if name in _INDEXING:
            self._index(name, args)
            return
        if name in (
            "aten::set_",
            "aten::_to_copy",
            "aten::detach",
            "aten::alias",
            "aten::_has_compatible_shallow_copy_type",
        ):
            return
        # As in CUDA, single numbers of the host may stand beside tensors of the device.
        strange = [tuple(x.shape) for x, on in zip(tensors, there, strict=True) if not on and x.ndim > 0]
        if strange:
            raise MixedDevicesError(
                f"{name}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and "
                f"cpu (of the shapes {strange})"
            )

    def _index(self, name: str, args: Any) -> None:
        gpu, source, indices = self.gpu, args[0], [x for x in args[1] if x is not None]
        if not gpu.holds(source):
            raise MixedDevicesError(
                f"{name}: indices should be either on cpu or on the same device as the indexed tensor"
            )
        if name != "aten::index" and not gpu.holds(args[2]) and args[2].ndim > 0:
            raise MixedDevicesError(f"{name}: Expected all tensors to be on the same device, the values are on the cpu")
        # One value at places that a mask names is filled in without their list.
        filled = name != "aten::index" and args[2].numel() == 1 and all(x.dtype == torch.bool for x in indices)
        for index in indices:
            if not gpu.holds(index):
                gpu.wait("index from the host")
            elif index.dtype == torch.bool and not filled:
                gpu.wait("index with booleans")


class _Generator(torch.Generator):
    """A generator of the host that says it is one of the device it was asked for."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")

    def __init__(self, device: Any = "cpu") -> None:
        pass


@contextmanager
def emulated_gpu() -> Iterator[EmulatedGPU]:
    """A device ``cuda:0`` within this block."""
    gpu = EmulatedGPU()
    grouped = torch._C._group_tensors_by_device_and_dtype

    def by_device(lists: Any, with_indices: bool = False) -> Any:
        """Gradients and weights in groups, as optimisers and the norm of a gradient ask for them."""
        return {
            (GPU if any(x is not None and gpu.holds(x) for x in value[0][0]) else CPU, dtype): value
            for (_, dtype), value in grouped(lists, with_indices).items()
        }

    with (
        mock.patch.object(torch._C, "_group_tensors_by_device_and_dtype", by_device),
        mock.patch.object(torch, "Generator", _Generator),
        _Operations(gpu),
        _Calls(gpu),
    ):
        yield gpu


def host(tensor: torch.Tensor) -> np.ndarray:
    """Values of a tensor on the host, for a test."""
    return tensor.detach().cpu().numpy()
