"""Names and seeds of which a test knows what comes next."""


class CountingIds:
    """Names things by counting."""

    def __init__(self) -> None:
        self._count = 0

    def id(self) -> str:
        self._count += 1
        return f"{self._count:08}"

    def secret(self) -> str:
        return f"secret-{self.id()}"

    def seed(self) -> int:
        self._count += 1
        return self._count
