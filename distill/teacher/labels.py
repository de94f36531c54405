"""Labels as tokens: what a model would write after a prompt if it wrote a label."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from curate.errors import RecipeError

TAIL = 32  # characters of a prompt's end, which decide how a label after it falls into tokens


@dataclass(frozen=True)
class Labels:
    """Labels as tokens behind a prompt without its last `cut` tokens, as these melt into a label's first."""

    cut: int
    tokens: Mapping[str, tuple[int, ...]]

    def behind(self, prompt: Sequence[int]) -> list[list[int]]:
        """The prompt's tokens with each label's."""
        return [[*prompt[: len(prompt) - self.cut], *tokens] for tokens in self.tokens.values()]

    def lengths(self) -> list[int]:
        """Tokens of each label."""
        return [len(tokens) for tokens in self.tokens.values()]

    def n_inputs(self) -> int:
        """Different inputs that a model is given for them: a label's last token is not read, only told of."""
        return len({tokens[:-1] for tokens in self.tokens.values()})

    def single(self) -> list[int]:
        """The labels' tokens where each label is one behind the whole prompt; empty otherwise."""
        return [] if self.cut or max(self.lengths()) > 1 else [tokens[0] for tokens in self.tokens.values()]

    def choice(self, logs: Sequence[float]) -> dict[str, float]:
        """Logarithms of the labels' probabilities, from those of the model, so that the probabilities sum to 1."""
        top = max(logs)
        total = top + math.log(math.fsum(math.exp(log - top) for log in logs))
        return {label: log - total for label, log in zip(self.tokens, logs, strict=True)}


def labels_behind(encode: Callable[[str], Sequence[int]], tail: str, labels: Sequence[str]) -> Labels:
    """Labels behind a prompt that ends with `tail`.

    `encode` makes tokens of a text without adding any. Behind "Answer: " the label "yes" has no tokens of its own, as
    " yes" is one: then the space is taken from the prompt, and counts with each label.

    Errors: RecipeError where two labels are the same, or one begins with another, so that the two cannot be told apart.
    """
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(labels):
        raise RecipeError(f"labels: {', '.join(map(repr, labels))}: give at least two, all different and none empty")
    before = list(encode(tail))
    whole = {label: tuple(encode(tail + label)) for label in labels}
    common = min(_shared(before, tokens) for tokens in whole.values())
    tokens = {label: found[common:] for label, found in whole.items()}
    for one in labels:
        for other in labels:
            if one != other and tokens[other][: len(tokens[one])] == tokens[one]:
                raise RecipeError(f"labels: {other!r} begins with {one!r}, and none can tell them apart; rename one")
    return Labels(len(before) - common, tokens)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
