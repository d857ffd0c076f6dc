"""The options of A1111's clients, as each caller has set them: they are never global.

A1111 has one set for everybody, so that one client's choice of a checkpoint changes the images of another.
Here a caller has its own, and what a request says in `override_settings` counts for that request.
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from api.http.compat.a1111.answers import Options
from api.http.compat.a1111.models import Chosen, ModelLists, short_hash
from api.http.compat.a1111.reading import told_of
from api.http.contract.validation_errors import ValidationErrors
from kernel.protocol.enums import ImageFileType, ModelType
from kernel.protocol.error_texts import in_words
from kernel.protocol.errors import InvalidField, ModelMissing, wrong_field
from kernel.protocol.model_refs import OWN_VAE
from kernel.protocol.type_info import analyzed

FILE_TYPES: Final[Mapping[str, ImageFileType]] = {
    "png": ImageFileType.PNG,
    "jpg": ImageFileType.JPEG,
    "jpeg": ImageFileType.JPEG,
    "webp": ImageFileType.WEBP,
}
AUTOMATIC_VAE: Final = ("automatic", "none", "")
_DERIVED: Final = frozenset({"sd_checkpoint_hash"})
_LISTS_TAKEN: Final = "forge_additional_modules"


class OptionStore(Protocol):
    """Keeps the options of each caller."""

    def load(self, caller: str) -> Options: ...

    def save(self, caller: str, options: Options) -> None: ...


class Settings:
    """What a request is to be made with: the caller's options, and on top of them its own."""

    def __init__(self, models: ModelLists) -> None:
        self._models = models

    def changed(
        self, options: Options, said: Mapping[str, object], field: str, warnings: list[str]
    ) -> Options:
        """Options with what a client says on top; `field` names it in errors.

        Raises: InvalidField; ModelMissing, if a checkpoint or VAE is unknown.
        """
        known = {one.encode_name: one for one in msgspec.structs.fields(Options)}
        faults = ValidationErrors()
        found: dict[str, object] = {}
        for name, value in said.items():
            if value is None or name in _DERIVED:
                continue
            if name == _LISTS_TAKEN:
                found |= self._modules(value, warnings)
            elif name not in known:
                warnings.append(told_of(f"{field}{name}"))
            else:
                try:
                    found[known[name].name] = msgspec.convert(value, analyzed(known[name].type), strict=False)
                except msgspec.ValidationError as error:
                    faults.wrong(f"{field}{name}", in_words(str(error))[1])
        faults.raise_if_any()
        return self._checked(msgspec.structs.replace(options, **found), options, field)

    def _checked(self, found: Options, before: Options, field: str) -> Options:
        if found.samples_format.lower() not in FILE_TYPES:
            raise wrong_field(f"{field}samples_format", f"must be one of {', '.join(FILE_TYPES)}")
        if not 1 <= found.clip_stop_at_last_layers <= 12:
            raise wrong_field(f"{field}CLIP_stop_at_last_layers", "must be between 1 and 12")
        if found.sd_model_checkpoint not in (before.sd_model_checkpoint, ""):
            self._models.chosen(f"{field}sd_model_checkpoint", found.sd_model_checkpoint)
        if found.sd_vae != before.sd_vae and found.sd_vae.lower() not in AUTOMATIC_VAE:
            self._models.find(f"{field}sd_vae", found.sd_vae, ModelType.VAE)
        return found

    def _modules(self, value: object, warnings: list[str]) -> dict[str, object]:
        """Forge names the VAE in a list, with text encoders that the checkpoints here have inside."""
        names = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
        if len(names) > 1:
            warnings.append(f"{_LISTS_TAKEN}: only the first is used, as the VAE")
        return {"sd_vae": names[0].replace("\\", "/").rpartition("/")[2]} if names else {}

    def chosen(self, options: Options) -> Chosen | None:
        """The checkpoint of a caller. Raises: ModelMissing, if it is gone."""
        if options.sd_model_checkpoint:
            return self._models.chosen("sd_model_checkpoint", options.sd_model_checkpoint)
        return self._models.default()

    def shown(self, options: Options) -> Options:
        """Options as clients read them: with the checkpoint that counts if they named none."""
        chosen = self.chosen_or_none(options)
        if chosen is None:
            return options
        return msgspec.structs.replace(
            options, sd_model_checkpoint=chosen.title, sd_checkpoint_hash=short_hash(chosen.checkpoint) or ""
        )

    def chosen_or_none(self, options: Options) -> Chosen | None:
        """The checkpoint of a caller; None, if it has none, or it is gone."""
        try:
            return self.chosen(options)
        except (ModelMissing, InvalidField):
            return None

    def fields(self, options: Options, chosen: Chosen | None) -> dict[str, object]:
        """The fields of a job that options decide."""
        file_type = FILE_TYPES[options.samples_format.lower()]
        found: dict[str, object] = {} if chosen is None else chosen.fields
        if options.clip_stop_at_last_layers > 1:
            found["clip_skip"] = options.clip_stop_at_last_layers
        vae = options.sd_vae.lower()
        if vae == "none":
            found["vae"] = OWN_VAE
        elif vae not in AUTOMATIC_VAE:
            found["vae"] = self._models.find("sd_vae", options.sd_vae, ModelType.VAE).model_id
        quality = {} if file_type is ImageFileType.PNG else {"quality": options.jpeg_quality}
        return {**found, "image_file_type": file_type, **quality}
