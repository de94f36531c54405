"""Request replies of a required form: validate them and retry malformed ones."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from curate.distill.teacher.protocol import Request, Teacher

T = TypeVar("T")
NEXT_SEED = 1_000_003  # added per attempt; so large that it rarely collides with seeds of other requests
MIN_RETRY_TEMPERATURE = 0.5  # greedy decoding would repeat the malformed reply


def ask_structured(
    teacher: Teacher, requests: Sequence[Request], validate: Callable[[int, str], T], attempts: int = 3
) -> tuple[list[T | None], dict[str, int]]:
    """Parse each reply with `validate`; None where all attempts were malformed.

    `validate` takes the index of the request and the text of the reply. It raises ValueError for a malformed reply,
    which is then requested again with another seed.

    The counts: requests `asked`, of these `refused` by the model and `dropped` after the last attempt; `malformed`
    replies of all attempts.
    """
    values: list[T | None] = [None] * len(requests)
    counts = Counter(asked=len(requests), malformed=0, refused=0, dropped=0)
    pending = list(range(len(requests)))
    for attempt in range(attempts):
        replies = teacher.generate([_retry(requests[k], attempt) for k in pending])
        malformed = []
        for k, reply in zip(pending, replies, strict=True):
            if reply is None:
                counts["refused"] += 1
                continue
            try:
                values[k] = validate(k, reply.text)
            except ValueError:
                malformed.append(k)
        counts["malformed"] += len(malformed)
        pending = malformed
        if not pending:
            break
    counts["dropped"] = len(pending)
    return values, dict(counts)


def _retry(request: Request, attempt: int) -> Request:
    """The request of an attempt, counted from 0."""
    if attempt == 0:
        return request
    sampling = request.sampling
    temperature = max(sampling.temperature, MIN_RETRY_TEMPERATURE)
    return replace(
        request, sampling=replace(sampling, seed=sampling.seed + attempt * NEXT_SEED, temperature=temperature)
    )
