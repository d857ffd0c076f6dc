"""The tree of errors: stable codes, useful words, and the way over the bus and back."""

import pytest

from api.http.contract.errors import VersionNotSupported
from kernel.protocol import errors
from kernel.protocol.errors import FieldProblem, SpoonError, title_of, wrong_field
from kernel.protocol.refusals import all_errors, error_of_code


def every_error() -> list[type[SpoonError]]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in kinds if issubclass(kind, SpoonError)]


def test_every_error_has_a_code_of_its_own():
    codes = [kind.code for kind in every_error()]
    assert len(codes) == len(set(codes))
    assert set(all_errors()) == set(codes)


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_error_says_its_docstring_unless_it_is_told_more(kind):
    assert kind.code.replace("_", "").isalpha()
    assert title_of(kind) + "." == (kind.__doc__ or "").splitlines()[0]
    assert kind().detail.lower() == title_of(kind).lower()
    assert kind().detail[0].islower()
    assert str(kind("more")) == kind("more").detail == "more"


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_refusal_on_the_bus_becomes_the_same_error_again(kind):
    fields = (FieldProblem(field="steps", problem="too few"),)
    again = error_of_code(kind.code, "why", fields, 5.0)
    assert type(again) is kind
    assert (again.detail, again.fields, again.retry_after_s) == ("why", fields, 5.0)


def test_a_detail_keeps_the_capitals_of_a_proper_name():
    assert VersionNotSupported().detail == "HTTP version not supported: use HTTP/1.1 or HTTP/1.0"


def test_code_of_a_newer_manager_becomes_a_plain_error():
    assert type(error_of_code("invented_later", "why")) is SpoonError


def test_wrong_field_names_the_field():
    error = wrong_field("steps", "too few")
    assert error.detail == "steps: too few"
    assert error.fields == (FieldProblem(field="steps", problem="too few"),)


def test_what_is_not_found_is_caught_as_that():
    assert issubclass(errors.JobNotFound, errors.NotFound)
    assert issubclass(errors.WrongVersion, errors.BadMessage)
