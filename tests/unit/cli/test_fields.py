"""What the REST API takes, the command line can say: a new field needs an option."""

import msgspec

from api.cli import engine_options, job_options
from api.cli.commands.engines import create
from api.cli.commands.jobs import submit
from api.http.contract.engine_input import EngineInput
from api.http.contract.job_input import JobInput

# Where the parameter of the command is not called as the field.
CALLED = {
    "engine_id": "engine",
    "image_file_type": "said_type",
    **{field: option for option, field in job_options.FILES.items()},
}
# Never sent: the command looks up a name and sends the id.
BY_ANOTHER = {"engine"}


def fields_of(kind: type[msgspec.Struct]) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(kind)} - BY_ANOTHER


def test_each_field_of_a_job_has_an_option_and_is_sent() -> None:
    fields = fields_of(JobInput)
    options = {param.name for param in submit.params}
    assert {CALLED.get(name, name) for name in fields} <= options
    sent = job_options.job_input("e", dict.fromkeys(fields, 0))
    assert fields - set(job_options.FILES.values()) <= set(sent)


def test_each_field_of_an_engine_has_an_option_and_is_sent() -> None:
    fields = fields_of(EngineInput)
    assert fields <= {param.name for param in create.params}
    assert fields == set(engine_options.engine_input("c", dict.fromkeys(fields, 0)))


def test_what_is_not_given_is_not_sent() -> None:
    assert job_options.job_input(None, {"prompt": "p", "engine": None}) == {"prompt": "p"}
    said = {"prompt": None, "engine": "x", "seed": None, "loras": (), "previews": False, "steps": 0}
    assert job_options.job_input("e", said) == {"engine_id": "e", "steps": 0}
