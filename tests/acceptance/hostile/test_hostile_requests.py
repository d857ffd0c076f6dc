"""Hostile requests to a whole server with API keys: each has the right answer, and nothing comes of any."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.acceptance.conftest import cleaned_up, copy_of
from tests.acceptance.hostile import bodies, credentials, links_and_paths, roles_and_ids
from tests.acceptance.hostile.exchange import Case, Door, bearer, request
from tests.acceptance.hostile.house import House, furnish, rows_of, traces
from tests.acceptance.mcp_host import by_http, served, text_of
from tests.acceptance.patience import PATIENCE_S
from tests.acceptance.receiver import receiving
from tests.acceptance.server import Server

LEAST: Final = 750
"""How many hostile requests there are at least."""
TABLES: Final = (credentials.cases, roles_and_ids.cases, links_and_paths.cases, bodies.cases)


@pytest.fixture(scope="module")
def house(installed: Path) -> Iterator[House]:
    with (
        receiving() as receiver,
        copy_of(installed) as folder,
        cleaned_up(Server(folder, with_api=True)) as server,
    ):
        server.configure(
            callbacks=f'allow_hosts = ["127.0.0.1:{receiver.port}"]', server="request_timeout = 1"
        )
        server.start()
        made = House(server, Door(server.port))
        furnish(made, receiver)
        yield made


@pytest.fixture(autouse=True)
def untouched(house: House) -> Iterator[None]:
    """Whatever a test sends: the rows of the database stay, nothing secret is said, and those who have a
    right to come are served."""
    before = rows_of(house.server.database_file)
    yield
    assert rows_of(house.server.database_file) == before
    for where, said in traces(house):
        assert [secret for secret in house.secrets if secret.encode() in said] == [], where
    for name in ("root", "alice", "bob", "viewer"):
        assert house.door.send(request("GET", "/v1/session", bearer(house.keys[name]))).status == 200


def cases(house: House) -> list[Case]:
    return [case for table in TABLES for case in table(house)]


def test_each_hostile_request_has_the_right_answer(house: House) -> None:
    wrong: list[str] = []
    for case in cases(house):
        answer = house.door.send(case.request)
        is_right = answer.status in case.statuses
        is_told = case.code is None or (is_right and answer.code == case.code)
        if not (is_right and is_told):
            wrong.append(f"{case.name}: {answer.whole[:300]!r}, not {case.statuses} {case.code}")
    assert not wrong, "\n".join(wrong)


def test_what_belongs_to_others_is_answered_as_what_never_was(house: House) -> None:
    """To the byte, apart from the id that was asked for."""
    count, routes = 0, {one.id for one in roles_and_ids.operations(house)}
    for name, theirs, never in roles_and_ids.pairs(house):
        found, missing = house.door.send(theirs), house.door.send(never)
        assert found.status < 500, name
        if name in routes:
            assert found.status == 404, (name, found.whole)
        assert neutral(house, found.whole) == neutral(house, missing.whole), name
        count += 1
    assert count >= 25


def neutral(house: House, whole: bytes) -> list[bytes]:
    """An answer without the moment and the ids that were asked for."""
    for one in (*house.ids.values(), roles_and_ids.NEVER):
        whole = whole.replace(one.encode(), b"ID")
    return [line for line in whole.split(b"\r\n") if not line.lower().startswith(b"date:")]


def test_what_comes_slowly_is_refused_by_its_head_or_in_the_end(house: House) -> None:
    """All of them at once; whoever has no right to send a body is not waited for."""
    sent = [(*one, socket.create_connection(("127.0.0.1", house.server.port))) for one in bodies.slow(house)]
    wrong: list[str] = []
    for case, _, line in sent:
        line.settimeout(PATIENCE_S)
        line.sendall(case.request)
    for case, is_soon, line in sent:
        with line:
            if is_soon or 0 not in case.statuses:
                answer = house.door.answer_on(line)
                if answer.status not in case.statuses:
                    wrong.append(f"{case.name}: {answer.whole[:200]!r}, not {case.statuses}")
            else:
                assert select.select([line], [], [], 0)[0] == [], "its end is waited for"
    assert not wrong, "\n".join(wrong)


def test_agents_with_keys_that_ended_are_told_so_and_see_nothing(house: House) -> None:
    """By the Model Context Protocol, whose server passes on the key of each client."""
    codes = {"revoked": "key_revoked", "expired": "key_expired", "rotated": "key_unknown"}
    options = ["--url", f"http://127.0.0.1:{house.server.port}"]
    with served(options, house.server.folder, {"SPOON_KEY": house.keys["root"]}) as url:
        for name, code in codes.items():
            with by_http(url, house.keys[name]) as host:
                for tool in ("list_engines", "list_models"):
                    result = host.call(tool)
                    house.door.said.append(text_of(result).encode())
                    assert (result.is_error, code in text_of(result)) == (True, True)


def test_there_are_so_many_of_them(house: House) -> None:
    names = [case.name for case in cases(house)]
    assert len(names) == len(set(names))
    slow = sum(1 for _ in bodies.slow(house))
    count = len(names) + sum(1 for _ in roles_and_ids.pairs(house)) + slow
    print(f"{count} hostile requests")
    assert count >= LEAST
