"""A client of the REST API for the recorder and the tests of upgrades, in the words of 0.2.0."""

from pathlib import Path
from typing import Final

import httpx

from tests.acceptance.patience import PATIENCE_S, wait_for
from tests.acceptance.releases.recording import Left, Reply, Said

ENDED: Final = ("finished", "failed", "cancelled")


class Client:
    """Gives every POST a key, and remembers the answers."""

    def __init__(self, port: int, prefix: str = "") -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}/v1/", timeout=PATIENCE_S)
        self.replies: list[Reply] = []
        self._prefix = prefix

    def close(self) -> None:
        self.http.close()

    def get(self, path: str) -> Said:
        return said(self.http.get(path))

    def post(self, path: str, body: Said) -> Said:
        """The answer, which must be a good one."""
        key = f"{self._prefix}{len(self.replies)}"
        answer = said(self.http.post(path, json=body, headers={"Idempotency-Key": key}))
        self.replies.append(Reply(path=path, key=key, body=body, answer=answer))
        return answer

    def upload(self, file: Path, name: str, model_type: str, **form: str | list[str]) -> Said:
        """A model, when it is inspected."""
        with file.open("rb") as stream:
            return said(
                self.http.post(
                    "models/upload",
                    params={"wait": PATIENCE_S},
                    data={"name": name, "model_type": model_type, **form},
                    files={"file": (file.name, stream)},
                )
            )

    def engine(self, name: str) -> Said:
        """The one engine of this name."""
        (found,) = self.get(f"engines?name={name}")["items"]
        return self.get(f"engines/{found['engine_id']}")

    def wait_for_job(self, job_id: str, *states: str) -> Said:
        """The job, once it is in one of these states; in any that ends it, if none is named."""

        def look() -> Said | None:
            job = self.get(f"jobs/{job_id}")
            return job if job["status"] in (states or ENDED) else None

        return wait_for(f"job {job_id} to be {' or '.join(states or ENDED)}", look)

    def left(self) -> Left:
        """What the API says of everything, each thing asked for by itself."""
        return Left(
            models=self._each("model"),
            engines=self._each("engine"),
            jobs=self._each("job"),
            images=self._each("image"),
            replies=self.replies,
        )

    def _each(self, kind: str) -> list[Said]:
        page = self.get(f"{kind}s?limit=200")
        assert page["next"] is None, "one page has them all"
        return [self.get(f"{kind}s/{item[f'{kind}_id']}") for item in page["items"]]


def said(answer: httpx.Response) -> Said:
    assert answer.is_success, f"{answer.request.url}: {answer.text}"
    found: Said = answer.json() if answer.content else {}
    return found
