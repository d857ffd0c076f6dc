"""What holds for all tests: their order, which of them run, their user's folders, how long Hypothesis
searches."""

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from tests.own_folders import own_folders
from tests.sampling import left_out

ORDER = ("unit", "architecture", "property", "integration", "acceptance", "hosts", "web", "gpu")
"""What is quick and close to the cause fails first."""

settings.register_profile(
    "ci",
    deadline=None,
    print_blob=True,
    max_examples=100,
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "deep", parent=settings.get_profile("ci"), max_examples=5_000, stateful_step_count=150
)
settings.load_profile("ci")  # `--hypothesis-profile=deep` searches longer


def pytest_configure(config: pytest.Config) -> None:
    """Before any module is imported: no test finds the folders of the person who runs it."""
    stack = ExitStack()
    stack.enter_context(own_folders())
    config.add_cleanup(stack.close)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs with EXHAUSTIVE=1 only. Sort by folder, and what is slow to the front of it: if it
    began last, one process would work alone.

    The sort is stable: otherwise the order within a folder stays random.
    """
    absent = left_out(items)
    config.hook.pytest_deselected(items=list(absent))
    items[:] = [item for item in items if item not in absent]
    tests = config.rootpath / "tests"

    def rank(item: pytest.Item) -> tuple[int, bool]:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        place = ORDER.index(folder) if folder in ORDER else len(ORDER)
        return place, item.get_closest_marker("slow") is None

    items.sort(key=rank)
