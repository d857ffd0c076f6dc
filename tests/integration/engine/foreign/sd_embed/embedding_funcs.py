"""A stand-in for the sd_embed package, with its two functions and its habits.

It reads `(word:1.5)` and nothing else. As the real one does, it looks at the encoder's layers, takes an empty
prompt for the word "empty", weighs in half precision, writes into what the encoder gave, and pads the
shorter prompt and every last chunk with ends.
"""

import re
from collections.abc import Callable, Iterator
from itertools import zip_longest
from types import SimpleNamespace

import torch
from torch import Tensor

START, END = 49406, 49407


def get_weighted_text_embeddings_sd15(
    pipe: SimpleNamespace,
    prompt: str = "",
    neg_prompt: str = "",
    pad_last_block: bool = False,
    clip_skip: int = 0,
) -> tuple[Tensor, Tensor]:
    layers = pipe.text_encoder.text_model.encoder.layers
    if clip_skip > 0:
        pipe.text_encoder.text_model.encoder.layers = layers[:-clip_skip]
    made, negative, _, _ = embed(pipe, prompt, neg_prompt, pad_last_block, lambda *outputs: outputs[0][0])
    return made, negative


def get_weighted_text_embeddings_sdxl(
    pipe: SimpleNamespace, prompt: str = "", neg_prompt: str = "", pad_last_block: bool = True
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def take(*outputs: SimpleNamespace) -> Tensor:
        return torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)

    return embed(pipe, prompt, neg_prompt, pad_last_block, take)


def embed(
    pipe: SimpleNamespace, prompt: str, neg_prompt: str, is_padded: bool, take: Callable[..., Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    spelled = [list(spell(pipe.tokenizer, text or "empty")) for text in (prompt, neg_prompt)]
    pairs = list(zip_longest(*spelled, fillvalue=(END, 1.0)))
    made = [encode(pipe, list(tokens), is_padded, take) for tokens in zip(*pairs, strict=True)]
    return made[0][0], made[1][0], made[0][1], made[1][1]


def spell(tokenizer: Callable[..., SimpleNamespace], text: str) -> Iterator[tuple[int, float]]:
    for weighted, weight, plain in re.findall(r"\((.*?):([0-9.]+)\)|([^(]+)", text):
        for token in tokenizer(weighted or plain, truncation=False).input_ids[1:-1]:
            yield token, float(weight or 1)


def encode(
    pipe: SimpleNamespace, spelled: list[tuple[int, float]], is_padded: bool, take: Callable[..., Tensor]
) -> tuple[Tensor, Tensor]:
    rows = []
    for begin in range(0, len(spelled), 75):
        chunk = spelled[begin : begin + 75]
        chunk += [(END, 1.0)] * (75 - len(chunk) if is_padded else 0)
        tokens = torch.tensor([[START, *[token for token, _ in chunk], END]], device=pipe.device)
        weights = torch.tensor([1.0, *[weight for _, weight in chunk], 1.0], dtype=torch.float16)
        outputs = [
            encoder(tokens, output_hidden_states=True) for encoder in (pipe.text_encoder, pipe.text_encoder_2)
        ]
        row = take(*outputs).squeeze(0)
        for position, weight in enumerate(weights):
            row[position] = row[position] * weight
        rows.append(row.unsqueeze(0))
    return torch.cat(rows, dim=1), outputs[-1][0]
