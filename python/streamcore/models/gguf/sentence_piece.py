"""Makes merges of the scores of a SentencePiece vocabulary, as the tokenizers of Hugging Face do.

SentencePiece merges the two neighbours that make the token of the highest score. A list of merges
says the same, but for the order of equals: of the ways to make a token, that with the longer first
half comes first.
"""

from streamcore.models.gguf.vocabulary import NORMAL, USER_DEFINED, Vocabulary

SPACE = "▁"


def pieces(vocabulary: Vocabulary) -> dict[str, int]:
    """The tokens with their ids; files have spaces in tokens that were added, where a tokenizer has
    its own sign for them.
    """
    return {
        token.replace(" ", SPACE) if vocabulary.kinds[index] == USER_DEFINED else token: index
        for token, index in vocabulary.used.items()
    }


def merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Pairs of tokens, those first that are merged first."""
    known = pieces(vocabulary)
    ranked: list[tuple[float, int, int, str, str]] = []
    for token, index in known.items():
        kind = vocabulary.kinds[index]
        if kind not in (NORMAL, USER_DEFINED):
            continue
        # Tokens that were added are found before any other.
        score = vocabulary.scores[index] if kind == NORMAL else 0.0
        for middle in range(1, len(token)):
            first, second = token[:middle], token[middle:]
            if first in known and second in known:
                ranked.append((score, len(first), len(second), first, second))
    ranked.sort(key=lambda pair: pair[:3], reverse=True)
    return [(first, second) for *_, first, second in ranked]
