"""A hub small enough for a test: the two endpoints that models come through, and what it was asked."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.integration.fetch.site import Handler, Site, file, redirect

OLD, NEW = "a" * 40, "b" * 40


@dataclass
class SmallHub:
    """One repository, `owner/dreams`, with the files of each commit. Large ones are redirected elsewhere."""

    site: Site
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    token: str | None = None

    def put(self, commit: str, files: Mapping[str, bytes], branch: str = "main") -> None:
        """A new commit, to which the branch points now."""
        self.commits[commit] = files
        self.branches[branch] = commit
        api = "/api/models/owner/dreams"
        self.site.scripts[api] = lambda handler: self._describe(handler, "main")
        for name in (*self.branches, *self.commits):
            self.site.scripts[f"{api}/revision/{name}"] = lambda handler, name=name: self._describe(
                handler, name
            )
        for name, data in files.items():
            self.site.scripts[f"/owner/dreams/resolve/{commit}/{name}"] = self._guarded(
                redirect(f"https://other.org/cdn/{commit}/{name}")
                if name.endswith(".safetensors")
                else file(data)
            )
            self.site.scripts[f"/cdn/{commit}/{name}"] = file(data)

    def downloaded(self) -> list[str]:
        """The files that were asked for, at their commits."""
        return [
            one.path.removeprefix("/owner/dreams/resolve/")
            for one in self.site.asked
            if "/resolve/" in one.path
        ]

    def _guarded(self, script):  # type: ignore[no-untyped-def]
        return lambda handler: script(handler) if self._may(handler) else _refuse(handler)

    def _may(self, handler: Handler) -> bool:
        return self.token is None or handler.headers.get("Authorization") == f"Bearer {self.token}"

    def _describe(self, handler: Handler, name: str) -> None:
        if not self._may(handler):
            _refuse(handler)
            return
        commit = self.branches.get(name, name)
        siblings = [
            {"rfilename": one, "size": len(data), "blobId": "0" * 40} | _lfs(one, data)
            for one, data in self.commits[commit].items()
        ]
        body = json.dumps({"id": "owner/dreams", "sha": commit, "siblings": siblings}).encode()
        handler.answer(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}, body)


def _lfs(name: str, data: bytes) -> dict[str, object]:
    if not name.endswith(".safetensors"):
        return {}
    return {"lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 134}}


def _refuse(handler: Handler) -> None:
    handler.answer(401, {"X-Error-Code": "RepoNotFound", "Content-Length": "0"})
