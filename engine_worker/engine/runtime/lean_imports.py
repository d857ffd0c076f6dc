"""Imports diffusers and transformers without the parts of them, and of torch, that an engine never uses.

Half of the CPU time of a plain import goes to compilers, distributed training, losses, documentation and two
hundred networks that no supported checkpoint contains. While `lean` is active, the modules named below are
*deferred*: a name imported from one of them is a placeholder, which is replaced by the real object on its
first use after that. *Absent* packages look uninstalled to the libraries, which can do without them. If an
import fails under these conditions because a library changed, it is repeated plainly: slower, but correct.
See adr/0042.
"""

import gc
import importlib
import importlib.metadata
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Final

from kernel.process.log import line
from kernel.protocol.schedulers import KINDS

ABSENT: Final = ("peft", "accelerate")
"""The engine has its own LoRA code and its own placement of weights."""
DEFERRED: Final = (
    "scipy.integrate",
    "scipy.stats",
    "torch._dynamo",
    "torch.distributed._composable.fsdp",
    "torch.distributed.checkpoint",
    "torch.distributed.device_mesh",
    "torch.distributed.fsdp",
    "torch.distributed.tensor",
    "torch.nn.attention.flex_attention",
    "transformers.distributed.checkpoint",
    "transformers.image_processing_utils",
    "transformers.image_utils",
    "transformers.loss",
    "transformers.processing_utils",
    "transformers.utils.auto_docstring",
)
"""Each including its submodules."""
NOT_DEFERRED: Final = ("transformers.loss", "transformers.loss.loss_utils")
"""Read whenever a text encoder is built: a table of deferred names."""
HOLLOW: Final = (
    "diffusers.models.autoencoders",
    "diffusers.models.controlnets",
    "diffusers.models.transformers",
    "diffusers.models.unets",
)
"""Packages that import all of their modules on first access."""
NEEDED: Final = (
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "diffusers.models.unets.unet_2d_condition",
    "diffusers.models.autoencoders.autoencoder_kl",
    "diffusers.models.controlnets.controlnet",
)

log = logging.getLogger(__name__)


def import_engine() -> None:
    """Import everything that an engine needs to load a checkpoint and to make its first image.

    Raises: ModuleNotFoundError, if a package is missing.
    """
    import torch  # noqa: F401 - whole, and before anything is deferred

    with lean():
        for name in NEEDED:
            with _or_else_plainly(name):
                importlib.import_module(name)
        for name in {kind.class_name for kind in KINDS.values()}:
            with _or_else_plainly(name):
                getattr(importlib.import_module("diffusers"), name)
    importlib.import_module("engine_worker.engine.diffusers_engine")
    gc.freeze()  # modules stay: no collection while an engine loads or works need look at them


@contextmanager
def _or_else_plainly(name: str) -> Iterator[None]:
    """Log a failed lean import. The module that needs the package imports it plainly later, and then sees
    real errors."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever a library raises that misses something
        log.warning(line("lean_import_failed", name=name, error=repr(error)))


@contextmanager
def lean() -> Iterator[None]:
    """A context in which imports skip absent, deferred and hollow modules."""
    finder = _Finder()
    absent = [name for name in ABSENT if name not in sys.modules]
    find_all = importlib.metadata.packages_distributions
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type] # None: "there is no such module"
    sys.meta_path.insert(0, finder)
    # It reads the file lists of all packages; both libraries fall back to a package's own name.
    importlib.metadata.packages_distributions = dict
    try:
        yield
    finally:
        importlib.metadata.packages_distributions = find_all
        sys.meta_path.remove(finder)
        for name in absent:
            del sys.modules[name]
        finder.release()


class _Finder(MetaPathFinder):
    """Finds deferred modules and hollow packages before Python finds the real ones, until it is released."""

    def __init__(self) -> None:
        self.is_released = False
        self._made: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in HOLLOW:
            real = PathFinder.find_spec(name, path)
            return None if real is None else _hollow_spec(real)
        if name not in NOT_DEFERRED and any(
            name == module or name.startswith(f"{module}.") for module in DEFERRED
        ):
            self._made.append(name)
            return ModuleSpec(name, _DeferredLoader(self), is_package=True)
        return None

    def release(self) -> None:
        """Forget the deferred modules, so that later imports get the real ones."""
        self.is_released = True
        for name in self._made:
            sys.modules.pop(name, None)
        for name in self._made:
            parent, _, last = name.rpartition(".")
            held = vars(sys.modules[parent]).get(last) if parent in sys.modules else None
            if isinstance(held, _Deferred):
                delattr(sys.modules[parent], last)
            elif isinstance(held, _StandIn):
                # The package exports a name equal to its module's. Importing the module later would hide it.
                setattr(sys.modules[parent], last, getattr(importlib.import_module(name), last))


class _DeferredLoader(Loader):
    def __init__(self, finder: _Finder) -> None:
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Deferred(spec.name, self._finder)

    def exec_module(self, module: ModuleType) -> None:
        """A deferred module is empty."""


class _Deferred(ModuleType):
    """A module in which every name is a placeholder."""

    def __init__(self, name: str, finder: _Finder) -> None:
        super().__init__(name)
        self._finder = finder

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _StandIn(name, (), {"__module__": self.__name__, "finder": self._finder})
        setattr(self, name, made)
        return made


class _StandIn(type):
    """The type of placeholders. They are classes, so that annotations and type checks can contain them."""

    finder: _Finder

    def __call__(cls, *args: object, **options: object) -> object:
        if not cls.finder.is_released:  # it decorates something
            return args[0] if args and callable(args[0]) else _same
        real = cls._real()
        if not callable(real):
            raise TypeError(f"{cls.__module__}.{cls.__name__} cannot be called")
        return real(*args, **options)

    def __getattr__(cls, name: str) -> object:
        if name.startswith("__") or not cls.finder.is_released:
            raise AttributeError(name)
        return getattr(cls._real(), name)

    def __getitem__(cls, key: object) -> object:
        if not cls.finder.is_released:  # it is part of an annotation
            return cls
        return _container(cls._real())[key]

    def __contains__(cls, item: object) -> bool:
        return item in _container(cls._ready())

    def __iter__(cls) -> Iterator[object]:
        return iter(_container(cls._ready()))

    def __instancecheck__(cls, instance: object) -> bool:
        # No instance can exist before the module is imported.
        real = (
            getattr(sys.modules.get(cls.__module__), cls.__name__, None) if cls.finder.is_released else None
        )
        return isinstance(real, type) and isinstance(instance, real)

    def _ready(cls) -> object:
        """Raises: TypeError, while imports are lean, because the placeholder's content would be wrong
        then."""
        if not cls.finder.is_released:
            raise TypeError(f"{cls.__module__}.{cls.__name__} is deferred")
        return cls._real()

    def _real(cls) -> object:
        return getattr(importlib.import_module(cls.__module__), cls.__name__)


def _container(real: object) -> Mapping[object, object]:
    """Raises: TypeError, if the object is not a mapping."""
    if not isinstance(real, Mapping):
        raise TypeError(f"{real!r} is no mapping")
    return real


def _same(decorated: object) -> object:
    return decorated


def _hollow_spec(real: ModuleSpec) -> ModuleSpec:
    hollow = ModuleSpec(real.name, _HollowLoader(real), origin=real.origin, is_package=True)
    hollow.submodule_search_locations = real.submodule_search_locations
    return hollow


class _HollowLoader(Loader):
    def __init__(self, real: ModuleSpec) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Hollow(spec.name, self._real)

    def exec_module(self, module: ModuleType) -> None:
        """A hollow package is filled on first access."""


class _Hollow(ModuleType):
    """A package from which only modules can be imported, until one of its own names is needed."""

    def __init__(self, name: str, real: ModuleSpec) -> None:
        super().__init__(name)
        self._spec, self._is_hollow = real, True

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") or not self._is_hollow or self._spec.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self._is_hollow = False
        self._spec.loader.exec_module(self)
        return getattr(self, name)
