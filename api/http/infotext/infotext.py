"""Reads what an image, or a text copied from one, says about how it was made, whichever tool wrote it.

It reads and does nothing else; models are looked up by `api/http/resources/infotext.py`.
"""

import json
from collections.abc import Mapping
from typing import Final

from api.http.infotext.a1111 import read_a1111
from api.http.infotext.comfyui import graph_of, read_comfyui
from api.http.infotext.image_texts import MAX_TEXT_BYTES, USER_COMMENT, is_image, texts_in
from api.http.infotext.invokeai import is_invokeai, read_invokeai
from api.http.infotext.parsed_infotext import ParsedInfotext

MAX_VALUES: Final = 100_000
"""The most values of a JSON text, counted by its commas and brackets."""
MAX_CHARACTERS: Final = 500_000
"""Of an infotext: it has two prompts of at most 100,000 characters."""
_PARAMETERS: Final = "parameters"


def read_infotext(data: bytes) -> ParsedInfotext | None:
    """What an image file or a text says; None, if an image says nothing that is known.

    Raises: ValueError, with the problem.
    """
    return _in_image(texts_in(data)) if is_image(data) else _in_text(data)


def _in_image(texts: Mapping[str, str]) -> ParsedInfotext | None:
    """An infotext comes first: it describes the very image, while a graph may be that of several."""
    text = texts.get(_PARAMETERS) or texts.get(USER_COMMENT)
    if text and not text.lstrip().startswith("{"):
        return _bounded_a1111(text)
    for name in ("invokeai_metadata", "prompt", "workflow"):
        found = _in_json(texts.get(name, ""))
        if found is not None:
            return found
    return _in_json(text) if text else None


def _in_text(data: bytes) -> ParsedInfotext:
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"a text must have at most {MAX_TEXT_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError("must be a PNG, JPEG or WebP image, or text in UTF-8") from error
    if not text:
        raise ValueError("is empty: send an image or a text")
    return _in_json(text) or _bounded_a1111(text)


def _bounded_a1111(text: str) -> ParsedInfotext:
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"an infotext must have at most {MAX_CHARACTERS} characters")
    return read_a1111(text)


def _in_json(text: str) -> ParsedInfotext | None:
    """What a JSON text says; None, if it is none, or nothing that is known."""
    if not text.lstrip().startswith("{"):
        return None
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise ValueError(f"the JSON must have at most {MAX_VALUES} values")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if is_invokeai(content):
        return read_invokeai(content)
    # A request to ComfyUI's API has the graph inside.
    inner = content.get("prompt") if isinstance(content, dict) else None
    graph = graph_of(inner) or graph_of(content)
    return None if graph is None else read_comfyui(graph)
