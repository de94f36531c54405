"""Rules on the number and length of words drop no text for its script."""

import pytest
from support.commands import carry_out
from support.corpora import write_shard
from support.recipes import write_recipe
from support.runs import documents

OTHER_SCRIPTS = {
    "Chinese, half of its letters in English words": "把文件从 the list 复制到 of files 目录，用 options 打开。\n" * 12,
    "Tibetan, with a mark between syllables": "བོད་སྐད་ནི་བོད་མིའི་སྐད་ཡིན། " * 10,
    "Amharic, with a mark between words": "ሰላም፡ለዓለም፡ሕዝብ፡ሁሉ፡ይሁን።" * 14,
    "Yi, without spaces": "ꆈꌠꁱꂷꉬꄷꀋꉬ" * 10,
}  # fmt: skip


@pytest.mark.parametrize("text", OTHER_SCRIPTS.values(), ids=OTHER_SCRIPTS)
def test_a_text_in_another_script_is_not_dropped_for_its_words(text, tmp_path):
    assert reasons(text, tmp_path, "tier1.thresholds.too_few_stop_words=null") == []


@pytest.mark.parametrize(
    ("word", "reason"), [("incomprehensibilities", "words_too_long"), ("a", "words_too_short"), ("seven", None)]
)
def test_english_words_have_the_length_that_the_paper_asks_for(word, reason, tmp_path):
    assert reasons(f"the end of {word} " + f"{word} " * 100, tmp_path) == ([reason] if reason else [])


def reasons(text, folder, *changes):
    """Why `gopher` drops a text."""
    write_shard(folder / "data" / "part.parquet", [text, "a text beside it, so that no signal is null throughout"])
    recipe, run = write_recipe(folder, folder / "data", tier1={"rules": ["gopher"]})
    carry_out(recipe, *changes, "allow_empty=true")
    return documents(run, "reasons")[0][0]
