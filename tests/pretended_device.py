"""A CUDA device that is pretended: it computes on the processor, and refuses what a real one refuses.

Inside ``pretended_cuda()`` a tensor that is sent to ``"cuda"`` becomes a ``PretendedTensor``. It says that it is on
``cuda:0``, holds a tensor of the processor, and computes with it. What a real device refuses is refused in the same
cases, so that code which mixes devices fails on a machine without a GPU:

* an operation on tensors of both devices, but for copies, for indices on the processor (``x[rows]``), and for tensors
  without a dimension in elementwise operations;
* ``.numpy()``, and a generator of the processor that is to draw on the device.

It also counts: operations, and how often the host waits for the device (``counted``). The host waits where it reads a
value (``tolist``, ``item``, ``cpu``, a mask of bool as an index, ...), and for a copy from memory that is not pinned.

What is pretended differs from a real device in three ways. Torch's C++ code takes the tensors for those of the
processor (a build without CUDA cannot run autograd for another device), so kernels and rounding are those of the
processor. Memory, streams and speed are not pretended. Random numbers come from a generator of their own, whose state
has another length than that of the processor's, but they are the processor's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")

_aten = torch.ops.aten
_TRANSFERS = {_aten.copy_.default}
"""What may have tensors of both devices."""
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
"""What takes its indices from the processor too."""
_SCALARS = {_aten.fill_.Tensor, _aten.masked_fill.Tensor, _aten.masked_fill_.Tensor, _aten.where.self}
"""What takes tensors without a dimension from the processor, beside everything that is elementwise."""


_WAITING = {
    _aten._local_scalar_dense.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten._unique2.default,
    _aten.unique_dim.default,
    _aten.unique_consecutive.default,
    _aten.equal.default,
    _aten.repeat_interleave.Tensor,
}
"""What reads values of the device, if only to know the shape of its result."""


@dataclass
class Counts:
    """What the device was asked for.

    Attributes:
        waits: for every time that the host waited, what for.
        operations: number of operations.
    """

    waits: list[str]
    operations: int = 0


class _Randomness:
    """The random numbers of the pretended device, and their state."""

    _MARK = torch.tensor([1], dtype=torch.uint8)

    def __init__(self) -> None:
        self.generator = torch._C.Generator()

    def state(self) -> Tensor:
        """As the device hands it out: on the processor, and no state of the processor's generator."""
        return torch.cat([self.generator.get_state(), self._MARK])

    def restore(self, state: Tensor) -> None:
        if isinstance(state, PretendedTensor) or state.dtype != torch.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if len(state) != len(self.state()):
            raise RuntimeError("RNG state is wrong size")
        self.generator.set_state(state[:-1].clone())

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Inside, what torch draws without a generator comes from here."""
        outside = torch.default_generator.get_state()
        torch.default_generator.set_state(self.generator.get_state())
        try:
            yield
        finally:
            self.generator.set_state(torch.default_generator.get_state())
            torch.default_generator.set_state(outside)


class _GeneratorType(type(torch._C.Generator)):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, torch._C.Generator)


class _Generator(torch._C.Generator, metaclass=_GeneratorType):
    """What stands in for ``torch.Generator``: one of the device says so, and has a state of the device's kind."""

    def __new__(cls, device: Any = "cpu") -> Any:
        if torch.device(device).type == "cpu":
            return torch._C.Generator()
        return super().__new__(cls)

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return CUDA

    def get_state(self) -> Tensor:
        return torch.cat([super().get_state(), _Randomness._MARK])

    def set_state(self, state: Tensor) -> Any:
        super().set_state(state[:-1].clone())
        return self


class PretendedTensor(Tensor):
    """A tensor on the pretended device.

    Attributes:
        inner: the tensor of the processor that it computes with.
    """

    inner: Tensor
    counts: ClassVar[Counts] = Counts([])
    randomness: ClassVar[_Randomness] = _Randomness()
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendedTensor:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.shape, **layout)
        made.inner = inner
        return made

    def __init__(self, inner: Tensor) -> None:
        pass

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        """Only for ``Module.to``, which keeps the identity of a parameter of a class that has it."""
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], context: None, size: Any, stride: Any) -> PretendedTensor:
        return PretendedTensor(inner["inner"])

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"PretendedTensor({self.inner!r}, device='{CUDA}')"

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return 0

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, other: Tensor) -> None:
        assert isinstance(other, PretendedTensor), "the data of a tensor on the device is on the device"
        Tensor.data.__set__(self, other)  # type: ignore[attr-defined]
        self.inner = other.inner

    def tolist(self) -> Any:
        self.counts.waits.append("tolist")
        return self.inner.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {CUDA} device type tensor to numpy. Use Tensor.cpu() to copy it first")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def cpu(self, **_: Any) -> Tensor:
        self.counts.waits.append("cpu")
        return _FromDevice.apply(self)

    def cuda(self, *_: Any, **__: Any) -> Tensor:
        return self

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        device, others = _target(args, kwargs)
        moved = self.cpu() if device is not None and device.type == "cpu" else self
        return Tensor.to(moved, **others) if others else moved

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule, found = _rule_of(function), _Found()
        cls.counts.operations += 1
        if function in _WAITING or (rule.indices and _has_masks(args[1])):
            cls.counts.waits.append(str(function))
        inside = tuple(found.inner(value) for value in args)
        options = {name: found.inner(value) for name, value in (kwargs or {}).items()}
        if found.strangers:
            _check_devices(function, rule, args, found.strangers)
        if options.get("generator") is not None:
            _check_generator(options["generator"])
        if rule.draws and options.get("generator") is None:
            with cls.randomness.drawing():
                return found.outer(function(*inside, **options))
        return found.outer(function(*inside, **options))


class _Found:
    """The tensors among the arguments of an operation.

    Attributes:
        strangers: those of the processor.
    """

    def __init__(self) -> None:
        self.strangers: list[Tensor] = []
        self._outer: dict[int, PretendedTensor] = {}

    def inner(self, value: Any) -> Any:
        """A value with the tensors that the device computes with."""
        if isinstance(value, PretendedTensor):
            self._outer[id(value.inner)] = value
            return value.inner
        if isinstance(value, Tensor):
            self.strangers.append(value)
        elif isinstance(value, list | tuple):
            return type(value)(self.inner(each) for each in value)
        return value

    def outer(self, value: Any) -> Any:
        """A result on the device; what was written to comes back as itself."""
        if isinstance(value, Tensor):
            known = self._outer.get(id(value))
            return PretendedTensor(value) if known is None else known
        return type(value)(self.outer(each) for each in value) if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class _Rule:
    """What an operation takes from the processor.

    Attributes:
        everything: a copy takes all.
        indices: its second argument.
        scalars: tensors without a dimension.
        writes: it writes to its first argument.
        draws: it draws random numbers.
    """

    everything: bool
    indices: bool
    scalars: bool
    writes: bool
    draws: bool


@cache
def _rule_of(function: Any) -> _Rule:
    return _Rule(
        everything=function in _TRANSFERS,
        indices=function in _INDEXED,
        scalars=function in _SCALARS or torch.Tag.pointwise in function.tags,
        writes=function._schema.is_mutable,
        draws=torch.Tag.nondeterministic_seeded in function.tags,
    )


def _has_masks(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _check_devices(function: Any, rule: _Rule, args: Any, strangers: list[Tensor]) -> None:
    """Refuse what CUDA refuses. At least one of the tensors is on the device."""
    first_there = isinstance(args[0], PretendedTensor)
    if rule.everything:
        return
    if rule.indices and first_there:
        strangers = [value for value in args[2:] if type(value) is Tensor and value.dim()]
    if rule.scalars and (first_there or not rule.writes):
        strangers = [tensor for tensor in strangers if tensor.dim()]
    if strangers:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {CUDA} and cpu! "
            f"({function} got a tensor of shape {tuple(strangers[0].shape)} on the processor)"
        )


def _check_generator(generator: torch.Generator) -> None:
    if generator.device.type != "cuda":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return PretendedTensor(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Tensor:
        return grad.inner.clone()


class _FromDevice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Any) -> Tensor:
        return tensor.inner.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return PretendedTensor(grad.clone())


def _target(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.device | None, dict[str, Any]]:
    """The device that ``Tensor.to`` is asked for, and its other arguments by name."""
    given, positions = dict(kwargs), list(args)
    like = given.pop("other", None)
    if positions and isinstance(positions[0], Tensor):
        like = positions.pop(0)
    elif positions and not isinstance(positions[0], torch.dtype):
        given["device"] = positions.pop(0)
    names = ("non_blocking", "copy") if like is not None else ("dtype", "non_blocking", "copy")
    given |= dict(zip(names, positions, strict=False))
    if like is not None:
        given |= {"device": like.device, "dtype": like.dtype}
    device = given.pop("device", None)
    others = {name: value for name, value in given.items() if value is not None and name != "non_blocking"}
    return None if device is None else torch.device(device), others


class _OnDevice(TorchFunctionMode):
    """Sends to the pretended device what Python code asks to be there."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is Tensor.to and not isinstance(args[0], PretendedTensor):
            device, others = _target(args[1:], kwargs)
            if device is not None:
                there = function(args[0], **others) if others else args[0]
                if device.type == "cuda" and not getattr(args[0], "pretends_to_be_pinned", False):
                    PretendedTensor.counts.waits.append("copy from memory that is not pinned")
                return _ToDevice.apply(there) if device.type == "cuda" else there
        if function is Tensor.pin_memory:
            pinned = args[0].clone()
            pinned.pretends_to_be_pinned = True
            return pinned
        if function is Tensor.cuda:
            return _ToDevice.apply(args[0])
        if kwargs.get("device") is not None and function is not Tensor.to:
            return self._made(function, args, kwargs)
        return function(*args, **kwargs)

    def _made(self, function: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """A new tensor on a device that is named."""
        kwargs = dict(kwargs)
        cuda = torch.device(kwargs.pop("device")).type == "cuda"
        args = tuple(value.inner if isinstance(value, PretendedTensor) else value for value in args)
        if not cuda:
            return function(*args, **kwargs)
        if kwargs.get("generator") is not None:
            _check_generator(kwargs["generator"])
            return PretendedTensor(function(*args, **kwargs))
        with PretendedTensor.randomness.drawing():
            return PretendedTensor(function(*args, **kwargs))


@contextmanager
def counted() -> Iterator[Counts]:
    """What is asked of the pretended device inside."""
    before, PretendedTensor.counts = PretendedTensor.counts, Counts([])
    try:
        yield PretendedTensor.counts
    finally:
        PretendedTensor.counts = before


@contextmanager
def pretended_cuda(bfloat16: bool = False) -> Iterator[None]:
    """Inside, ``"cuda"`` is a device that is pretended.

    Patched are ``torch.Generator``, ``torch.autocast`` (which becomes that of the processor) and those functions of
    ``torch.cuda`` that this package calls; any other one fails as it does without CUDA.

    Args:
        bfloat16: whether the device says that it computes in it.
    """
    PretendedTensor.randomness = randomness = _Randomness()
    functions: dict[str, Callable[..., Any]] = {
        "get_rng_state": lambda device="cuda": randomness.state(),
        "set_rng_state": lambda state, device="cuda": randomness.restore(state),
        "manual_seed_all": lambda seed: randomness.generator.manual_seed(seed),
        "is_bf16_supported": lambda including_emulation=True: bfloat16,
        "synchronize": lambda device=None: None,
        "max_memory_allocated": lambda device=None: 1,
        "get_device_properties": lambda device=None: SimpleNamespace(major=9, total_memory=2**30),
    }
    autocast = torch.autocast
    with pytest.MonkeyPatch.context() as patch, _OnDevice():
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "autocast", lambda device, dtype: autocast("cpu", dtype))
        for name, function in functions.items():
            patch.setattr(torch.cuda, name, function)
        yield
