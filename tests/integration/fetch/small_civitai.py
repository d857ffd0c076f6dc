"""CivitAI small enough for a test: the entries of its API, and downloads that redirect to a storage."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.fetch.site import Handler, Script, Site, file

STORAGE = "https://other.org"
KEY = "a-secret-key"


def file_entry(data: bytes, name: str = "furry.safetensors", **said: Any) -> dict[str, Any]:
    """A file of a version, as the API describes it."""
    metadata = {"format": "SafeTensor", "size": "pruned", "fp": "fp16"} | said.pop("metadata", {})
    sha256 = hashlib.sha256(data).hexdigest().upper()
    return {
        "id": 2402203,
        "name": name,
        "type": "Model",
        "sizeKB": len(data) / 1024,
        "metadata": metadata,
        "pickleScanResult": "Success",
        "hashes": {"AutoV2": sha256[:10], "SHA256": sha256, "CRC32": "DAEE95B7"},
        "primary": True,
    } | said


def version_entry(version: int, files: Sequence[dict[str, Any]], **said: Any) -> dict[str, Any]:
    """A version in the entry of its model."""
    return {
        "id": version,
        "name": "v1.0",
        "baseModel": "SD 1.5",
        "baseModelType": "Standard",
        "status": "Published",
        "availability": "Public",
        "trainedWords": [],
        "earlyAccessEndsAt": None,
        "images": [{"url": "https://example.org/a.jpeg", "meta": {"seed": 1}}],
        "files": list(files),
    } | said


@dataclass
class SmallCivitai:
    """The models of the test, by id. Downloads need a link that is good once."""

    site: Site
    host: str = "https://civitai.com"
    storage: str = STORAGE
    needs_key: bool = False
    links: int = 0
    bodies: dict[str, Script] = field(default_factory=dict)

    def put(self, model: int, versions: Sequence[dict[str, Any]], **said: Any) -> None:
        """A model with its versions in the order of its page."""
        head = {"name": "Furry Friends", "type": "Checkpoint", "nsfw": False, "mode": None} | said
        entry = {"id": model, "description": "<p>Soft</p>", **head, "modelVersions": versions}
        self.site.scripts[f"/api/v1/models/{model}"] = self._guarded(answered(entry))
        for version in versions:
            alone = version | {"modelId": model, "model": head}
            self.site.scripts[f"/api/v1/model-versions/{version['id']}"] = self._guarded(answered(alone))
            for one in version["files"]:
                one.setdefault("downloadUrl", f"{self.host}/api/download/models/{version['id']}")

    def serve(self, version: int, data: bytes | Script) -> None:
        """The file of a version, in the storage."""
        script = file(data) if isinstance(data, bytes) else data
        self.site.scripts[f"/api/download/models/{version}"] = self._guarded(self._redirect(version))
        self.site.scripts[f"/stored/{version}.safetensors"] = lambda handler: self._stored(handler, script)

    def asked_for(self, beginning: str) -> list[str]:
        return [one.path for one in self.site.asked if one.path.startswith(beginning)]

    def _guarded(self, script: Script) -> Script:
        def guarded(handler: Handler) -> None:
            is_known = handler.headers.get("Authorization") == f"Bearer {KEY}"
            is_download = handler.path.startswith("/api/download/")
            (script if is_known or not (self.needs_key and is_download) else _refuse)(handler)

        return guarded

    def _redirect(self, version: int) -> Script:
        def script(handler: Handler) -> None:
            self.links += 1
            address = f"{self.storage}/stored/{version}.safetensors?X-Amz-Expires=86400&X-Amz-Signature="
            handler.answer(307, {"Location": f"{address}{self.links}", "Content-Length": "0"})

        return script

    def _stored(self, handler: Handler, script: Script) -> None:
        """A link is refused once there is a newer one, as if its time had passed."""
        is_good = handler.path.endswith(f"X-Amz-Signature={self.links}")
        (script if is_good else _expired)(handler)


def answered(entry: object, status: int = 200) -> Script:
    body = entry if isinstance(entry, bytes) else json.dumps(entry).encode()
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))}
    return lambda handler: handler.answer(status, headers, body)


def _refuse(handler: Handler) -> None:
    text = {"error": "Unauthorized", "message": "The creator of this asset requires you to be logged in"}
    answered(text, 401)(handler)


def _expired(handler: Handler) -> None:
    answered(b"<?xml version='1.0'?><Error><Code>ExpiredRequest</Code></Error>", 403)(handler)
