"""The Hugging Face hub: its client lists the files of a repository at a commit, through our guarded HTTP
client.

The files themselves are downloaded like all others, with the same address policy, limits and resumption; the
client's own downloader would open connections that cannot be checked here.
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

from engine_worker.fetch.net.http_client import HttpClient, ask_site
from engine_worker.fetch.sources.staging import ListedFile, Listing
from kernel.protocol.errors import DownloadFailed
from kernel.protocol.sources import HubSource

_PASSED_ON: Final = frozenset({"accept"})


@dataclass(frozen=True, slots=True)
class Hub:
    """One hub, contacted through the connections of `web`."""

    web: HttpClient
    endpoint: str

    def look(self, source: HubSource) -> Listing:
        """The files of the repository at the commit that its revision names now.

        Raises: DownloadFailed, if it does not exist or is not accessible, or the hub cannot be reached.
        """
        if constants.is_offline_mode():
            raise DownloadFailed("HF_HUB_OFFLINE is set: unset it, or upload the model")
        set_client_factory(lambda: httpx2.Client(transport=_Bridge(self), trust_env=False))
        return ask_site(f"the hub {self.endpoint}", lambda: _listing(self._ask(source)))

    def url(self, source: HubSource, commit: str, name: str) -> str:
        """The URL of a file at that commit."""
        return hf_hub_url(source.repo, name, revision=commit, endpoint=self.endpoint)

    def _ask(self, source: HubSource) -> ModelInfo:
        """Ask for the repository. The client knows no token: our HTTP client adds it for the right host."""
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
    """Sends the client's requests through our HTTP client: same address policy, tokens and timeouts.

    Only requests about models pass: the client would also ask huggingface.co which agents exist, whatever hub
    is configured, and write the answer into the user's home.
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
        answer, body = self._web.read(str(request.url), headers)
        kept = [(name, value) for name, value in answer.headers.items() if name != "transfer-encoding"]
        return httpx2.Response(answer.status, headers=kept, content=body, request=request)


def _listing(info: ModelInfo) -> Listing:
    """Raises: DownloadFailed, if required fields are missing in the hub's answer."""
    if not isinstance(info.sha, str) or not info.sha.isalnum():
        raise DownloadFailed("the hub did not name a commit")
    files = [
        ListedFile(
            name=str(one.rfilename),
            size_bytes=one.size if isinstance(one.size, int) else None,
            sha256=one.lfs.sha256 if one.lfs is not None else None,
        )
        for one in info.siblings or ()
    ]
    return Listing(revision=info.sha, files=tuple(files))
