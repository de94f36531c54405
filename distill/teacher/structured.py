"""Replies with a form: checked, asked for again where they do not have it, and given up in the end."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from curate.distill.teacher.protocol import Request, Teacher

T = TypeVar("T")
NEXT_SEED = 1_000_003  # between attempts, so that they seldom meet the seeds of other requests
LEAST_TEMPERATURE = 0.5  # of a new attempt: the likeliest reply would be the same again


def ask_structured(
    teacher: Teacher, requests: Sequence[Request], validate: Callable[[int, str], T], attempts: int = 3
) -> tuple[list[T | None], dict[str, int]]:
    """What `validate` makes of each reply; None where no attempt gave one that it accepts.

    `validate` is given the number of the request and the reply's text. It raises ValueError for a malformed one, which
    is then asked for with another seed.

    The counts: requests `asked`, of these `refused` by the model and `dropped` as malformed to the last; `malformed`
    replies in all.
    """
    values: list[T | None] = [None] * len(requests)
    counts = Counter(asked=len(requests), malformed=0, refused=0, dropped=0)
    open_ones = list(range(len(requests)))
    for attempt in range(attempts):
        replies = teacher.generate([_again(requests[k], attempt) for k in open_ones])
        malformed = []
        for k, reply in zip(open_ones, replies, strict=True):
            if reply is None:
                counts["refused"] += 1
                continue
            try:
                values[k] = validate(k, reply.text)
            except ValueError:
                malformed.append(k)
        counts["malformed"] += len(malformed)
        open_ones = malformed
        if not open_ones:
            break
    counts["dropped"] = len(open_ones)
    return values, dict(counts)


def _again(request: Request, attempt: int) -> Request:
    """A request as it is put the first time, the second and so on."""
    if attempt == 0:
        return request
    drawn = request.sampling
    warmer = max(drawn.temperature, LEAST_TEMPERATURE)
    return replace(request, sampling=replace(drawn, seed=drawn.seed + attempt * NEXT_SEED, temperature=warmer))
