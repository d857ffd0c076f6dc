"""Turns an error into the refusal that a client gets."""

from kernel.protocol.client import Refused
from kernel.protocol.errors import NotEnoughMemory, SpoonError


def refused(error: SpoonError) -> Refused:
    """The answer that an error stands for."""
    return Refused(
        code=error.code,
        detail=error.detail,
        fields=error.fields,
        retry_after_s=error.retry_after_s,
        shortage=error.shortage if isinstance(error, NotEnoughMemory) else None,
    )
