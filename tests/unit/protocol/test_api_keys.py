"""The text of an API key: what it is made of, and what is not one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.protocol.api_keys import digest_of, is_digest_of, key_id_in, key_state, key_text
from kernel.protocol.enums import KeyState
from kernel.protocol.ids import KeyId
from kernel.protocol.uuid7 import Uuid7

KEY_ID = KeyId("0195a0b4-2f1c-7a3e-8d4f-1a2b3c4d5e6f")
SECRET = "0123456789abcdef" * 4
TEXT = f"spoon_0195a0b42f1c7a3e8d4f1a2b3c4d5e6f_{SECRET}"


def test_a_key_shows_its_id_and_is_found_by_it() -> None:
    assert key_text(KEY_ID, SECRET) == TEXT
    assert key_id_in(TEXT) == KEY_ID


def test_every_id_of_the_house_comes_back() -> None:
    key_id = KeyId(Uuid7().text())
    assert key_id_in(key_text(key_id, SECRET)) == key_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spoon",
        "spoon_",
        TEXT[:-1],
        TEXT + "0",
        TEXT.upper(),
        f" {TEXT}",
        f"{TEXT}\n",
        TEXT.replace("_", "-"),
        TEXT.replace("spoon", "fork"),
        f"spoon_{KEY_ID}_{SECRET}",
        TEXT.replace("0", "\N{FULLWIDTH DIGIT ZERO}"),
        TEXT * 1000,
    ],
)
def test_what_has_another_form_is_no_key(text: str) -> None:
    assert key_id_in(text) is None


@given(st.text(max_size=200))
def test_any_text_has_a_digest_that_recognizes_it_alone(text: str) -> None:
    digest = digest_of(text)
    assert len(digest) == 64
    assert is_digest_of(digest, text)
    assert not is_digest_of(digest, text + "0")


def test_a_key_is_revoked_rather_than_expired_and_expires_at_its_moment() -> None:
    assert key_state(None, None, 5) is KeyState.ACTIVE
    assert key_state(6, None, 5) is KeyState.ACTIVE
    assert key_state(5, None, 5) is KeyState.EXPIRED
    assert key_state(4, 4, 5) is KeyState.REVOKED
