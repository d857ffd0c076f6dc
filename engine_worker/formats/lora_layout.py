"""The layout of a LoRA file: which kind of change it makes to which layer, checked by shapes alone.

Registration and the engine read the same layout, so that what is registered can be loaded.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from math import prod
from typing import Final

import msgspec

from engine_worker.formats.allowed_paths import ModelFile
from engine_worker.formats.checkpoint_layout import Network
from engine_worker.formats.embedding_keys import EmbeddingWord, read_bundle
from engine_worker.formats.inspection_result import SD_TEXT_WIDTH, SDXL_TEXT_WIDTH, stranger
from engine_worker.formats.lora_keys import Part, listed, locate, parts_by_layer
from engine_worker.formats.lora_scales import CONFIG_FILE, PeftConfig, Scales
from engine_worker.formats.model_folder import read_json
from engine_worker.formats.released import layers_of
from engine_worker.formats.safetensors_header import Header
from kernel.protocol.enums import ModelBase
from kernel.protocol.errors import ModelUnreadable

Shape = tuple[int, ...]
Shapes = Mapping[Part, Shape]
Extent = tuple[int | None, int | None]
"""The rows of the weight that a change is for, and the numbers in each; None if the file does not tell."""

_CROSS_ATTENTION: Final = ("attn2_to_k", "attn2_to_v")
"""Layers whose inputs are the text embeddings."""
_RELEASED_WIDTHS: Final = (None, SD_TEXT_WIDTH, SDXL_TEXT_WIDTH)
_FLOATS: Final = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_NUMBERS: Final = frozenset({*_FLOATS, "I64", "I32"})
_SCALARS: Final = frozenset({Part.ALPHA, Part.ON_INPUT})
_PEFT_KEYS: Final = (".lora_A.", ".lora_B.", ".lora_magnitude_vector", "base_model.model.")


class Kind(Enum):
    """The kinds of changes, by the names that people call them by."""

    LORA = "LoRA"
    LOHA = "LoHa"
    LOKR = "LoKr"
    GLORA = "GLoRA"
    OFT = "OFT"
    IA3 = "IA3"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class LoraLayer:
    """The change of one layer."""

    name: str
    """In the file."""
    network: Network
    plain: str
    """The name after the network's prefix."""
    kind: Kind
    parts: Mapping[Part, str]
    """The keys of its tensors."""
    extent: Extent

    @property
    def place(self) -> tuple[Network, str]:
        """By which layers are compared: some formats replace dots by underscores."""
        return self.network, self.plain.replace(".", "_")


@dataclass(frozen=True, slots=True)
class LoraLayout:
    """A LoRA file."""

    header: Header
    layers: tuple[LoraLayer, ...]
    words: tuple[EmbeddingWord, ...]
    """The embeddings that come with it."""
    others: tuple[str, ...]
    """Keys that are none of a LoRA's."""
    scales: Scales
    beside: str
    """The configuration beside it, by its name and the digest of what counts of it."""
    lacks_scale: bool
    """peft wrote it, and its alpha is only in a file beside it, which is not there."""

    @property
    def text_width(self) -> int | None:
        """The width of the text embeddings that it was made for; None, if it does not tell."""
        widths = (
            layer.extent[1]
            for layer in self.layers
            if layer.network is Network.UNET and layer.place[1].endswith(_CROSS_ATTENTION)
        )
        return next((width for width in widths if width is not None), None)

    def warnings(self) -> tuple[str, ...]:
        """What its owner should know, whatever the checkpoint is: sentences without their subject."""
        found = []
        if self.others:
            found.append(f"has unknown tensors, which are ignored: {listed(list(self.others))}")
        if self.lacks_scale:
            found.append(
                f"was saved by peft, whose {CONFIG_FILE} is not beside it, so its alpha is taken to be its "
                "rank"
            )
        return tuple(found)

    def strange_layers(self, base: ModelBase | None) -> tuple[list[str], list[str]]:
        """The layers that the released checkpoints of that base (None: of any) lack, and those that they have
        in another shape. Shapes of a LoRA for text embeddings of another width, such as a small model's, are
        not compared."""
        tables = [layers_of(one) for one in ModelBase if base in (None, one)]
        compares_shapes = self.text_width in _RELEASED_WIDTHS
        unknown, misfits = [], []
        for layer in self.layers:
            place = layer.place
            wanted = [table[place] for table in tables if place in table]
            if not wanted:
                unknown.append(layer.name)
            elif compares_shapes and not any(
                _fits(layer.extent, extent) for extents in wanted for extent in extents
            ):
                misfits.append(layer.name)
        return unknown, misfits


def read_lora_layout(source: Header) -> LoraLayout:
    """Read the layout of a LoRA file, and of the configuration that peft writes beside it.

    Raises: ModelUnreadable, if it is damaged, incomplete, of an unsupported kind, or for another model
    family.
    """
    keys = parts_by_layer(source)
    words, unread = read_bundle(source, keys.bundled)
    if not keys.layers:
        raise ModelUnreadable("this LoRA changes no layer")
    _check_family(list(keys.layers))
    layers = tuple(_read_layer(source, name, parts) for name, parts in keys.layers.items())
    _check_unique(layers)
    has_alphas = any(Part.ALPHA in layer.parts for layer in layers)
    is_of_peft = any(mark in key for key in source.tensors for mark in _PEFT_KEYS)
    beside = _config_beside(source.file) if is_of_peft else None
    scales = Scales(source, beside)
    return LoraLayout(
        header=source,
        layers=layers,
        words=words,
        others=(*keys.others, *unread),
        scales=scales,
        beside="" if beside is None else f"{CONFIG_FILE} {sha256(msgspec.json.encode(beside)).hexdigest()}",
        lacks_scale=scales.says_nothing
        and not has_alphas
        and any(key.startswith("base_model.model.") for key in source.tensors),
    )


def _check_family(names: list[str]) -> None:
    """Raises: ModelUnreadable, if most of these layers are of no network of Stable Diffusion, or most without
    the text encoder's, which other families share."""
    motions = [name for name in names if "motion_modules" in name]
    if len(motions) > len(names) / 2:
        raise ModelUnreadable("this is a LoRA for AnimateDiff's motion layers: only images are drawn here")
    tables = [layers_of(base) for base in ModelBase]
    places = [(name, locate(name)) for name in names]
    foreign = [
        name
        for name, (network, plain) in places
        if not any((network, plain.replace(".", "_")) in table for table in tables)
    ]
    others = [name for name, (network, _) in places if network is Network.UNET]
    if len(foreign) > len(names) / 2 or len(set(others) & set(foreign)) > len(others) / 2:
        raise stranger(f"a LoRA for another model family (it changes {listed(foreign)})")


def _config_beside(held: ModelFile | None) -> PeftConfig | None:
    found = None if held is None else held.sibling(CONFIG_FILE)
    return None if found is None else read_json(found, CONFIG_FILE, PeftConfig)


def _check_unique(layers: tuple[LoraLayer, ...]) -> None:
    names: dict[tuple[Network, str], str] = {}
    for layer in layers:
        other = names.setdefault(layer.place, layer.name)
        if other != layer.name:
            raise ModelUnreadable(f"it changes one layer twice, as {other} and as {layer.name}")


def _read_layer(header: Header, name: str, parts: Mapping[Part, str]) -> LoraLayer:
    network, plain = locate(name)
    kind = next((kind for kind, needed in _NEEDED.items() if not needed.isdisjoint(parts)), None)
    if kind is None:
        raise ModelUnreadable(f"{name} has only {', '.join(part.value for part in parts)}")
    surplus = parts.keys() - _NEEDED[kind] - _BESIDE[kind]
    if surplus:
        both = f"{kind.value} and {', '.join(sorted(part.value for part in surplus))}"
        raise ModelUnreadable(f"{name} is changed by {both} at once, which is not supported")
    try:
        shapes = {part: _shape(header, part, key) for part, key in parts.items()}
        extent = _EXTENTS[kind](shapes)
        _check_magnitudes(shapes, extent)
    except KeyError as error:
        raise ModelUnreadable(f"{name} lacks the part {Part(error.args[0]).value}") from error
    except ValueError as error:
        raise ModelUnreadable(f"the parts of {name} do not match each other") from error
    return LoraLayer(name, network, plain, kind, parts, extent)


def _shape(header: Header, part: Part, key: str) -> Shape:
    entry = header.tensors[key]
    if entry.dtype not in (_NUMBERS if part in _SCALARS else _FLOATS):
        raise ModelUnreadable(f"{key} is stored as {entry.dtype}: quantized LoRAs are not supported")
    if part in _SCALARS and entry.parameters != 1:
        raise ModelUnreadable(f"{key} has {entry.parameters} values instead of one")
    if not entry.parameters:
        raise ModelUnreadable(f"{key} is empty")
    return entry.shape


def _low_rank(shapes: Shapes) -> Extent:
    """Shapes: down (rank, in[, height, width]), up (out, rank[, 1, 1]); a core between them."""
    down, up, core = shapes[Part.DOWN], shapes[Part.UP], shapes.get(Part.CORE)
    if core is None:
        _check(len(down) >= 2 and len(up) >= 2 and prod(up[1:]) == down[0])
        return up[0], prod(down[1:])
    _check(len(core) == 4 and prod(up[1:]) == core[0] and down[0] == core[1])
    return up[0], prod(down[1:]) * prod(core[2:])


def _hadamard(shapes: Shapes) -> Extent:
    one = _factored(shapes[Part.HADA_A1], shapes[Part.HADA_B1], shapes.get(Part.HADA_CORE1))
    other = _factored(shapes[Part.HADA_A2], shapes[Part.HADA_B2], shapes.get(Part.HADA_CORE2))
    _check(one == other)
    return one[0], prod(one[1:])


def _kronecker(shapes: Shapes) -> Extent:
    small = shapes.get(Part.LOKR_1) or _factored(shapes[Part.LOKR_A1], shapes[Part.LOKR_B1], None)
    large = shapes.get(Part.LOKR_2) or _factored(
        shapes[Part.LOKR_A2], shapes[Part.LOKR_B2], shapes.get(Part.LOKR_CORE2)
    )
    _check(len(small) == 2 and len(large) >= 2)
    return small[0] * large[0], small[1] * prod(large[1:])


def _factored(a: Shape, b: Shape, core: Shape | None) -> Shape:
    """The shape of a product. Shapes: a (out, rank) and b (rank, in); with a core (rank of a, rank of b,
    height, width) a is (rank, out)."""
    _check(len(a) == 2 and len(b) == 2)
    if core is None:
        _check(a[1] == b[0])
        return a[0], b[1]
    _check(len(core) == 4 and core[:2] == (a[0], b[0]))
    return a[1], b[1], *core[2:]


def _glora(shapes: Shapes) -> Extent:
    """Shapes: a1 (in, rank), a2 (rank, in), b1 (out, rank), b2 (rank, in); the a of LyCORIS 1 are the other
    way round."""
    a1, a2 = shapes[Part.GLORA_A1], shapes[Part.GLORA_A2]
    b1, b2 = shapes[Part.GLORA_B1], shapes[Part.GLORA_B2]
    _check(min(map(len, (a1, a2, b1, b2))) >= 2)
    _check(prod(a1[1:]) == a2[0] and prod(b1[1:]) == b2[0] and a1[0] == prod(a2[1:]) == b2[1])
    return b1[0], prod(b2[1:])


def _rotated(shapes: Shapes) -> Extent:
    """Shapes: blocks (blocks, size, size), of butterflies (stages, blocks, size, size)."""
    blocks = shapes[Part.OFT_BLOCKS]
    _check(len(blocks) in (3, 4) and blocks[-1] == blocks[-2])
    out = blocks[-3] * blocks[-1]
    _check(prod(shapes.get(Part.RESCALE, (out,))) == out)
    if len(blocks) == 4:
        _check(blocks[-1] % 2 == 0 and out % (2 ** (blocks[0] - 1) * blocks[-1]) == 0)
    return out, None


def _scaled(shapes: Shapes) -> Extent:
    _check(prod(shapes[Part.IA3]) == max(shapes[Part.IA3]) and Part.ON_INPUT in shapes)
    return None, None


def _full(shapes: Shapes) -> Extent:
    weight, bias = shapes.get(Part.DIFF), shapes.get(Part.DIFF_B)
    if weight is None:
        return prod(shapes[Part.DIFF_B]), None
    _check(len(weight) >= 1 and (bias is None or prod(bias) == weight[0]))
    return weight[0], prod(weight[1:])


_NEEDED: Final[Mapping[Kind, frozenset[Part]]] = {
    Kind.LORA: frozenset({Part.DOWN, Part.UP}),
    Kind.LOHA: frozenset({Part.HADA_A1, Part.HADA_B1, Part.HADA_A2, Part.HADA_B2}),
    Kind.LOKR: frozenset(
        {Part.LOKR_1, Part.LOKR_A1, Part.LOKR_B1, Part.LOKR_2, Part.LOKR_A2, Part.LOKR_B2, Part.LOKR_CORE2}
    ),
    Kind.GLORA: frozenset({Part.GLORA_A1, Part.GLORA_A2, Part.GLORA_B1, Part.GLORA_B2}),
    Kind.OFT: frozenset({Part.OFT_BLOCKS}),
    Kind.IA3: frozenset({Part.IA3, Part.ON_INPUT}),
    Kind.FULL: frozenset({Part.DIFF, Part.DIFF_B}),
}
"""The parts by which a kind is known; the first kind counts, since a LoRA may have a `diff_b` beside it."""
_DORA: Final = frozenset({Part.ALPHA, Part.DORA_SCALE, Part.DIFF_B})
_BESIDE: Final[Mapping[Kind, frozenset[Part]]] = {
    Kind.LORA: _DORA | {Part.CORE, Part.MAGNITUDES, Part.UP_BIAS},
    Kind.LOHA: _DORA | {Part.HADA_CORE1, Part.HADA_CORE2},
    Kind.LOKR: _DORA,
    Kind.GLORA: frozenset({Part.ALPHA}),
    Kind.OFT: frozenset({Part.ALPHA, Part.RESCALE}),
    Kind.IA3: frozenset(),
    Kind.FULL: frozenset({Part.ALPHA}),
}
"""The parts that a kind may have as well."""
_EXTENTS: Final[Mapping[Kind, Callable[[Shapes], Extent]]] = {
    Kind.LORA: _low_rank,
    Kind.LOHA: _hadamard,
    Kind.LOKR: _kronecker,
    Kind.GLORA: _glora,
    Kind.OFT: _rotated,
    Kind.IA3: _scaled,
    Kind.FULL: _full,
}


def _check_magnitudes(shapes: Shapes, extent: Extent) -> None:
    out = extent[0]
    _check(Part.MAGNITUDES not in shapes or prod(shapes[Part.MAGNITUDES]) == out)
    _check(shapes.get(Part.DORA_SCALE) != ())
    for part in (Part.UP_BIAS, Part.DIFF_B):
        _check(part not in shapes or out is None or prod(shapes[part]) == out)


def _check(fits: bool) -> None:
    if not fits:
        raise ValueError("parts do not match")


def _fits(extent: Extent, weight: tuple[int, int]) -> bool:
    """True if a change of this extent may be one of a weight with so many rows, and numbers in each."""
    return all(said in (None, held) for said, held in zip(extent, weight, strict=True))
