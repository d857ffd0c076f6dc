"""Maps parameters to keys of the diffusers layout, present and former ones."""

from engine_worker.formats.ldm_keys import Stored

# Names that the VAE's attention had before diffusers 0.17; many published folders still use them.
_OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def same_place(name: str) -> tuple[Stored, ...]:
    """Under its own name."""
    return (Stored(name),)


def text_encoder_places(name: str) -> tuple[Stored, ...]:
    """Files written by transformers 5 may lack the prefix that all others have."""
    plain = name.removeprefix("text_model.")
    return (Stored(name), Stored(f"text_model.{plain}"), Stored(plain))


def autoencoder_places(name: str) -> tuple[Stored, ...]:
    """The VAE's parameter, today's name first."""
    old = name
    for word, former in _OLD_ATTENTION.items():
        old = old.replace(f".attentions.0.{word}.", f".attentions.0.{former}.")
    return (Stored(name), Stored(old))
