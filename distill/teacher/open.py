"""A teacher opened as the recipe names it: in this process, by an engine or by servers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curate.distill.teacher.protocol import Choice, Model, OpenModel, Reply, Request, Score, Teacher
from curate.errors import RecipeError
from curate.progress import Log
from curate.recipe.teacher import Teacher as Section


@dataclass(frozen=True)
class NoModel:
    """The teacher of a recipe that names none."""

    name: str = "rules"
    model: str = ""

    @property
    def facts(self) -> Mapping[str, Any]:
        """Nothing but its kind."""
        return {"kind": self.name}

    @property
    def counts(self) -> Mapping[str, int]:
        """None, as nothing can be asked."""
        return {}

    def generate(self, requests: Sequence[Request]) -> list[Reply | None]:
        """Refuse."""
        raise _no_model("write replies")

    def score(self, texts: Sequence[str], adapter: str | None = None) -> list[Score | None]:
        """Refuse."""
        raise _no_model("score text")

    def choose(self, requests: Sequence[Request], labels: Sequence[str]) -> list[Choice | None]:
        """Refuse."""
        raise _no_model("choose between labels")


def _no_model(what: str) -> RecipeError:
    return RecipeError(
        f"teacher: rules has no language model to {what} with; set teacher to {{transformers: MODEL}}, which runs it "
        "here, or to {vllm: {urls: [URL]}}"
    )


def check_teacher(section: Literal["rules"] | Section) -> None:
    """Refuse a teacher that cannot be had here, as far as libraries and folders tell: nothing is loaded or asked.

    Errors: TeacherError for a library that is missing, RecipeError for a folder that holds no model.
    """
    from curate.distill.teacher.local import need
    from curate.distill.teacher.vllm.serve import need_vllm
    from curate.distill.teacher.weights import check_adapters, find_model

    if section == "rules":
        return
    if here := section.transformers:
        need("teacher.transformers", "transformers", "torch", "transformers")
        find_model(here.model, here.revision, "teacher.transformers.model")
    elif engine := section.vllm_engine:
        need_vllm("teacher.vllm_engine")
        find_model(engine.model, engine.revision, "teacher.vllm_engine.model")
    elif section.vllm and section.vllm.serve:
        need_vllm("teacher.vllm.serve")
        find_model(section.vllm.serve, section.vllm.revision, "teacher.vllm.serve")
    for kind in ("transformers", "vllm_engine", "vllm"):
        check_adapters(getattr(getattr(section, kind), "lora", {}), f"teacher.{kind}")


@contextmanager
def open_teacher(
    section: Literal["rules"] | Section, cache_folder: Path, log: Log, models: OpenModel | None = None
) -> Iterator[Teacher]:
    """The teacher that a recipe names, with its request cache in `cache_folder`; on leaving, what it started is ended.

    `models` opens its model, as an engine does; by default `open_model`.

    Errors: TeacherError where no server answers or a library is missing, RecipeError where the model cannot be had.
    """
    if section == "rules":
        yield NoModel()
        return
    from curate.distill.teacher.cached import Asking
    from curate.distill.teacher.request_cache import open_cache

    with (models or open_model)(section, cache_folder, log) as model, open_cache(cache_folder) as cache:
        yield Asking(model, cache, log)


@contextmanager
def open_model(section: Section, folder: Path, log: Log) -> Iterator[Model]:
    """The implementation that a section names, in this process; what a server tells goes to `folder`."""
    if section.transformers is not None:
        from curate.distill.teacher.local import open_local_model

        yield open_local_model(section.transformers, log)
    elif section.vllm_engine is not None:
        from curate.distill.teacher.vllm.engine import open_engine

        with open_engine(section.vllm_engine, log) as engine:
            yield engine
    elif section.vllm is not None and section.vllm.serve is not None:
        from curate.distill.teacher.vllm.serve import served

        with served(section.vllm, folder / "server.log", log) as model:
            yield model
    elif section.vllm is not None:
        from curate.distill.teacher.vllm.connect import connect

        yield connect(section.vllm, log)
