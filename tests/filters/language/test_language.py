"""The language of documents, and what a recipe keeps of them."""

import pyarrow as pa
import pytest
from support.commands import carry_out
from support.corpora import PROSE, write_shard
from support.recipes import write_recipe
from support.runs import documents

from curate.errors import RecipeError
from curate.filters.language.identify import LABEL, _model, language
from curate.filters.language.names import model_codes
from curate.recipe.load import load_recipe

GERMAN = "Die Würde des Menschen ist unantastbar. Sie zu achten und zu schützen ist Verpflichtung aller Gewalt. " * 3
FRENCH = "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison. " * 3
UNCLEAR = "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa. Wote wamejaliwa akili na dhamiri. "  # Swahili
CHINESE = "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。"


def keep(folder, texts, **section):
    write_shard(folder / "in.parquet", texts)
    recipe, run = write_recipe(folder, folder / "in.parquet", tier1={"language": section}, allow_empty=True)
    carry_out(recipe)
    return documents(run, "language, reasons")


def test_languages_are_told_and_null_stays_null():
    texts = pa.array([PROSE, None, " \n ", GERMAN, CHINESE, "\n".join(FRENCH.split())])
    told = language(texts)
    assert told["language"].to_pylist() == ["en", None, None, "de", "zh", "fr"]
    shares = told["language_confidence"].to_pylist()
    assert shares[1] is shares[2] is None
    assert all(0.8 < share <= 1 for share in shares if share is not None)
    assert language(texts.slice(3))["language_confidence"].to_pylist() == shares[3:]


def test_words_between_blanks_are_read_and_signs_alone_have_no_language():
    hidden = "\n" * 2000 + GERMAN + "\n" * 5000 + GERMAN + "\n" * 2000
    assert language(pa.array([hidden, "!!! 123 \x00", "₤€ 5"]))["language"].to_pylist() == ["de", None, None]


def test_norwegian_needs_no_quotes(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "name: n\ninput: {paths: [x]}\ntier1: {language: {keep: [no], min_confidence: {no: 0.4}}}"
    )
    section = load_recipe(tmp_path / "r.yaml").tier1.language
    assert (section.keep, section.min_confidence) == (["no"], {"no": 0.4})


def test_a_model_of_176_languages():
    told = {label[LABEL:] for _, label in _model().predict("a\n", 1000, -1.0, "strict")}
    assert len(told) == 176
    assert model_codes() == told


def test_other_languages_are_dropped(tmp_path):
    assert keep(tmp_path, [PROSE, GERMAN, CHINESE, ""], keep=["en", "zh"], min_confidence=0.5) == [
        ("en", []),
        ("de", ["other_language"]),
        ("zh", []),
        (None, ["empty_text"]),
    ]


def test_an_uncertain_language_is_dropped_by_its_own_bound(tmp_path):
    [[code], [share]] = (column.to_pylist() for column in language(pa.array([UNCLEAR])).values())
    assert 0.05 < share < 0.95
    assert code != "en"
    texts = [UNCLEAR, PROSE]
    above = {code: round(share + 0.01, 3)}
    assert keep(tmp_path, texts, min_confidence=above) == [(code, ["uncertain_language"]), ("en", [])]
    below = {code: round(share - 0.01, 3), "en": 1}
    assert keep(tmp_path, texts, min_confidence=below) == [(code, []), ("en", ["uncertain_language"])]
    assert keep(tmp_path, texts, min_confidence=0) == [(code, []), ("en", [])]


def test_the_bound_can_be_moved_like_that_of_any_rule(tmp_path):
    write_shard(tmp_path / "in.parquet", [PROSE])
    recipe, run = write_recipe(tmp_path, tmp_path / "in.parquet", tier1={"language": {}}, allow_empty=True)
    carry_out(recipe, "tier1.thresholds.uncertain_language=1")
    assert documents(run, "reason") == [("uncertain_language",)]
    carry_out(recipe, "tier1.thresholds.uncertain_language=null")
    assert documents(run, "reason") == [(None,)]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"keep": ["eng"]}, "tier1.language.keep: the model knows no language 'eng'; did you mean 'en'?"),
        ({"keep": ["English"]}, "the model knows no language 'English'; did you mean 'en'?"),
        ({"keep": ["de-AT"]}, "the model knows no language 'de-AT'; did you mean 'de'?"),
        ({"keep": ["portugese"]}, "the model knows no language 'portugese'; did you mean 'pt'?"),
        ({"keep": ["Klingon"]}, "the model knows no language 'Klingon'; codes are as in en, de, zh"),
        ({"min_confidence": {"dee": 0.5}}, "tier1.language.min_confidence: the model knows no language 'dee'"),
        ({"keep": []}, "tier1.language.keep: is empty; name at least one"),
        ({"min_confidence": 65}, "tier1.language.min_confidence"),
    ],
)
def test_wrong_sections_are_refused(tmp_path, section, message):
    with pytest.raises(RecipeError) as caught:
        keep(tmp_path, [PROSE], **section)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
