"""Prompts and labels as tokens, by a tokenizer of transformers: for the teachers that run in this process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.distill.teacher.labels import TAIL, Labels, labels_behind
from curate.distill.teacher.protocol import Arrived, Prompt, Question, Refusal
from curate.errors import TeacherError


@dataclass
class Encoder:
    """A tokenizer with its chat template. The tokens of labels are kept, as all questions share them."""

    tokenizer: Any
    model: str
    limit: int  # tokens of prompt and reply that the model takes
    _labels: dict[tuple[str, tuple[str, ...]], Labels] = field(default_factory=dict)

    def prompts(self, questions: Sequence[Question], arrived: Arrived) -> dict[int, list[int]]:
        """The tokens of every prompt that fits, by the question's position; the others are refused."""
        found = {}
        for k, question in enumerate(questions):
            prompt = self.encode(question.prompt)
            size = len(prompt) + (question.sampling.max_tokens if question.sampling else 0)
            if not prompt:
                arrived(k, Refusal("its prompt has no tokens"))
            elif size > self.limit:
                told = f"{size:,} tokens, those of the reply included, where {self.model} takes {self.limit:,}"
                arrived(k, Refusal(told))
            else:
                found[k] = prompt
        return found

    def encode(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt, with the model's chat template around messages.

        Errors: TeacherError where the model has no template.
        """
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt)["input_ids"])
        return self._plain(self.rendered(prompt))

    def rendered(self, prompt: Sequence[tuple[str, str]]) -> str:
        """Messages as one text, up to where the reply begins."""
        if self.tokenizer.chat_template is None:
            raise TeacherError(f"teacher: {self.model} has no chat template; name a model that was made for chats")
        messages = [{"role": role, "content": content} for role, content in prompt]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def labels(self, question: Question) -> Labels:
        """A question's labels behind the end of its prompt."""
        prompt = question.prompt
        tail = (prompt if isinstance(prompt, str) else self.rendered(prompt))[-TAIL:]
        key = (tail, question.labels)
        if key not in self._labels:
            self._labels[key] = labels_behind(self._plain, tail, question.labels)
        return self._labels[key]

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
