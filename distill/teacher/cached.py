"""A teacher over one of the implementations: asks each question once, keeps every answer, counts and tells."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from curate.distill.teacher.protocol import Answer, Choice, Model, Question, Refusal, Reply, Request, Score
from curate.distill.teacher.request_cache import Cache, key_of
from curate.errors import TeacherError, shortened
from curate.progress import Log, Replies

TITLES = {"generate": "asking the teacher", "score": "scoring texts", "choose": "choosing labels"}
HOPELESS = 100  # refusals without one answer after which no more is asked


@dataclass
class Asking:
    """What a run asks its teacher through."""

    source: Model
    cache: Cache
    log: Log
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The kind of teacher."""
        return self.source.name

    @property
    def model(self) -> str:
        """The model's name."""
        return self.source.model

    @property
    def facts(self) -> Mapping[str, Any]:
        """What identifies the model and its adapters."""
        return self.source.facts

    def generate(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Have each request replied to."""
        asked = [Question("generate", one.prompt, one.adapter, one.sampling) for one in requests]
        return cast("list[Reply | None]", self._ask(asked))

    def score(self, texts: Sequence[str], adapter: str | None = None) -> list[Score | None]:
        """Tell how likely each text is; of an empty one nothing is asked."""
        answers = iter(self._ask([Question("score", text, adapter) for text in texts if text]))
        return cast("list[Score | None]", [next(answers) if text else Score(0.0, 0) for text in texts])

    def choose(self, requests: Sequence[Request], labels: Sequence[str]) -> list[Choice | None]:
        """Tell how likely each label is as the reply to each request, among the labels."""
        asked = [Question("choose", one.prompt, one.adapter, None, tuple(labels)) for one in requests]
        return cast("list[Choice | None]", self._ask(asked))

    def _ask(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Answers from the cache, and from the model what is not there, each question once."""
        if not questions:
            return []
        method = questions[0].method
        keys = [key_of(self.facts, question) for question in questions]
        new = {key: question for key, question in zip(keys, questions, strict=True) if key not in self.cache}
        self.counts["questions"] += len(questions)
        self.counts["from_cache"] += sum(key not in new for key in keys)
        refusals = self._fetch(method, list(new), list(new.values())) if new else []
        if refusals:
            first = shortened(refusals[0].message)
            self.log.say(f"teacher: refused {len(refusals):,} of {len(new):,} questions, the first: {first}")
        return [self.cache.get(key, method) for key in keys]

    def _fetch(self, method: str, keys: list[bytes], questions: list[Question]) -> list[Refusal]:
        """Ask the model and keep what it answers; return what it refused.

        Errors: TeacherError where it refuses everything.
        """
        refusals: list[Refusal] = []
        progress = Replies(self.log, TITLES[method], len(questions))

        def arrived(position: int, answer: Answer | Refusal) -> None:
            if isinstance(answer, Refusal):
                refusals.append(answer)
                self.counts["refused"] += 1
                if len(refusals) == progress.done + 1 and len(refusals) >= min(HOPELESS, len(questions)):
                    raise TeacherError(f"teacher: {self.model} refuses every question: {shortened(answer.message)}")
            else:
                self.cache.put(keys[position], method, answer)
                self.counts["answered"] += 1
            tokens = answer.n_tokens if isinstance(answer, Reply | Score) else 0
            if isinstance(answer, Reply):
                self.counts.update(prompt_tokens=answer.n_prompt_tokens, tokens=answer.n_tokens)
            progress.add(tokens)

        progress.show()
        try:
            self.source.answer(questions, arrived)
        finally:
            progress.end()
            self.log.event("asked", method=method, answered=progress.done - len(refusals), refused=len(refusals))
        return refusals
