"""The section teacher: which language model, where it runs, and how it is reached."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from curate.recipe.section import Section

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

# Fields for where and how fast a teacher answers, which do not change its replies: not part of the recipe's digest.
TRANSPORT_FIELDS: dict[str, set[str]] = {
    "transformers": {"device", "batch_tokens"},
    "vllm": {"urls", "concurrency", "timeout_seconds", "retries", "api_key_env", "tensor_parallel"},
    "vllm_engine": {"tensor_parallel"},
}
SERVED_ONLY = ("dtype", "quantization", "tensor_parallel", "max_model_len")
FORMS = "rules, {transformers: MODEL}, {vllm: {urls: [URL]}}, {vllm: {serve: MODEL}} or {vllm_engine: MODEL}"


def _model_alone(value: object) -> object:
    """A bare model name as the mapping that it abbreviates."""
    return {"model": value} if isinstance(value, str) else value


class LocalModel(Section):
    """A model that this process runs with torch and transformers."""

    model: str = Field(description="a folder, or a name on the Hugging Face Hub")
    revision: str | None = Field(default=None, description="commit, tag or branch on the Hub")
    lora: dict[str, str] = Field(default={}, description="LoRA adapters: folders by name")
    dtype: Dtype = Field(default="auto", description="type of the weights; auto: as they were saved")
    device: str | None = Field(default=None, description="as in cuda:0; default: a GPU where there is one")
    max_model_len: int | None = Field(
        default=None, ge=2, description="tokens of prompt and reply; default: the model's"
    )
    batch_tokens: int = Field(default=4096, ge=1, description="tokens of a batch, padding included")


class EngineModel(Section):
    """A model that this process runs with vLLM."""

    model: str = Field(description="a folder, or a name on the Hugging Face Hub")
    revision: str | None = Field(default=None, description="commit, tag or branch on the Hub")
    lora: dict[str, str] = Field(default={}, description="LoRA adapters: folders by name")
    dtype: Dtype = Field(default="auto", description="type of the weights; auto: as they were saved")
    quantization: str | None = Field(default=None, description="as vLLM names it; default: as the model says")
    tensor_parallel: int = Field(default=1, ge=1, description="GPUs that share the model")
    max_model_len: int | None = Field(
        default=None, ge=2, description="tokens of prompt and reply; default: the model's"
    )


class Servers(Section):
    """vLLM servers that run already, or one that is started for the run."""

    urls: list[str] = Field(default=[], description="servers of one model, as in http://127.0.0.1:8000")
    serve: str | None = Field(default=None, description="a model to start a server for: a folder or a Hub name")
    model: str | None = Field(default=None, description="the name it is served under; default: the only one there is")
    revision: str | None = Field(default=None, description="commit, tag or branch on the Hub")
    lora: dict[str, str] = Field(default={}, description="LoRA adapters, folders by name; servers with urls load them")
    dtype: Dtype = Field(default="auto", description="with serve: type of the weights; auto: as they were saved")
    quantization: str | None = Field(default=None, description="with serve: as vLLM names it")
    tensor_parallel: int = Field(default=1, ge=1, description="with serve: GPUs that share the model")
    max_model_len: int | None = Field(default=None, ge=2, description="with serve: tokens of prompt and reply")
    concurrency: int = Field(default=64, ge=1, le=10_000, description="requests under way at a time")
    timeout_seconds: float | int = Field(default=600, gt=0, description="time for one request")
    retries: int = Field(default=6, ge=0, le=100, description="failures in a row, of all servers, before a run stops")
    api_key_env: str | None = Field(default=None, description="the environment variable that holds the key")

    @model_validator(mode="after")
    def _one_place(self) -> "Servers":
        if bool(self.urls) == bool(self.serve):
            raise ValueError("has either `urls` of servers or `serve` with a model")
        for url in self.urls:
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"{url!r} is no URL; write it as http://127.0.0.1:8000")
        if self.api_key_env is not None and not self.api_key_env.isidentifier():
            raise ValueError("`api_key_env` names the environment variable that holds the key, and is not the key")
        set_fields = [name for name in SERVED_ONLY if getattr(self, name) != type(self).model_fields[name].default]
        if self.urls and set_fields:
            raise ValueError(f"`{set_fields[0]}` belongs to `serve`; with `urls` the server itself is started with it")
        return self


class Teacher(Section):
    """Which language model is asked."""

    transformers: Annotated[LocalModel, BeforeValidator(_model_alone)] | None = Field(
        default=None, description="a model run here, with torch"
    )
    vllm: Servers | None = Field(default=None, description="a model behind vLLM servers")
    vllm_engine: Annotated[EngineModel, BeforeValidator(_model_alone)] | None = Field(
        default=None, description="a model run here, with vLLM"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> "Teacher":
        if sum(kind is not None for kind in (self.transformers, self.vllm, self.vllm_engine)) != 1:
            raise ValueError(f"is one of {FORMS}")
        return self


def _kind(value: object) -> str | None:
    """The form in which a teacher is written, as a tag of `AnyTeacher`."""
    if value == "rules":
        return "rules"
    return "Teacher" if isinstance(value, dict | Teacher) else None


AnyTeacher = Annotated[
    Annotated[Literal["rules"], Tag("rules")] | Annotated[Teacher, Tag("Teacher")],
    Discriminator(_kind, custom_error_type="teacher_form", custom_error_message=f"is one of {FORMS}"),
]
