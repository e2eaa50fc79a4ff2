"""Text as search compares it: folded, without accents, cut into words of letters and digits.

Every database gets the same words, so that its own ideas of what a word is do not count.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

_LONGEST_WORD = 64
# PostgreSQL keeps at most 1 MiB of words for a row, of up to 4 bytes a letter.
_MOST_LETTERS = 100_000
# Scripts without spaces between words: each character is a word.
_UNSPACED = re.compile("([\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
_LONGEST_TERM = 200


def words(text: str) -> list[str]:
    """Return the words of a text, in order.

    >>> words("Thy1-eGFP, Müller's CORTEX")
    ['thy1', 'egfp', 'muller', 's', 'cortex']
    >>> words("小鼠 brain")
    ['小', '鼠', 'brain']
    """
    return list(_split(text))


def term(text: str) -> str:
    """Return a value as it is compared with others: its words, one space between.

    >>> term(" CC-BY-4.0 ") == term("cc by 4.0")
    True
    """
    return " ".join(words(text))[:_LONGEST_TERM]


def gathered(texts: Iterable[str]) -> str:
    """Return the different words of many texts, sorted; of very long ones the first that fit."""
    kept: set[str] = set()
    letters = 0
    for text in texts:
        for word in _split(text[: _MOST_LETTERS - letters]):
            if word not in kept:
                kept.add(word)
                letters += len(word) + 1
            if letters >= _MOST_LETTERS:
                return " ".join(sorted(kept))
    return " ".join(sorted(kept))


def _split(text: str) -> Iterator[str]:
    folded = unicodedata.normalize("NFKD", text.casefold())
    spaced = _UNSPACED.sub(r" \1 ", folded)
    kept = "".join(c if c.isalnum() else "" if unicodedata.combining(c) else " " for c in spaced)
    return (word[:_LONGEST_WORD] for word in kept.split())
