"""Whatever a database of any schema holds, today's version finds all of it, with the same meaning."""

from contextlib import closing
from functools import cache
from typing import Any, Final

import apsw
from hypothesis import given
from hypothesis import strategies as st

from kernel.protocol.enums import (
    BlobKind,
    ControlType,
    EngineState,
    GoneReason,
    JobState,
    ModelBase,
    ModelState,
    ModelType,
    Variant,
)
from kernel.protocol.ids import Epoch, JobId
from kernel.protocol.specs import EngineSpec, JobSpec
from kernel.shell.rowmap import to_json
from kernel.shell.state_reader import StateReader
from kernel.shell.store import migrate, migrations
from tests.property.old_specs import (
    SPECS_OF_ENGINES,
    SPECS_OF_JOBS,
    TEXTS,
    as_written,
    engine_known_to,
    known_to,
)

Row = dict[str, Any]
"""A value for each column."""

SCHEMAS: Final = st.integers(1, len(migrations()) - 1)
NUMBERS: Final = st.integers(0, 2**63 - 1)
LISTS: Final = st.lists(TEXTS, max_size=2).map(to_json)
BY_TYPE: Final = {"INTEGER": NUMBERS, "TEXT": TEXTS, "BLOB": st.binary(max_size=9)}
BASES: Final = st.none() | st.sampled_from(ModelBase)
COLUMNS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "model.status": st.sampled_from(ModelState),
    "model.model_type": st.sampled_from(ModelType),
    "model.model_base": BASES,
    "model.declared_base": BASES,
    "model.variant": st.none() | st.sampled_from(Variant),
    "model.control_type": st.none() | st.sampled_from(ControlType),
    "model.memory": st.none(),
    "model.preparation": st.none() | st.just('{"mean":[0.1,0.2,0.3]}'),
    **{f"model.{name}": LISTS for name in ("tags", "trigger_words", "found_words", "warnings")},
    "engine.status": st.sampled_from(EngineState),
    "job.status": st.sampled_from(JobState),
    "job.priority": st.integers(-1000, 1000),
    **{f"job.{name}": LISTS for name in ("image_ids", "warnings", "models")},
    "job.names_checkpoint": st.sampled_from([0, 1]),
    "image.tags": LISTS,
    "image.favorite": st.sampled_from([0, 1]),
    "image.gone_reason": st.none() | st.sampled_from(sorted({*GoneReason} - {GoneReason.LOST})),
    "image.position": st.integers(0, 9_999),
    "image.size_bytes": st.integers(0, 2**40),
    "image.width_px": st.integers(1, 2**16),
    "image.height_px": st.integers(1, 2**16),
    "blob.kind": st.sampled_from(BlobKind),
}
"""Columns that not every text or number fits. `lost` came with schema 6."""
NEVER_WRITTEN: Final = {"blob": 2}
"""Tables that no version before a schema had rows in."""
TABLES: Final = ("meta", "model", "engine", "job", "image", "blob", "idempotency", "event", "trash")


@cache
def empty_database(schema: int) -> bytes:
    with closing(apsw.Connection(":memory:")) as connection:
        for number in range(1, schema + 1):
            connection.execute(migrations()[number])
        connection.pragma("user_version", schema)
        return connection.serialize("main")


@cache
def columns(schema: int, table: str) -> list[tuple[str, str, bool]]:
    """Name, type, and whether it may be NULL."""
    with closing(apsw.Connection(":memory:")) as connection:
        connection.deserialize("main", empty_database(schema))
        found = connection.execute(
            'SELECT name, type, NOT "notnull" AND NOT pk FROM pragma_table_info(?)', (table,)
        )
        return [(str(name), str(kind), bool(may_be_null)) for name, kind, may_be_null in found]


def row_of(schema: int, table: str) -> st.SearchStrategy[Row]:
    """Any row that the table of that schema takes."""
    return st.fixed_dictionaries(
        {
            name: COLUMNS[f"{table}.{name}"]
            if f"{table}.{name}" in COLUMNS
            else st.none() | BY_TYPE[kind]
            if may_be_null
            else BY_TYPE[kind]
            for name, kind, may_be_null in columns(schema, table)
        }
    )


@st.composite
def databases(draw: st.DrawFn) -> tuple[int, dict[str, list[Row]], list[EngineSpec], list[JobSpec]]:
    """A schema, the rows of its tables, and what the specs in them mean."""
    schema = draw(SCHEMAS)
    tables = [table for table in TABLES if NEVER_WRITTEN.get(table, 0) <= schema]
    rows = {table: draw(st.lists(row_of(schema, table), max_size=2)) for table in tables}
    engines = [engine_known_to(schema, draw(SPECS_OF_ENGINES)) for _ in rows["engine"]]
    jobs = [known_to(schema, draw(SPECS_OF_JOBS)) for _ in rows["job"]]
    for table, specs in (("engine", engines), ("job", jobs)):
        for row, spec in zip(rows[table], specs, strict=True):
            row["spec"] = as_written(spec, schema)
    for table, kept in rows.items():
        for number, row in enumerate(kept):
            row |= _references(table, number)
    return schema, rows, engines, jobs


def _references(table: str, number: int) -> Row:
    """Keys by which rows belong together; one image and one blob are those of no job."""
    name, key = f"{table[0]}{number}", f"{table}_id"
    match table:
        case "model" | "engine":
            return {key: name, **({"name": name} if table == "engine" else {})}
        case "job":
            return {key: name, "seq": 1000 * number + 7, "engine_id": f"e{number}"}
        case "image" | "blob":
            return {key: name, "job_id": f"j{number}"}
        case "meta":
            return {"name": name}
        case "idempotency":
            return {"key": name}
        case "event":
            return {"seq": number}
        case _:
            return {"file_name": name}


def read(connection: apsw.Connection, table: str, names: list[str]) -> list[Row]:
    found = connection.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY rowid")
    return [dict(zip(names, row, strict=True)) for row in found]


@given(databases())
def test_no_row_is_lost_and_no_value_changes_its_meaning(
    database: tuple[int, dict[str, list[Row]], list[EngineSpec], list[JobSpec]],
) -> None:
    schema, rows, engines, jobs = database
    with closing(apsw.Connection(":memory:")) as connection:
        connection.deserialize("main", empty_database(schema))
        for table, kept in rows.items():
            for row in kept:
                marks = ", ".join(f":{name}" for name in row)
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", row)

        migrate(connection)

        for table, kept in rows.items():
            names = [name for name, _, _ in columns(schema, table) if name != "spec"]
            assert read(connection, table, names) == [{name: row[name] for name in names} for row in kept]
        reader = StateReader(connection)
        assert [row.spec for row in reader.snapshot(Epoch(1)).engines] == engines
        assert [reader.job_spec(JobId(row["job_id"])) for row in rows["job"]] == jobs
        for kept_counts, true in (("job_count", "job_recount"), ("image_count", "image_recount")):
            counted = connection.execute(f"SELECT * FROM {kept_counts} ORDER BY 1, 2, 3, 4").fetchall()
            assert counted == connection.execute(f"SELECT * FROM {true} ORDER BY 1, 2, 3, 4").fetchall()
