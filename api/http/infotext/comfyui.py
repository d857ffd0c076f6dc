"""Reads the graph of ComfyUI that made an image: `prompt`, as its API takes it, else a saved `workflow`.

The graph is followed backwards from its sampler: along `model` to the LoRAs and the checkpoint, along
`positive` and `negative` to the prompts, along `latent_image` to the size. Nodes that are not known are
passed where they have an input of the same name.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from api.http.infotext.parsed_infotext import NEEDS_IMAGE, Mention, ParsedInfotext, weight_of
from kernel.protocol.enums import ModelType, PromptTechnique

COMFYUI: Final = "comfyui"
MAX_NODES: Final = 5_000
MAX_STEPS: Final = 200
"""Nodes passed on the way back from one input."""
_SAMPLERS: Final = ("KSampler", "KSamplerAdvanced")
_CHECKPOINTS: Final = ("CheckpointLoaderSimple", "CheckpointLoader")
_TEXTS: Final = ("text", "text_g", "value", "string", "prompt", "positive", "negative", "string_a")
"""Inputs that carry a prompt, or lead to the node that has it."""
# The widgets of a saved workflow in their order; None: one that says nothing about the image.
_WIDGETS: Final[Mapping[str, tuple[str | None, ...]]] = {
    "KSampler": ("seed", None, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise", "noise_seed", None, "steps", "cfg", "sampler_name", "scheduler",
        "start_at_step", "end_at_step", "return_with_leftover_noise",
    ),
    "CLIPTextEncode": ("text",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "VAELoader": ("vae_name",),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "PrimitiveNode": ("value",),
    "LoadImage": ("image",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its class, its values, and the nodes that its inputs come from."""

    kind: str
    values: Mapping[str, object]
    links: Mapping[str, str]


Graph = Mapping[str, Node]


def graph_of(content: object) -> Graph | None:
    """The graph in a decoded `prompt` or `workflow`; None, if it is neither."""
    if not isinstance(content, dict):
        return None
    nodes = content.get("nodes")
    found = _of_workflow(content, nodes) if isinstance(nodes, list) else _of_prompt(content)
    return found or None


def _of_prompt(content: Mapping[object, object]) -> Graph:
    found = {}
    for key, node in list(content.items())[:MAX_NODES]:
        inputs = node.get("inputs") if isinstance(node, dict) else None
        if not (isinstance(node, dict) and isinstance(inputs, dict)):
            continue
        links = {
            str(name): str(value[0])
            for name, value in inputs.items()
            if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int)
        }
        values = {str(name): value for name, value in inputs.items() if not isinstance(value, list | dict)}
        found[str(key)] = Node(str(node.get("class_type")), values, links)
    return found


def _of_workflow(content: Mapping[object, object], nodes: list[object]) -> Graph:
    """Source: a saved workflow has links as [id, from node, from slot, to node, to slot, type]."""
    links = content.get("links")
    origins = {
        link[0]: str(link[1])
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, list) and len(link) > 1 and isinstance(link[0], int)
    }
    found = {}
    for node in nodes[:MAX_NODES]:
        if not isinstance(node, dict):
            continue
        kind, widgets, inputs = str(node.get("type")), node.get("widgets_values"), node.get("inputs")
        names = _WIDGETS.get(kind, ())
        if isinstance(widgets, dict):
            values = {str(name): value for name, value in widgets.items()}
        else:
            said = widgets if isinstance(widgets, list) else ()
            values = {name: value for name, value in zip(names, said, strict=False) if name is not None}
        linked = {
            str(one.get("name")): origins[number]
            for one in (inputs if isinstance(inputs, list) else ())
            if isinstance(one, dict) and isinstance(number := one.get("link"), int) and number in origins
        }
        found[str(node.get("id"))] = Node(kind, values, linked)
    return found


def read_comfyui(graph: Graph) -> ParsedInfotext:
    """What a graph says about the image of its first sampler."""
    found = ParsedInfotext(COMFYUI)
    found.job |= {"loras": (), "long_prompt_technique": PromptTechnique.SD_EMBED}
    samplers = [key for key, node in graph.items() if node.kind in _SAMPLERS]
    for key in samplers[1:]:
        found.leave(graph[key].kind, f"node {key}", "a second sampler: only the first one is read")
    if samplers:
        _take_sampler(found, graph, graph[samplers[0]])
    else:
        kinds = ", ".join(sorted({node.kind for node in graph.values()}))
        found.leave("nodes", kinds, "there is no KSampler among them")
    for node in graph.values():
        if node.kind.startswith("ControlNetLoader"):
            reason = NEEDS_IMAGE.format(field="pose_image_blob")
            found.leave("control_net_name", node.values.get("control_net_name"), reason)
    return found


def _take_sampler(found: ParsedInfotext, graph: Graph, sampler: Node) -> None:
    for name, field in (("seed", "seed"), ("noise_seed", "seed"), ("steps", "steps"), ("cfg", "cfg")):
        value = _value(graph, sampler, name)
        if value is not None:
            found.take(field, name, value)
    word, spacing = (_value(graph, sampler, name) for name in ("sampler_name", "scheduler"))
    if isinstance(word, str):
        found.take_scheduler("sampler_name", word, "scheduler", spacing if isinstance(spacing, str) else "")
    denoise = _value(graph, sampler, "denoise")
    if denoise not in (None, 1):
        found.leave("denoise", denoise, NEEDS_IMAGE.format(field="reference_image_blob, and it as strength"))
    for name in ("start_at_step", "end_at_step"):
        value = sampler.values.get(name)
        if isinstance(value, int) and value not in (0, 10_000):
            found.leave(name, value)
    _take_models(found, graph, sampler)
    for field, name in (("prompt", "positive"), ("negative_prompt", "negative")):
        text = _text(graph, sampler, name)
        if isinstance(text, str):
            found.take(field, name, text)
        else:
            found.leave(name, sampler.links.get(name), "no text leads to this input")
    _take_size(found, graph, sampler)


def _back(graph: Graph, node: Node, *names: str) -> Iterator[Node]:
    """The nodes that an input comes from: each has an input of one of these names that leads further."""
    for _ in range(MAX_STEPS):
        link = next((node.links[name] for name in names if name in node.links), None)
        if link is None or link not in graph:
            return
        node = graph[link]
        yield node


def _value(graph: Graph, node: Node, name: str) -> object:
    """A value of a node, which another one may supply."""
    if name not in node.links:
        return node.values.get(name)
    for origin in _back(graph, node, name, "value", "seed", "int", "float"):
        for said in (name, "value", "seed", "noise_seed", "int", "float"):
            if said in origin.values:
                return origin.values[said]
    return None


def _take_models(found: ParsedInfotext, graph: Graph, sampler: Node) -> None:
    """The LoRAs on the way to the checkpoint are in the reverse order of their application."""
    loras: list[Mention] = []
    for node in _back(graph, sampler, "model"):
        if node.kind in _CHECKPOINTS or "ckpt_name" in node.values:
            name = _file_name(node.values.get("ckpt_name"))
            found.mention(Mention("checkpoint", ModelType.CHECKPOINT, "ckpt_name", name))
        elif node.kind.startswith("LoraLoader"):
            loras.append(_lora(found, node))
        else:
            found.leave(node.kind, "", "a node between checkpoint and sampler that is not known")
    for lora in reversed(loras):
        found.mention(lora)
    for node in graph.values():
        if node.kind == "VAELoader":
            name = _file_name(node.values.get("vae_name"))
            found.mention(Mention("vae", ModelType.VAE, "vae_name", name))
        elif node.kind == "CLIPSetLastLayer":
            layer = node.values.get("stop_at_clip_layer")
            found.take("clip_skip", "stop_at_clip_layer", -layer if isinstance(layer, int) else layer)


def _lora(found: ParsedInfotext, node: Node) -> Mention:
    weight, clip = node.values.get("strength_model"), node.values.get("strength_clip")
    if clip is not None and clip != weight:
        found.leave("strength_clip", clip, "a LoRA has one weight, that of strength_model")
    return Mention(
        "loras", ModelType.LORA, "lora_name", _file_name(node.values.get("lora_name")), "", weight_of(weight)
    )


def _file_name(value: object) -> str:
    """The name of a model's file, without its folders."""
    return PurePosixPath(str(value).replace("\\", "/")).name


def _text(graph: Graph, node: Node, name: str) -> object:
    """The first text on the way back from an input; other conditionings are passed."""
    inner = (name, "conditioning", "conditioning_1", "conditioning_to", *_TEXTS)
    for origin in _back(graph, node, *inner):
        for said in _TEXTS:
            if isinstance(origin.values.get(said), str):
                return origin.values[said]
    return None


def _take_size(found: ParsedInfotext, graph: Graph, sampler: Node) -> None:
    for node in _back(graph, sampler, "latent_image", "samples", "pixels", "image"):
        if {"width", "height"} <= {*node.values, *node.links}:
            for name, field in (("width", "width"), ("height", "height"), ("batch_size", "count")):
                value = _value(graph, node, name)
                if value is not None:
                    found.take(field, name, value)
            return
        if node.kind.startswith("LoadImage"):
            reason = NEEDS_IMAGE.format(field="reference_image_blob")
            found.leave("image", node.values.get("image"), reason)
