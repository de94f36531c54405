"""Prompts: every packaged one is sound; they are filled literally; wrong files are told in one line."""

import hashlib
import json

import pytest

from curate.distill.teacher import prompts
from curate.distill.teacher.prompts import all_prompts, digest, load, read, render
from curate.distill.teacher.protocol import Sampling
from curate.errors import RecipeError

SMALL = "name: small\nversion: 2\nabout: a test\nuser: 'Say {text} as {tone}. {} { text }'\nsampling: {max_tokens: 5}\n"


def written(folder, content, name="small"):
    path = folder / f"{name}.yaml"
    path.write_text(content, "utf-8")
    return path


@pytest.mark.parametrize("name", list(all_prompts()))
def test_every_packaged_prompt_has_a_place_for_a_text_and_can_be_drawn(name):
    prompt = load(name)
    assert prompt.name == name
    assert "text" in prompt.placeholders
    filled = render(prompt, **{place: f"<{place}>" for place in prompt.placeholders})
    assert [role for role, _ in filled] in (["user"], ["system", "user"])
    assert all(any(f"<{place}>" in content for _, content in filled) for place in prompt.placeholders)
    assert prompt.sampling_with(3).seed == 3


def test_the_quality_grade_offers_six_labels():
    assert load("quality_grade").choices == ("0", "1", "2", "3", "4", "5")


def test_values_are_put_in_as_they_are(tmp_path):
    prompt = read(written(tmp_path, SMALL))
    assert render(prompt, text="{tone} %s \\1 {text}", tone="it") == (
        ("user", "Say {tone} %s \\1 {text} as it. {} { text }"),
    )


@pytest.mark.parametrize("values", [{"text": "a"}, {"text": "a", "tone": "b", "more": "c"}])
def test_a_value_that_is_missing_or_has_no_place_is_told(values, tmp_path):
    with pytest.raises(RecipeError, match=r"prompt small: wants \['text', 'tone'\], and is given"):
        render(read(written(tmp_path, SMALL)), **values)


def test_the_digest_is_the_hash_of_the_file(tmp_path):
    path = written(tmp_path, SMALL)
    assert digest(read(path)) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_schema_becomes_canonical_json_and_the_defaults_of_sampling_hold(tmp_path):
    schema = "schema: {type: object, required: [b, a]}\n"
    path = written(tmp_path, SMALL + schema)
    drawn = read(path).sampling_with(9)
    assert drawn == Sampling(5, seed=9, schema='{"required":["b","a"],"type":"object"}')
    assert json.loads(drawn.schema) == {"type": "object", "required": ["b", "a"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (SMALL.replace("about", "abuot"), "small.yaml: about: Field required"),
        (SMALL + "kind: odd\n", "small.yaml: kind: Input should be 'negative' or 'positive'"),
        (SMALL.replace("max_tokens: 5", "max_tokens: 0"), "sampling.max_tokens: Input should be greater than or equal"),
        (SMALL.replace("small", "other"), "small.yaml: its name is 'other'; name it as its file"),
        ("just text", "small.yaml: a prompt is a mapping of fields"),
        ("{a: [}", "small.yaml: a prompt is a mapping of fields"),
    ],
)
def test_a_file_that_is_no_prompt_is_told(content, said, tmp_path):
    with pytest.raises(RecipeError, match=said.replace("[", r"\[")):
        read(written(tmp_path, content))


def test_a_name_that_is_not_there_is_told():
    with pytest.raises(RecipeError, match=r"^no prompt 'quality_grad'; did you mean 'quality_grade'\?$"):
        prompts.load("quality_grad")
