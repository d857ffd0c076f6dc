"""The order of all tests: what is quick and close to the cause fails first."""

import pytest

ORDER = ("unit", "architecture", "property", "integration", "acceptance", "gpu")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort by folder. The sort is stable: within a folder the order stays random."""
    tests = config.rootpath / "tests"

    def rank(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0] if item.path.is_relative_to(tests) else ""
        return ORDER.index(folder) if folder in ORDER else len(ORDER)

    items.sort(key=rank)
