"""Somebody else who uses the server while it is attacked, by a new connection for each request.

python -m bench.attack.witness HOST PORT SECONDS API_PID          prints latencies and memory as JSON
"""

import http.client
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

PAUSE_S: Final = 0.05
TIMEOUT_S: Final = 60.0
READS: Final = ("/v1/jobs?limit=20", "/v1/engines", "/v1/capabilities")


def main() -> None:
    """Ask for so long, and print what was seen."""
    host, port, seconds, api_pid = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    until = time.monotonic() + seconds
    seen: dict[str, list[float]] = {"health_s": [], "get_s": [], "resident_bytes": []}
    faults: list[str] = []

    def ask(figure: str, paths: tuple[str, ...], is_right: Callable[[dict[str, object]], bool]) -> None:
        number = 0
        while time.monotonic() < until and not faults:
            path = paths[number % len(paths)]
            number += 1
            began_s = time.perf_counter()
            try:
                status, answer = get(host, port, path)
            except (OSError, http.client.HTTPException, ValueError) as error:
                faults.append(f"{path}: {error!r}")
                return
            seen[figure].append(time.perf_counter() - began_s)
            if status != 200 or not is_right(answer):
                faults.append(f"{path}: {status} {answer}")
            time.sleep(PAUSE_S)

    def look() -> None:
        while time.monotonic() < until:
            seen["resident_bytes"].append(resident_bytes(api_pid))
            time.sleep(PAUSE_S)

    threads = [
        threading.Thread(
            target=ask, args=("health_s", ("/v1/health/live",), lambda a: a == {"status": "alive"})
        ),
        threading.Thread(
            target=ask, args=("get_s", READS, lambda a: bool(a.get("items") or a.get("limits")))
        ),
        threading.Thread(target=look),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise SystemExit(f"gate failed: {faults[0]}")
    print(json.dumps(seen))


def get(host: str, port: int, path: str) -> tuple[int, dict[str, object]]:
    """One answer, as JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def resident_bytes(pid: int) -> float:
    """The resident memory of a process. Source: proc_pid_status(5)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    main()
