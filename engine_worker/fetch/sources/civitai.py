"""CivitAI: its public API says which files a version of a model has, through our guarded HTTP client.

The file itself is downloaded like all others, from the path that the answer names on the same site; the site
redirects to its storage with a link for a limited time, which each request asks for anew. An answer is
untrusted: only its declared fields are decoded, and what is not of their form is refused.
Source: https://developer.civitai.com/site/reference/
"""

from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from engine_worker.fetch.net.http_client import HttpClient, ask_site, host_of, token_line
from engine_worker.fetch.sources.civitai_listing import (
    Choice,
    ModelEntry,
    Version,
    choose_version,
    listing_of,
)
from engine_worker.fetch.sources.staging import Listing
from kernel.protocol.errors import DownloadFailed, ModelUnreadable
from kernel.protocol.model_refs import ModelSource
from kernel.protocol.sources import CivitaiSource
from kernel.protocol.type_info import analyzed

_JSON: Final = {"Accept": "application/json"}
Entry = TypeVar("Entry", ModelEntry, Version)


@dataclass(frozen=True, slots=True)
class Civitai:
    """The site, contacted through the connections of `web`."""

    web: HttpClient
    endpoint: str
    allows_pickle: bool

    def look(self, asked: CivitaiSource, source: ModelSource) -> Listing:
        """The file of the version that is asked for, else of the first published one that the page shows.

        Raises: DownloadFailed, if there is none, it is not accessible, or the site cannot be reached;
        ModelUnreadable, if it is of a type or a base that is not supported or was not declared.
        """
        choice = Choice(asked, source, self.allows_pickle)
        if (pinned := source.revision or asked.version) is not None:
            asked = replace(asked, version=int(pinned))
        try:
            return listing_of(self._version(asked, choice), choice)
        except ModelUnreadable as error:
            raise ModelUnreadable(f"{host_of(self.endpoint)}: {error.detail}") from error

    def _version(self, asked: CivitaiSource, choice: Choice) -> Version:
        if asked.version is None:
            model = self._entry(f"models/{asked.model}", f"model {asked.model}", ModelEntry)
            return choose_version(model, choice)
        name = f"model version {asked.version}"
        version = self._entry(f"model-versions/{asked.version}", name, Version)
        if version.id != asked.version:
            raise DownloadFailed(f"{self.endpoint} answers with another version: {version.id}")
        if None not in (asked.model, version.model_id) and asked.model != version.model_id:
            raise DownloadFailed(
                f"version {version.id} is one of model {version.model_id}, not of {asked.model}: use "
                f"civitai:{version.model_id}@{version.id}"
            )
        return version

    def _entry(self, path: str, name: str, kind: type[Entry]) -> Entry:
        url = f"{self.endpoint}/api/v1/{path}"
        answer, body = ask_site(f"the site {self.endpoint}", lambda: self.web.read(url, _JSON))
        if answer.status != 200:
            raise self._refusal(answer.status, name)
        try:
            return msgspec.json.decode(body, type=analyzed(kind))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            said = f": {error}" if isinstance(error, msgspec.ValidationError) else ""
            raise DownloadFailed(f"{self.endpoint} does not answer like CivitAI{said}") from error

    def _refusal(self, status: int, name: str) -> DownloadFailed:
        host = host_of(self.endpoint)
        if status in (401, 403):
            return DownloadFailed(
                f"{host} refuses access to the {name} (status {status}): create an API key in your account "
                f"there, and set {token_line(self.endpoint)}"
            )
        if status in (404, 410):
            return DownloadFailed(
                f"{host} has no {name}: it may not be published, or be visible to its owner only"
            )
        if status == 429 or status >= 500:
            return DownloadFailed(f"{host} is temporarily unavailable (status {status}): retry later")
        return DownloadFailed(f"{host} returned status {status}")
