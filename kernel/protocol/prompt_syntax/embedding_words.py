"""Where the words of embeddings stand in a prompt (textual inversion)."""

import re
from collections.abc import Iterator, Sequence


class EmbeddingWords:
    """Names, each of which stands for something at an index. Case does not matter."""

    def __init__(self, names: Sequence[tuple[str, int]]) -> None:
        """Several names may have one index; blank ones are no names."""
        # The longest name first, so that no name hides a longer one that begins with it.
        self._names = sorted((one for one in names if one[0].strip()), key=lambda one: -len(one[0]))
        self._pattern = re.compile("|".join(f"({_pattern(name)})" for name, _ in self._names), re.IGNORECASE)

    def split(self, text: str) -> Iterator[tuple[int, int, int | None]]:
        """The begin and end of each part of a text: plain ones (None), and words with their index."""
        end = 0
        for found in self._pattern.finditer(text) if self._names else ():
            yield end, found.start(), None
            yield found.start(), found.end(), self._names[(found.lastindex or 1) - 1][1]
            end = found.end()
        yield end, len(text), None


def _pattern(name: str) -> str:
    """Matches the name where it stands alone, not as a part of a longer word.

    Spaces beside punctuation do not matter, as they do not to CLIP's tokenizer; compel inserts some.
    """
    words = (r"\s*".join(map(re.escape, re.findall(r"\w+|[^\w\s]+", word))) for word in name.split())
    before = r"(?<!\w)" if re.match(r"\s*\w", name) else ""
    after = r"(?!\w)" if re.search(r"\w\s*$", name) else ""
    return before + r"\s+".join(words) + after
