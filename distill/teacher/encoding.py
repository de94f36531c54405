"""Tokenize prompts and labels with transformers, for models that run in this process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.distill.teacher.labels import TAIL, Labels, tokenize_labels
from curate.distill.teacher.protocol import OnAnswer, Prompt, Question, Refusal
from curate.errors import TeacherError


@dataclass
class Encoder:
    """A tokenizer with its chat template. Caches the tokens of labels, which all questions share."""

    tokenizer: Any
    model: str
    limit: int  # context length of the model, in tokens
    _labels: dict[tuple[str, tuple[str, ...]], Labels] = field(default_factory=dict)

    def prompts(self, questions: Sequence[Question], on_answer: OnAnswer) -> dict[int, list[int]]:
        """Tokenize all prompts that fit into the context; by the question's position. Refuse the others."""
        prompts = {}
        for k, question in enumerate(questions):
            prompt = self.encode(question.prompt)
            size = len(prompt) + (question.sampling.max_tokens if question.sampling else 0)
            if not prompt:
                on_answer(k, Refusal("its prompt has no tokens"))
            elif size > self.limit:
                message = f"{size:,} tokens, those of the reply included, where {self.model} takes {self.limit:,}"
                on_answer(k, Refusal(message))
            else:
                prompts[k] = prompt
        return prompts

    def encode(self, prompt: Prompt) -> list[int]:
        """Tokenize a prompt. Messages are rendered with the model's chat template.

        Errors: TeacherError where the model has no template.
        """
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt)["input_ids"])
        return self._plain(self.render(prompt))

    def render(self, prompt: Sequence[tuple[str, str]]) -> str:
        """Render messages as one text that ends where the reply begins."""
        if self.tokenizer.chat_template is None:
            raise TeacherError(f"teacher: {self.model} has no chat template; name a model that was made for chats")
        messages = [{"role": role, "content": content} for role, content in prompt]
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def labels(self, question: Question) -> Labels:
        """The tokens of a question's labels after the end of its prompt."""
        prompt = question.prompt
        tail = (prompt if isinstance(prompt, str) else self.render(prompt))[-TAIL:]
        key = (tail, question.labels)
        if key not in self._labels:
            self._labels[key] = tokenize_labels(self._plain, tail, question.labels)
        return self._labels[key]

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
