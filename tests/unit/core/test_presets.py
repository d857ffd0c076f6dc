"""Presets: saved for a key or for everybody, in place of what was there, and of a bounded number."""

import pytest
from msgspec.structs import replace

from kernel.protocol import client
from kernel.protocol.api_keys import KeyIssued, RevokeKey
from kernel.protocol.ids import KeyId
from kernel.protocol.presets import MAX_PRESET_BYTES, MAX_PRESETS, DeletePreset, SavePreset
from tests.unit.core.samples import create_key
from tests.unit.core.story import Story

ALICE, ROOT = KeyId("alice"), KeyId("root")


def save(name: str = "sketch", key_id: KeyId | None = ALICE, shared: bool | None = None) -> SavePreset:
    return SavePreset(name=name, fields="{}", key_id=key_id, shared=shared, is_admin=key_id is not ALICE)


def delete(name: str = "sketch", key_id: KeyId | None = ALICE) -> DeletePreset:
    return DeletePreset(name=name, key_id=key_id, is_admin=key_id is not ALICE)


def owners(story: Story, name: str = "sketch") -> set[KeyId | None]:
    return {owner for owner, called in story.database.presets if called == name}


def test_a_preset_belongs_to_the_key_that_saves_it_and_to_everybody_without_keys() -> None:
    story = Story()
    assert story.ask(save()) == client.Done()
    assert owners(story) == {ALICE}
    assert story.ask(save(key_id=None)) == client.Done()
    assert owners(story) == {ALICE, None}


def test_saving_again_replaces_the_fields() -> None:
    story = Story()
    story.ask(save())
    story.ask(replace(save(), fields='{"steps":3}'))
    assert [row.fields for row in story.database.presets.values()] == ['{"steps":3}']


def test_an_admin_shares_its_preset_and_takes_it_back() -> None:
    story = Story()
    story.ask(save(key_id=ROOT))
    story.ask(save(key_id=ROOT, shared=True))
    assert owners(story) == {None}
    story.ask(save(key_id=ROOT))
    assert owners(story) == {None}, "it stays what it was"
    story.ask(save(key_id=ROOT, shared=False))
    assert owners(story) == {ROOT}


def test_a_user_has_its_own_beside_everybodys_and_shares_none() -> None:
    story = Story()
    story.ask(save(key_id=ROOT, shared=True))
    story.ask(save())
    assert owners(story) == {None, ALICE}
    assert story.refusal(save(shared=True)).code == "key_not_allowed"
    assert story.ask(delete()) == client.Done()
    assert story.refusal(delete()).code == "key_not_allowed"
    assert owners(story) == {None}
    assert story.ask(delete(key_id=ROOT)) == client.Done()
    assert story.refusal(delete()).code == "preset_not_found"


def test_a_key_has_a_bounded_number_of_presets_and_may_still_change_them() -> None:
    story = Story()
    for number in range(MAX_PRESETS):
        story.ask(save(str(number)))
    assert story.refusal(save("one more")).code == "too_many_presets"
    assert story.ask(save("0")) == client.Done()
    assert story.ask(save("one more", key_id=ROOT)) == client.Done()


@pytest.mark.parametrize("name", ["", "..", " a", "a\n", "a" * 101])
def test_a_name_can_be_a_part_of_a_path(name: str) -> None:
    refused = Story().refusal(save(name))
    assert (refused.code, refused.fields[0].field) == ("invalid_field", "name")


TOO_LONG = '{"prompt":"' + "a" * MAX_PRESET_BYTES + '"}'


@pytest.mark.parametrize("fields", ["[]", "{", "3", "[" * 30_000, TOO_LONG], ids=len)
def test_fields_are_a_short_json_object(fields: str) -> None:
    refused = Story().refusal(replace(save(), fields=fields))
    assert (refused.code, refused.fields[0].field) == ("invalid_field", "fields")


def test_presets_of_a_revoked_key_go_and_the_others_stay_over_a_restart() -> None:
    story = Story()
    issued = story.ask(create_key("alice"))
    assert isinstance(issued, KeyIssued)
    story.ask(save(key_id=None))
    story.ask(save(key_id=issued.key_id))
    story.ask(RevokeKey(key_id=issued.key_id))
    assert owners(story) == {None}
    story.begin()
    assert story.refusal(delete()).code == "key_not_allowed"
