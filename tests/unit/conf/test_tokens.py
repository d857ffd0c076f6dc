"""models.tokens"""

from pathlib import Path

import pytest

from conf.tokens import read_tokens, token_variables
from kernel.protocol.errors import BadConfiguration


def test_tokens_are_read_from_where_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    entries = ["HuggingFace.co=env:HF_TOKEN", f"example.org:8443=file:{tmp_path}/token"]
    tokens = read_tokens(entries, {"HF_TOKEN": " from-the-environment "})
    assert tokens == {"huggingface.co": "from-the-environment", "example.org:8443": "from-a-file"}


@pytest.mark.parametrize(
    "entries",
    [
        ["hf_secret"],
        ["huggingface.co=hf_secret"],
        ["huggingface.co=env:"],
        ["huggingface.co=env:ABSENT"],
        ["huggingface.co=file:/nonexistent"],
        ["https://huggingface.co=env:SECRET"],
        ["huggingface.co=env:SECRET", "HUGGINGFACE.CO=env:SECRET"],
        ["huggingface.co=env:BROKEN"],
        ["huggingface.co=env:LONG"],
    ],
)
def test_what_is_no_token_is_refused_and_never_quoted(entries: list[str]) -> None:
    environ = {"SECRET": "hf_secret", "BROKEN": "hf_secret\r\nX: y", "LONG": "hf_secret" * 1000}
    with pytest.raises(BadConfiguration, match=r"models\.tokens") as caught:
        read_tokens(entries, environ)
    assert "hf_secret" not in caught.value.detail


def test_the_variables_that_hold_tokens_are_known_once_each() -> None:
    entries = ["a.org=env:ONE", "b.org=file:/run/two", "c.org=env:ONE", "d.org=env:TWO"]
    assert token_variables(entries) == ("ONE", "TWO")
