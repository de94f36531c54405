"""Language models on the GPUs of a Ray cluster: an actor holds one of them, and questions are shared out in lots.

The lots do not depend on how many actors there are, nor do the answers then.
"""

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.distill.teacher.open import open_model
from curate.distill.teacher.protocol import Answer, Arrived, Model, Question, Refusal
from curate.engine.base import TICK_SECONDS, answer, result_of, settle
from curate.errors import CurateError, TeacherError
from curate.progress import Log, unwritten_log
from curate.recipe.teacher import Teacher as Section

LOT = 256  # questions that go to an actor together; what is answered is kept after each such lot
GRACE_SECONDS = 30.0
Answers = list[tuple[int, Answer | Refusal]]


def gpus_of(section: Section) -> int:
    """GPUs that one model of a teacher takes; 0 where none is run here, or none on a GPU."""
    if section.vllm_engine:
        return section.vllm_engine.tensor_parallel
    return int(section.transformers is not None and not (section.transformers.device or "").startswith("cpu"))


class Holder:
    """What an actor is made of: a model, which is loaded when it is first asked for."""

    def __init__(self, folder: str, section: Section, scratch: Path) -> None:
        settle(folder)
        self.section, self.scratch = section, scratch
        self.opened = ExitStack()
        self.model: Model | None = None

    def facts(self) -> tuple[str, Any]:
        """The model's name, its kind and its facts, as a worker answers."""
        return answer(self._facts, None)

    def answer(self, questions: Sequence[Question]) -> tuple[str, Any]:
        """The answers to a lot, with the position of each, as a worker answers."""
        return answer(self._answers, questions)

    def close(self) -> None:
        """End what the model has started."""
        self.opened.close()

    def _facts(self, _: object) -> tuple[str, str, Mapping[str, Any]]:
        opened = open_model(self.section, self.scratch, unwritten_log(True))
        self.model = self.opened.enter_context(opened)
        return self.model.name, self.model.model, dict(self.model.facts)

    def _answers(self, questions: Sequence[Question]) -> Answers:
        assert self.model is not None
        found: Answers = []
        self.model.answer(questions, lambda position, one: found.append((position, one)))
        return found


@dataclass
class Shared:
    """The implementation: a model in each of some actors, of which those that die are given up."""

    name: str
    model: str
    facts: Mapping[str, Any]
    actors: list[Any]  # that have told the facts
    loading: dict[Any, Any]  # actors by what they will tell; those whose GPU another takes wait for it

    def answer(self, questions: Sequence[Question], arrived: Arrived) -> None:
        """Answer lot by lot, each by the next actor that is free.

        Errors: TeacherError where all actors have died; those of the model.
        """
        import ray

        order = sorted(range(len(questions)), key=lambda k: (questions[k].adapter or "", k))
        waiting = deque(order[start : start + LOT] for start in range(0, len(order), LOT))
        free = list(self.actors)
        under_way: dict[Any, tuple[Any, list[int]]] = {}
        while waiting or under_way:
            while free and waiting:
                actor, lot = free.pop(), waiting.popleft()
                under_way[actor.answer.remote([questions[k] for k in lot])] = actor, lot
            done, _ = ray.wait([*under_way, *self.loading], timeout=TICK_SECONDS)
            for one in done:
                if one in self.loading:
                    free += self._loaded(one)
                    continue
                actor, lot = under_way.pop(one)
                found = _told(one)
                if found is None:
                    self.actors.remove(actor)
                    waiting.appendleft(lot)
                    continue
                for k, told in found:
                    arrived(lot[k], told)
                free.append(actor)
            if not (self.actors or self.loading):
                raise TeacherError(
                    "teacher: the processes that held the model on the cluster's GPUs have died, maybe for want of "
                    "memory; what was answered is kept: run the same command to go on"
                )

    def _loaded(self, one: Any) -> list[Any]:  # noqa: ANN401 - Ray's
        """An actor that has come to hold its model, if it has.

        Errors: TeacherError where it holds another model; those of loading it.
        """
        actor = self.loading.pop(one)
        told = _told(one)
        if told is None:
            return []
        if told != (self.name, self.model, self.facts):
            raise TeacherError(f"teacher: a node of the cluster has another {self.model} than the first; copy the same")
        self.actors.append(actor)
        return [actor]


def _told(one: Any) -> Any:  # noqa: ANN401 - Ray's, and what the actor's method returns
    """What an actor tells; None where it died.

    Errors: those of its model.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        found: Any = result_of("teacher", *ray.get(one))
    except RayTaskError:  # our own code
        raise
    except RayError:  # it died, which for want of memory has a class of its own
        return None
    if isinstance(found, CurateError):
        raise found
    return found


@contextmanager
def open_on_gpus(section: Section, count: int, scratch: Path, log: Log) -> Iterator[Model]:
    """A model in each of `count` actors, as soon as the first has loaded it; on leaving, they are ended.

    Errors: TeacherError where no actor lives to load it; those of loading it.
    """
    import ray

    device = section.transformers.device if section.transformers else None
    if device and ":" in device:
        raise TeacherError(
            f"teacher.transformers.device: {device} is a GPU of one machine, and --engine ray gives each model one; "
            f"set {device.split(':')[0]}"
        )
    each = gpus_of(section)
    holder: Any = ray.remote(Holder).options(num_gpus=each, num_cpus=0, max_restarts=0)
    actors: list[Any] = [holder.remote(os.getcwd(), section, scratch.absolute()) for _ in range(count)]
    log.say(f"teacher: loading the model on {count} × {each} GPUs of the cluster")
    loading = {actor.facts.remote(): actor for actor in actors}
    try:
        first: tuple[str, str, Mapping[str, Any]] | None = None
        while first is None and loading:
            for one in ray.wait(list(loading), timeout=TICK_SECONDS)[0]:
                actor, first = loading.pop(one), _told(one)
        if first is None:
            raise TeacherError(
                "teacher: no process on the cluster's GPUs lived to load the model, maybe for want of memory; try a "
                "smaller one, or a lower max_model_len"
            )
        shared = Shared(*first, [actor], loading)
        yield shared
        closing = [actor.close.remote() for actor in shared.actors]
        ray.wait(closing, num_returns=len(closing), timeout=GRACE_SECONDS)
    finally:  # at once where something failed or Ctrl-C was pressed
        for actor in actors:
            ray.kill(actor)
