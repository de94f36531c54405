"""The section input: which files, and which of their columns."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from curate.recipe.affects import affects
from curate.recipe.section import Cast, Section
from curate.recipe.values import Size, not_empty
from curate.redaction import without_credentials


class Source(Section):
    """Some of the inputs, or a dataset, with their own text column, name and licence."""

    paths: list[str] = Field(default=[], description="as in input.paths")
    dataset: str | None = Field(default=None, description="a Hugging Face dataset or a folder, instead of paths")
    config: str | None = Field(default=None, description="the dataset's configuration")
    split: str = Field(default="train", description="the dataset's split")
    revision: str | None = Field(default=None, description="the dataset's commit, tag or branch")
    text: str | None = Field(default=None, description="their column with the text; default: input.text")
    id: str | None = Field(default=None, description="their column with one value per document; default: input.id")
    source: str | None = Field(default=None, description="a value for a column `source`")
    license: str | None = Field(default=None, description="a value for a column `license`")

    @model_validator(mode="after")
    def _one_place(self) -> "Source":
        if bool(self.paths) == bool(self.dataset):
            raise ValueError("an entry has either `paths` or `dataset`")
        if self.paths and (self.config or self.revision or self.split != "train"):
            raise ValueError("`config`, `split` and `revision` belong to a dataset; an entry with `paths` has none")
        for name in ("source", "license"):
            if (value := getattr(self, name)) is not None and without_credentials(value) != value:
                raise ValueError(f"`{name}` holds a credential, which the data would publish; leave it out of the URL")
        return self


class Input(Section):
    """Where the corpus is and which columns matter."""

    paths: Annotated[
        list[str | Source], AfterValidator(not_empty), Field(json_schema_extra={"minItems": 1}), affects("measures")
    ] = Field(description="Parquet and JSONL files, globs, folders and URIs; relative to where curate is started")
    text: Annotated[str, affects("measures")] = Field(default="text", description="the column with the text")
    messages: Annotated[str | None, affects("measures")] = Field(
        default=None, description="a column of {role, content}, instead of text"
    )
    id: Annotated[str | None, affects("measures")] = Field(
        default=None, description="a column with one value per document; without it doc_id is a hash of the text"
    )
    columns: Annotated[list[str] | None, affects("nothing")] = Field(
        default=None, description="the columns that the corpus has beside text and id; null: all that files have"
    )
    cast: Annotated[dict[str, Cast], affects("measures")] = Field(
        default={}, description="columns that are read as another type, in every file"
    )
    strata: list[str] = Field(
        default=[], description="columns that quotas and percentiles are taken within; `name?` may be missing"
    )
    license: Annotated[str | dict[str, str] | None, affects("nothing")] = Field(
        default=None,
        description="the column with each document's licence, or licences by the values of column `source`; "
        "null: column `license`, if there is one",
    )
    max_document_bytes: Annotated[Size, affects("tier2")] = Field(
        default=10_000_000, description="longer documents are dropped as too_large"
    )

    @model_validator(mode="after")
    def _text_or_messages(self) -> "Input":
        if self.messages is not None and (self.text != "text" or any(e.text for e in self.entries())):
            raise ValueError("messages takes the place of text; set one of them")
        if self.id is None and any(entry.id for entry in self.entries()):
            raise ValueError("an entry has an `id`; set input.id too, the name that the column has in the corpus")
        return self

    def entries(self) -> list[Source]:
        """All inputs as entries."""
        return [Source(paths=[entry]) if isinstance(entry, str) else entry for entry in self.paths]

    @property
    def column(self) -> str:
        """The corpus's column with the documents."""
        return self.text if self.messages is None else self.messages
