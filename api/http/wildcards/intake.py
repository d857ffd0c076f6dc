"""Makes the choices in the prompts of a job before it is sent: all that follows sees plain prompts."""

import hashlib
import random
import secrets
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from api.http.contract.errors import WildcardNotFound
from api.http.contract.job_input import RANDOM_SEED, JobInput
from api.http.wildcards.lists import WildcardLists
from kernel.protocol.errors import SpoonError, of_field, wrong_field
from kernel.protocol.prompt_syntax.templates import TemplateFault, expand, is_template, may_be_template
from kernel.protocol.specs import JobSpec

PROMPTS: Final = ("prompt", "negative_prompt")
SEED_BITS: Final = 32
_WAY_OUT: Final = "or set wildcards to false if it is text"


@dataclass(frozen=True, slots=True)
class Templates:
    """What the prompts of a job were made from; None: they are as they were typed."""

    prompt: str | None = None
    negative_prompt: str | None = None


NO_TEMPLATES: Final = Templates()


def templates_of(spec: JobSpec) -> Templates:
    """Those of a stored job."""
    return Templates(spec.prompt_template, spec.negative_prompt_template)


class WildcardIntake:
    """Turns templates into prompts.

    What is chosen follows from the seed and the field alone: the same seed chooses the same lines, as long as
    the lists are the same.
    """

    def __init__(self, lists: WildcardLists) -> None:
        self.lists = lists

    def is_on(self, wildcards: bool | None) -> bool:
        """Whether a job that says so has choices."""
        return self.lists.has_folders if wildcards is None else wildcards

    def concerns(self, found: JobInput) -> bool:
        """False, at once, for a job whose prompts are as they are typed."""
        has_marks = may_be_template(found.prompt) or may_be_template(found.negative_prompt)
        return has_marks and self.is_on(found.wildcards)

    def resolve(
        self, found: JobInput, key: str | None, fields: tuple[str, ...] = PROMPTS
    ) -> tuple[JobInput, Templates]:
        """The job with its seed and every choice made, and its templates. Only those of `fields` are read.

        Without a seed it gets one: by the idempotency key, so that a repeated request is the same job.
        Raises: WildcardNotFound; InvalidField.
        """
        if not (fields and self.concerns(found)):
            return found, NO_TEMPLATES
        templates = {name: text for name in fields if self.is_template(name, text := getattr(found, name))}
        if not templates:
            return found, NO_TEMPLATES
        seed = _seed_of(key) if found.seed in (None, RANDOM_SEED) else found.seed
        prompts = {name: self.prompt_of(name, text, seed) for name, text in templates.items()}
        return replace(found, seed=seed, **prompts), Templates(**templates)

    def prompt_of(self, field: str, template: str, seed: int | None) -> str:
        """The prompt that a seed makes of a template in this field.

        Raises: WildcardNotFound; InvalidField.
        """
        try:
            return expand(template, random.Random(f"{seed} {field}").random, self.lists.find)
        except WildcardNotFound as error:
            raise of_field(WildcardNotFound, field, f"{error.detail}; {_WAY_OUT}") from error
        except TemplateFault as error:
            raise _refused(field, error) from error

    @staticmethod
    def is_template(field: str, text: str) -> bool:
        """True if choices are made in this prompt. Raises: InvalidField."""
        try:
            return is_template(text)
        except TemplateFault as error:
            raise _refused(field, error) from error


def _refused(field: str, fault: TemplateFault) -> SpoonError:
    return wrong_field(field, f"{fault}; {_WAY_OUT}")


def _seed_of(key: str | None) -> int:
    if key is None:
        return secrets.randbits(SEED_BITS)
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[: SEED_BITS // 8])
