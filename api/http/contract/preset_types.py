"""Presets in HTTP requests and responses."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import asdict

from api.http.contract.constraints import Limit, check_line
from api.http.contract.job_checks import check_job
from api.http.contract.job_input import JobFields, JobInput
from api.http.contract.responses import moment
from api.http.contract.validation_errors import ValidationErrors
from conf.settings import Server
from kernel.protocol.enums import InputKind
from kernel.protocol.presets import MAX_NAME, MAX_PRESET_BYTES, fault_of_preset_name
from kernel.protocol.rows import PresetRow


class SaveQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the preset is everybody's, which admins decide; left out, it stays what it was."""

    shared: bool | None = None


class PresetPageQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the list."""

    limit: Limit = 50
    after: str | None = None


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of a job's fields."""

    name: str
    fields: Annotated[
        msgspec.Raw,
        Meta(
            description="Fields of a job: those that the preset sets, and no others.",
            extra_json_schema={"type": "object"},
        ),
    ]
    shared: bool
    """Whether it is everybody's."""
    created_at: datetime
    changed_at: datetime


class PresetPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of presets by name; `next` is the cursor of the next page."""

    items: tuple[Preset, ...]
    next: str | None


def check_name(name: str, faults: ValidationErrors) -> None:
    """Check the name of a preset."""
    check_line("name", name, faults)
    if len(name) > MAX_NAME:
        faults.wrong("name", f"must have at most {MAX_NAME} characters")
    if (problem := fault_of_preset_name(name)) is not None:
        faults.wrong("name", problem)


def check_preset(found: JobFields, limits: Server, faults: ValidationErrors) -> None:
    """Check fields as those of a job that has all the input images which any of them is for."""
    job = JobInput(**asdict(found))
    check_job(job, frozenset(InputKind), limits, faults)


def kept_fields(found: JobFields, said: frozenset[str], faults: ValidationErrors) -> str:
    """The JSON of what a preset sets: the fields that were said, in our spelling."""
    values = {name: value for name, value in msgspec.to_builtins(found).items() if name in said}
    text = msgspec.json.encode(values, order="sorted")
    if len(text) > MAX_PRESET_BYTES:
        faults.wrong("$", f"a preset must have at most {MAX_PRESET_BYTES:,} bytes as JSON")
    return text.decode()


def preset_of(row: PresetRow) -> Preset:
    """A row as it is shown."""
    return Preset(
        name=row.name,
        fields=msgspec.Raw(row.fields.encode()),
        shared=row.key_id is None,
        created_at=moment(row.created_at_ms),
        changed_at=moment(row.changed_at_ms),
    )
