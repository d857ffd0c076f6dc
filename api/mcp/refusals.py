"""Errors as results that name what to change, for the model to read."""

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from mcp.server.mcpserver.exceptions import ToolError

from api.cli.exit_codes import code_of
from kernel.protocol.errors import KeyExpired, KeyMissing, KeyRevoked, KeyUnknown, SpoonError

P = ParamSpec("P")
R = TypeVar("R")

_NEEDS_KEY: Final = frozenset(kind.code for kind in (KeyMissing, KeyUnknown, KeyExpired, KeyRevoked))
_KEY_HINT: Final = (
    "The person who set this server up has to give it an API key: in SPOON_KEY or SPOON_KEY_FILE of "
    "`spoon mcp`, or, over HTTP, in the client's header `Authorization: Bearer KEY`."
)


def tool(function: Callable[P, R]) -> Callable[P, R]:
    """A tool whose errors of ours are read by the model."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except SpoonError as error:
            raise ToolError(text_of(error)) from error

    return run


def text_of(error: SpoonError) -> str:
    """The message, its stable code, and each argument that is wrong."""
    lines = [f"{error.detail} [{code_of(error)}]"]
    lines += [f"- {one.field}: {one.problem}" for one in error.fields if one.problem not in error.detail]
    if code_of(error) in _NEEDS_KEY:
        lines.append(_KEY_HINT)
    return "\n".join(lines)
