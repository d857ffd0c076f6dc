"""The text of an API key: what it is made of, and what is not one."""

from hypothesis import given
from hypothesis import strategies as st

from kernel.protocol.api_keys import digest_of, is_digest_of, key_state, key_text, public_part, public_part_of
from kernel.protocol.enums import KeyState
from kernel.protocol.ids import KeyId
from kernel.protocol.uuid7 import Uuid7

KEY_ID = KeyId("0195a0b4-2f1c-7a3e-8d4f-1a2b3c4d5e6f")
SECRET = "0123456789abcdef" * 4
TEXT = f"spoon_0195a0b42f1c7a3e8d4f1a2b3c4d5e6f_{SECRET}"


def test_a_key_shows_its_id_and_is_found_by_it() -> None:
    assert key_text(KEY_ID, SECRET) == TEXT
    assert public_part(TEXT) == public_part_of(KEY_ID)


def test_every_id_of_the_house_comes_back() -> None:
    key_id = KeyId(Uuid7().text())
    assert public_part(key_text(key_id, SECRET)) == public_part_of(key_id)


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
