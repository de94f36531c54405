"""A teacher with a request cache: it asks its model each question once, and counts and reports."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from curate.distill.teacher.protocol import Answer, Choice, Model, ModelFacts, Question, Refusal, Reply, Request, Score
from curate.distill.teacher.request_cache import Cache, key_of
from curate.errors import TeacherError, shortened
from curate.progress import Log, Replies

TITLES = {"generate": "asking the teacher", "score": "scoring texts", "choose": "choosing labels"}
MAX_REFUSALS = 100  # without a single answer; then the teacher gives up


@dataclass
class CachedTeacher:
    """The `Teacher` of a run: a model behind the request cache."""

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
    def facts(self) -> ModelFacts:
        """What identifies the model and its adapters."""
        return self.source.facts

    def generate(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Generate a reply to each request."""
        questions = [Question("generate", request.prompt, request.adapter, request.sampling) for request in requests]
        return cast("list[Reply | None]", self._ask(questions))

    def score(self, texts: Sequence[str], adapter: str | None = None) -> list[Score | None]:
        """Compute the log-probability of each text. Empty texts are not sent."""
        answers = iter(self._ask([Question("score", text, adapter) for text in texts if text]))
        return cast("list[Score | None]", [next(answers) if text else Score(0.0, 0) for text in texts])

    def choose(self, requests: Sequence[Request], labels: Sequence[str]) -> list[Choice | None]:
        """Compute the probability of each label as the reply to each request, normalized over the labels."""
        questions = [Question("choose", request.prompt, request.adapter, None, tuple(labels)) for request in requests]
        return cast("list[Choice | None]", self._ask(questions))

    def _ask(self, questions: Sequence[Question]) -> list[Answer | None]:
        """Answer from the cache. Ask the model the questions that are not cached, each once."""
        if not questions:
            return []
        method = questions[0].method
        keys = [key_of(self.facts, question) for question in questions]
        uncached = {key: question for key, question in zip(keys, questions, strict=True) if key not in self.cache}
        self.counts["questions"] += len(questions)
        self.counts["from_cache"] += sum(key not in uncached for key in keys)
        refusals = self._fetch(method, list(uncached), list(uncached.values())) if uncached else []
        if refusals:
            message = shortened(refusals[0].message)
            self.log.say(f"teacher: refused {len(refusals):,} of {len(uncached):,} questions, the first: {message}")
        return [self.cache.get(key, method) for key in keys]

    def _fetch(self, method: str, keys: list[bytes], questions: list[Question]) -> list[Refusal]:
        """Ask the model, cache its answers, and return its refusals.

        Errors: TeacherError where it refuses every question.
        """
        refusals: list[Refusal] = []
        progress = Replies(self.log, TITLES[method], len(questions))

        def on_answer(position: int, answer: Answer | Refusal) -> None:
            if isinstance(answer, Refusal):
                refusals.append(answer)
                self.counts["refused"] += 1
                if len(refusals) == progress.done + 1 and len(refusals) >= min(MAX_REFUSALS, len(questions)):
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
            self.source.answer(questions, on_answer)
        finally:
            progress.end()
            self.log.event("asked", method=method, answered=progress.done - len(refusals), refused=len(refusals))
        return refusals
