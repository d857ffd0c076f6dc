"""Kills processes of a server with kill -9, at moments that only its seed knows."""

import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from tests.acceptance.patience import wait_for
from tests.acceptance.processes import API, MANAGER, WORKER, Found
from tests.acceptance.server import Server

LIFE_S: Final = 0.8
"""How long a Manager lives at most, once it answers, before the next kill of anything."""
START_S: Final = 0.6
"""About as long as a Manager takes to start: it may be killed on its way."""
STILLBORN: Final = 0.2
"""The share of Managers that do not live to answer."""
APIS_A_LIFE: Final = 3
"""More deaths of the API in a row would end the Manager, as they should."""
UNSERVED: Final = 3
"""So many Managers in a row may die before their API listens. On a busy machine an API takes longer to start
than a Manager lives here, so that without this its clients would wait for ever."""


@dataclass
class Killer:
    """Chooses a victim, waits for its moment, kills, and starts the Manager again if it was the victim."""

    server: Server
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    _apis_killed: int = 0
    _unserved: int = 0

    def kill_one(self) -> None:
        """One kill -9."""
        victims = [MANAGER, MANAGER, WORKER, WORKER]
        if self.server.with_api and self._apis_killed < APIS_A_LIFE:
            victims.append(API)
        victim = self.chance.choice(victims)
        time.sleep(self.chance.uniform(0, LIFE_S))
        if victim == MANAGER:
            self._kill_manager()
        else:
            wait_for(f"a living {victim}", lambda: self._kill_some(victim))
        self.kills[victim] += 1

    def _kill_manager(self) -> None:
        self._end_manager()
        while self.chance.random() < STILLBORN:
            self.server.launch()
            time.sleep(self.chance.uniform(0, START_S))
            self._end_manager()
            self.kills[MANAGER] += 1
        self.server.launch()
        self.server.wait_for_manager()
        self._apis_killed = 0
        if self.server.with_api:
            self._let_serve()

    def _let_serve(self) -> None:
        """Every few lives of the Manager the API gets as far as to listen."""
        self._unserved += 1
        if self._unserved > UNSERVED:
            wait_for("the API", self.server.is_api_there)
            self._unserved = 0

    def _end_manager(self) -> None:
        self.server.signal(signal.SIGKILL)
        assert self.server.exit_code() == -signal.SIGKILL, "the Manager left before it was killed"

    def _kill_some(self, module: str) -> bool:
        living: list[Found] = self.server.processes(module)
        if not living:
            return False
        self.chance.choice(living).send(signal.SIGKILL)
        self._apis_killed += module == API
        return True
