"""The MCP server: its tools and resources, and what it says of itself to hosts and models."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, ToolAnnotations
from pydantic import AnyUrl

from api.mcp.answers import URI
from api.mcp.backend import Backend
from api.mcp.looking import Looking
from api.mcp.making import Making
from kernel.protocol.version import VERSION

_INSTRUCTIONS: Final = """\
Makes images with Stable Diffusion on the person's own server. Call generate_image with a prompt alone; the
server has defaults for the rest. If an answer says that a job is not finished, call job_status with its
job_id, never the first tool again: that would make a second image. Images are shown as previews; for the
original give the person its link. Write a LoRA's trigger words (list_models) into the prompt."""
_READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_MAKES: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)
_ENDS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)
"""A canceled job can be submitted again, but what it had done so far is lost."""
_SIGNATURES: Final[Mapping[bytes, str]] = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg"}
_ELSE: Final = "image/webp"
_ANY: Final = "application/octet-stream"
"""What hosts are told before they read an image, which may be of each of these types."""


class SpoonMcp(MCPServer[dict[str, Any]]):
    """An MCPServer that ignores no argument, and whose image resources have the type of their file."""

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context | None = None
    ) -> CallToolResult | InputRequiredResult:
        """The result of a tool. Raises: ToolError, also for an argument that the tool does not have."""
        for tool in await self.list_tools():
            known = tool.input_schema["properties"]
            if tool.name == name and (unknown := sorted(arguments.keys() - known.keys())):
                raise ToolError(f"{name} has no argument {', '.join(unknown)}; it has {', '.join(known)}")
        return await super().call_tool(name, arguments, context)

    async def read_resource(
        self, uri: AnyUrl | str, context: Context | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """The contents of a resource. Raises: ResourceError."""
        found = await super().read_resource(uri, context)
        return found if isinstance(found, InputRequiredResult) else [_typed(one) for one in found]


def server_of(backend: Backend) -> SpoonMcp:
    """The server with all its tools."""
    server = SpoonMcp(
        name="automatic-spoon",
        title="Images with Stable Diffusion",
        instructions=_INSTRUCTIONS,
        version=VERSION,
        log_level="WARNING",  # its records of refused calls quote them
        subscriptions=False,
    )
    making, looking = Making(backend), Looking(backend)
    tools: tuple[tuple[Callable[..., CallToolResult], ToolAnnotations], ...] = (
        (making.generate_image, _MAKES),
        (making.edit_image, _MAKES),
        (making.job_status, _READS),
        (looking.get_image, _READS),
        (looking.find_images, _READS),
        (looking.list_engines, _READS),
        (looking.list_models, _READS),
        (looking.queue_status, _READS),
        (looking.cancel_job, _ENDS),
    )
    for function, annotations in tools:
        server.add_tool(function, annotations=annotations, structured_output=False)
    server.resource(URI + "{image_id}", name="image", mime_type=_ANY)(looking.read_image)
    return server


def _typed(content: ReadResourceContents) -> ReadResourceContents:
    data = content.content
    assert isinstance(data, bytes)
    mime = next((kind for start, kind in _SIGNATURES.items() if data.startswith(start)), _ELSE)
    return ReadResourceContents(content=data, mime_type=mime, meta=content.meta)
