"""Errors as refusals, and back: they cross the bus with their code, text, fields and remedies."""

from kernel.protocol.client import Refused
from kernel.protocol.errors import FieldProblem, NotEnoughMemory, SpoonError


def error_of(refused: Refused) -> SpoonError:
    """The error that a refusal represents."""
    error = error_of_code(refused.code, refused.detail, refused.fields, refused.retry_after_s)
    if isinstance(error, NotEnoughMemory):
        error.shortage = refused.shortage
    return error


def error_of_code(
    code: str,
    detail: str,
    fields: tuple[FieldProblem, ...] = (),
    retry_after_s: float | None = None,
) -> SpoonError:
    """The error that a refusal on the bus represents; an unknown code becomes a plain SpoonError."""
    kind = all_errors().get(code, SpoonError)
    return kind(detail, fields=fields, retry_after_s=retry_after_s)


def refusal_of(error: SpoonError) -> Refused:
    """The refusal that represents an error."""
    return Refused(
        code=error.code,
        detail=error.detail,
        fields=error.fields,
        retry_after_s=error.retry_after_s,
        shortage=error.shortage if isinstance(error, NotEnoughMemory) else None,
    )


def all_errors(*further_modules: str) -> dict[str, type[SpoonError]]:
    """Every error by its code, for the layers that translate errors, and for the docs.

    Only those of kernel/protocol/errors.py cross the bus. `further_modules` adds errors of other layers.
    """
    modules = {SpoonError.__module__, *further_modules}
    found: dict[str, type[SpoonError]] = {}
    pending: list[type[SpoonError]] = [SpoonError]
    while pending:
        kind = pending.pop()
        found[kind.code] = kind
        pending.extend(child for child in kind.__subclasses__() if child.__module__ in modules)
    return found
