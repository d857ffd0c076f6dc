"""Names and seeds of which a test knows what comes next."""

from kernel.protocol.webhooks import Signer


class CountingIds:
    """Names things by counting."""

    def __init__(self) -> None:
        self._count = 0

    def id(self) -> str:
        self._count += 1
        return f"{self._count:08}"

    def secret(self) -> str:
        return f"secret-{self.id()}"

    def signing_secret(self, signer: Signer) -> str:
        return f"whsec_{signer.subject}.{signer.generation}"

    def seed(self) -> int:
        self._count += 1
        return self._count
