"""Only so many large bodies are in memory at once."""

import pytest

from api.http.heavy import LIGHT_BYTES, HeavyBodies
from kernel.protocol.errors import TooManyRequests


def test_a_large_body_waits_for_room_and_is_refused_when_there_is_none() -> None:
    heavy = HeavyBodies(at_once=1, patience_s=0.0)
    with (
        heavy.room_for(LIGHT_BYTES + 1),
        pytest.raises(TooManyRequests, match="too many jobs with pictures"),
        heavy.room_for(LIGHT_BYTES + 1),
    ):
        pass


def test_a_small_body_goes_past() -> None:
    heavy = HeavyBodies(at_once=1, patience_s=0.0)
    with heavy.room_for(LIGHT_BYTES + 1), heavy.room_for(LIGHT_BYTES), heavy.room_for(None):
        pass


def test_room_comes_back_even_if_the_body_is_refused() -> None:
    heavy = HeavyBodies(at_once=1, patience_s=0.0)
    for _ in range(3):
        with pytest.raises(ValueError, match="wrong"), heavy.room_for(LIGHT_BYTES + 1):
            raise ValueError("wrong")
