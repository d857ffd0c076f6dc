"""Reads requests for images, and makes jobs of them with the options of their caller."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

import falcon

from api.http.compat.a1111.controlnet import Units
from api.http.compat.a1111.options import OptionStore, Settings
from api.http.compat.a1111.reading import LenientReader, strange_parameters
from api.http.compat.a1111.requests import ImageToImage, TextToImage
from api.http.compat.a1111.tasks import Client, client_of
from api.http.compat.a1111.translation import Translation
from api.http.contract.caller import caller_of
from api.http.resources.job_reader import JobReader, JobSubmission

Asked = TypeVar("Asked", TextToImage, ImageToImage)


@dataclass(slots=True)
class Request(Generic[Asked]):
    """What a request asks for, and what is to be told of it."""

    caller: Client
    asked: Asked
    submission: JobSubmission
    warnings: list[str] = field(default_factory=list)
    units: Units = field(default_factory=Units)


class GenerationRequests(Generic[Asked]):
    """Requests of one route."""

    def __init__(
        self,
        kind: type[Asked],
        body: JobReader,
        translation: Translation,
        settings: Settings,
        store: OptionStore,
        max_body_bytes: int,
    ) -> None:
        self._reader: LenientReader[Asked] = LenientReader(kind, max_body_bytes)
        self._body = body
        self._translation = translation
        self._settings = settings
        self._store = store

    def read(self, req: falcon.Request) -> Request[Asked]:
        """The job of a request.

        Raises: as LenientReader, Settings, Translation and JobReader, with the names of our fields from the
        latter.
        """
        asked, told = self._reader.read(req)
        told += strange_parameters(req)
        caller = client_of(req)
        own = self._store.load(caller.key)
        options = self._settings.changed(own, asked.override_settings, "override_settings.", told)
        if not asked.override_settings_restore_afterwards and options != own:
            self._store.save(caller.key, options)
        chosen = self._settings.chosen(options)
        units = Units()
        fields, files = self._translation.fields(asked, chosen, units, told)
        said = {**self._settings.fields(options, chosen), **fields}
        return Request(
            caller, asked, self._body.of_fields(said, files, caller_of(req), strict=True), told, units
        )
