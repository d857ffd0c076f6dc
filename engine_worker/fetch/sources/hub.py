"""The Hugging Face hub: its client says what a repository holds at which commit, through our own door.

The files themselves are downloaded like all others, so that one guard, one limit and one way to resume hold
for them too; the client's own downloader would open connections that nobody here can look at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url, set_client_factory
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo

from engine_worker.fetch.net.address_policy import Unreachable
from engine_worker.fetch.net.http_client import HttpClient, Interrupted
from engine_worker.fetch.sources.staging import HubFile, Repository
from kernel.protocol.errors import DownloadFailed
from kernel.protocol.sources import HubSource

MAX_ANSWER_BYTES: Final = 16 << 20
MAX_ATTEMPTS: Final = 3
_PASSED_ON: Final = frozenset({"accept"})


@dataclass(frozen=True, slots=True)
class Hub:
    """One hub, asked with the connections of `web`."""

    web: HttpClient
    endpoint: str

    def look(self, source: HubSource) -> Repository:
        """What the repository holds at the commit that its revision names now.

        Raises: DownloadFailed, if it is not there, not for us, or the hub cannot be reached.
        """
        if constants.is_offline_mode():
            raise DownloadFailed("HF_HUB_OFFLINE is set: unset it, or upload the model")
        set_client_factory(lambda: httpx2.Client(transport=_Bridge(self), trust_env=False))
        failure: Exception | None = None
        for _ in range(MAX_ATTEMPTS):
            try:
                return _repository(self._ask(source))
            except Interrupted as error:
                failure = error
            except Unreachable as error:
                raise DownloadFailed(
                    f"cannot find the hub {self.endpoint}: this server seems to be offline; local files and "
                    "uploads work without it"
                ) from error
        raise DownloadFailed(
            f"cannot reach the hub {self.endpoint} ({failure}): this server seems to be offline; local files "
            "and uploads work without it"
        )

    def url(self, source: HubSource, commit: str, name: str) -> str:
        """Where a file of that commit is."""
        return hf_hub_url(source.repo, name, revision=commit, endpoint=self.endpoint)

    def _ask(self, source: HubSource) -> ModelInfo:
        """The client knows no token: whoever sends the request adds it, if the host is the right one."""
        try:
            api = HfApi(endpoint=self.endpoint, token=False)
            return api.model_info(source.repo, revision=source.revision, files_metadata=True, token=False)
        except RevisionNotFoundError as error:
            raise DownloadFailed(f"the repository {source.repo} has no revision {source.revision}") from error
        except GatedRepoError as error:
            raise DownloadFailed(
                f"the repository {source.repo} is gated: accept its terms on the hub, and set a token in "
                "models.tokens"
            ) from error
        except RepositoryNotFoundError as error:
            raise DownloadFailed(
                f"the hub has no repository {source.repo}, or it is private and needs a token (models.tokens)"
            ) from error
        except HfHubHTTPError as error:
            raise DownloadFailed(f"the hub returned status {error.response.status_code}") from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise DownloadFailed(f"{self.endpoint} does not respond like a Hugging Face hub") from error


class _Bridge(httpx2.BaseTransport):
    """Sends the client's requests through our door: the same guard, tokens and patience as for everything.

    Nothing but questions about models leaves: the client would also like to know of huggingface.co which
    agents there are, whatever hub it is to ask, and to write that into the user's home.
    """

    def __init__(self, hub: Hub) -> None:
        self._web = hub.web
        self._allowed = f"{hub.endpoint}/api/models/"

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises: Interrupted; DownloadFailed."""
        if request.method != "GET":
            raise DownloadFailed(f"the hub client tried to {request.method}, which is not allowed")
        if not str(request.url).startswith(self._allowed):
            raise DownloadFailed(f"the hub client tried to reach {request.url}, which is not allowed")
        headers: Mapping[str, str] = {
            name: value for name, value in request.headers.items() if name.lower() in _PASSED_ON
        }
        body = bytearray()
        with self._web.get(str(request.url), headers) as answer:
            for chunk in answer.chunks:
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise DownloadFailed(f"the hub returned more than {MAX_ANSWER_BYTES} bytes")
        kept = [(name, value) for name, value in answer.headers.items() if name != "transfer-encoding"]
        return httpx2.Response(answer.status, headers=kept, content=bytes(body), request=request)


def _repository(info: ModelInfo) -> Repository:
    """Raises: DownloadFailed, if the hub leaves out what must be known."""
    if not isinstance(info.sha, str) or not info.sha.isalnum():
        raise DownloadFailed("the hub did not name a commit")
    files = [
        HubFile(
            name=str(one.rfilename),
            size_bytes=one.size if isinstance(one.size, int) else None,
            sha256=one.lfs.sha256 if one.lfs is not None else None,
        )
        for one in info.siblings or ()
    ]
    return Repository(commit=info.sha, files=tuple(files))
