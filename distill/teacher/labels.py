"""Tokenize labels as a model would generate them after a prompt."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from curate.errors import RecipeError

TAIL = 32  # characters at the end of a prompt that may affect how a label after it is tokenized


@dataclass(frozen=True)
class Labels:
    """The tokens of labels that follow a prompt without its last `cut` tokens, which merge into the labels' first."""

    cut: int
    tokens: Mapping[str, tuple[int, ...]]

    def appended_to(self, prompt: Sequence[int]) -> list[list[int]]:
        """The tokens of the prompt with each label appended."""
        return [[*prompt[: len(prompt) - self.cut], *tokens] for tokens in self.tokens.values()]

    def lengths(self) -> list[int]:
        """The number of tokens of each label."""
        return [len(tokens) for tokens in self.tokens.values()]

    def n_inputs(self) -> int:
        """The number of distinct inputs that score the labels. The last token of a label is no input."""
        return len({tokens[:-1] for tokens in self.tokens.values()})

    def single_tokens(self) -> list[int]:
        """The tokens of the labels if each is a single token after the whole prompt; else empty."""
        return [] if self.cut or max(self.lengths()) > 1 else [tokens[0] for tokens in self.tokens.values()]

    def choice(self, logs: Sequence[float]) -> dict[str, float]:
        """Normalize the labels' log-probabilities, so that the probabilities sum to 1."""
        top = max(logs)
        total = top + math.log(math.fsum(math.exp(log - top) for log in logs))
        return {label: log - total for label, log in zip(self.tokens, logs, strict=True)}


def tokenize_labels(encode: Callable[[str], Sequence[int]], tail: str, labels: Sequence[str]) -> Labels:
    """Tokenize labels after a prompt that ends with `tail`.

    `encode` tokenizes a text without special tokens. After "Answer: " the label "yes" is not a token, as " yes" is one:
    the space then belongs to each label instead of the prompt.

    Errors: RecipeError where labels are equal, or the tokens of one begin with those of another.
    """
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels):
        raise RecipeError(f"labels: {', '.join(map(repr, labels))}: give at least two, all different and none empty")
    tail_tokens = list(encode(tail))
    full_tokens = {label: tuple(encode(tail + label)) for label in labels}
    common = min(_common_prefix(tail_tokens, tokens) for tokens in full_tokens.values())
    tokens = {label: label_tokens[common:] for label, label_tokens in full_tokens.items()}
    for label in labels:
        for other in labels:
            if label != other and tokens[other][: len(tokens[label])] == tokens[label]:
                raise RecipeError(f"labels: {other!r} begins with {label!r}, and none can tell them apart; rename one")
    return Labels(len(tail_tokens) - common, tokens)


def _common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of the common prefix of two sequences."""
    return next(
        (k for k, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
