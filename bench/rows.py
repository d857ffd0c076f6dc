"""Does an answer cost more the more rows there are? `python -m bench.rows`

Two databases, of 10,000 and of 100,000 jobs with their images, behind the server as it ships. Each GET and
each dry run is asked of both in turns; the figures are the ratios of the medians of a round. Gate: every
answer has the status and the number of items that the filling says. Beside them is the memory of the API's
process after 64 clients at once have asked for everything (Rss, Pss). Source: proc_pid_smaps_rollup(5).
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from bench.filling import Wanted, fill, routes
from bench.report import Goal, Spread, print_report
from bench.server import KEY, Running, server

SIZES: Final = (10_000, 100_000)
ROUNDS: Final = 5
ASKED: Final = 7
"""How often a round asks each server for the same thing."""
CLIENTS: Final = 64
MOST: Final = 1.5
"""Times of what it takes with the fewer rows."""
MOST_MIB: Final = 90
Figures = dict[str, list[float]]


def main() -> None:
    """Measure and print."""
    figures: Figures = {}
    with ExitStack() as stack:
        sides = [stack.enter_context(server(filling=partial(fill, rows=rows))) for rows in SIZES]
        asked = [routes(rows) for rows in SIZES]
        for number in range(-1, ROUNDS):
            for name in asked[0]:
                pairs = list(zip(sides, (one[name] for one in asked), strict=True))
                took = dict(zip(SIZES, _in_turns(pairs), strict=True))
                if number >= 0:  # the first round warms up
                    figures.setdefault(name, []).append(took[SIZES[1]] / took[SIZES[0]])
                    figures.setdefault(f"{name} ms", []).append(1_000 * took[SIZES[1]])
            print(f"round {number + 1} of {ROUNDS} done", file=sys.stderr)
        for rows, side, wanted in zip(SIZES, sides, asked, strict=True):
            _crowd(side, list(wanted.values()))
            for word, mib in _memory(side).items():
                figures[f"api_{word}_mib_{rows}"] = [mib]
    ratios = {name: Goal(MOST) for name in asked[0]}
    goals = ratios | {f"api_rss_mib_{SIZES[1]}": Goal(MOST_MIB)}
    print_report("rows", {name: Spread.of(values) for name, values in figures.items()}, goals)


def _in_turns(pairs: Sequence[tuple[Running, Wanted]]) -> list[float]:
    """The median of the seconds that each server took."""
    took: list[list[float]] = [[] for _ in pairs]
    lines = [http.client.HTTPConnection(side.host, side.port, timeout=60) for side, _ in pairs]
    for turn in range(ASKED):
        order = list(enumerate(pairs))
        for index, (_, wanted) in order if turn % 2 == 0 else reversed(order):
            began_s = time.perf_counter()
            status, body = _ask(lines[index], wanted)
            took[index].append(time.perf_counter() - began_s)
            _check(wanted, status, body)
    for line in lines:
        line.close()
    return [median(one) for one in took]


def _ask(line: http.client.HTTPConnection, wanted: Wanted) -> tuple[int, bytes]:
    headers = {"Authorization": f"Bearer {KEY}"}
    if wanted.body is not None:
        headers["Content-Type"] = "application/json"
    line.request(wanted.method, wanted.path, wanted.body, headers)
    answer = line.getresponse()
    return answer.status, answer.read()


def _check(wanted: Wanted, status: int, body: bytes) -> None:
    """The correctness gate. Raises: SystemExit."""
    if status != 200:
        raise SystemExit(f"gate failed: {wanted.path}: {status} {body[:300]!r}")
    if wanted.key is None:
        return
    found = json.loads(body)[wanted.key]
    count = len(found) if isinstance(found, list) else found
    if count != wanted.count:
        raise SystemExit(f"gate failed: {wanted.path} {wanted.body}: {count}, not {wanted.count}")


def _crowd(side: Running, wanted: Sequence[Wanted]) -> None:
    """So many clients at once ask for everything."""

    def visit() -> None:
        line = http.client.HTTPConnection(side.host, side.port, timeout=60)
        for one in wanted:
            _ask(line, one)
        line.close()

    visitors = [threading.Thread(target=visit) for _ in range(CLIENTS)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()


def _memory(side: Running) -> Mapping[str, float]:
    """Of the API's process, in MiB."""
    pid = side.manager.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    api = next(one for one in children if b"api.main" in Path(f"/proc/{one}/cmdline").read_bytes())
    lines = Path(f"/proc/{api}/smaps_rollup").read_text().splitlines()
    found = {line.split(":")[0].lower(): int(line.split()[1]) / 1024 for line in lines[1:]}
    return {word: found[word] for word in ("rss", "pss")}


if __name__ == "__main__":
    main()
