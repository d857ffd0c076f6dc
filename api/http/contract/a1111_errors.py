"""Errors in A1111's shape, on the routes that its clients call: they show these members and no others."""

from typing import Final

import msgspec

from api.http.contract.json_text import cut
from kernel.protocol.errors import FieldProblem

WITH_IMAGES: Final = frozenset(
    {
        *(f"/sdapi/v1/{name}" for name in ("txt2img", "img2img", "extra-single-image", "extra-batch-images")),
        *(f"/sdapi/v1/{name}" for name in ("png-info", "interrogate", "rembg")),
        *("/controlnet/detect", "/rembg"),
    }
)
"""The routes whose bodies have images."""
_PREFIXES: Final = ("/sdapi/", "/controlnet/", "/internal/")
_PATHS: Final = frozenset({"/rembg"})
_MAX_ERRORS: Final = 2_000


class A1111Error(msgspec.Struct, frozen=True, kw_only=True):
    """An error: `error` is the code of a problem document, `errors` lists the wrong fields."""

    error: str
    detail: str
    body: str = ""
    errors: str


def is_of_a1111(path: str) -> bool:
    """True for a path that only A1111's clients call."""
    return path.startswith(_PREFIXES) or path.rstrip("/") in _PATHS


def a1111_error(code: str, detail: str, fields: tuple[FieldProblem, ...]) -> A1111Error:
    """An error with this code."""
    wrong = "; ".join(f"{one.field}: {one.problem}" for one in fields)
    return A1111Error(error=code, detail=detail, errors=cut(wrong, _MAX_ERRORS))
