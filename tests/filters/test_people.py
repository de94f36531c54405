"""Register of texts and mentions of groups of people: what counts, and that the lists are sound."""

import pyarrow as pa
import pytest
import yaml
from support.paths import ROOT

from curate.filters.people.signals import group_names, mentions, register

LISTS = {
    name: yaml.safe_load((ROOT / "filters" / "people" / f"{name}.yaml").read_text()) for name in ("groups", "register")
}
FORMAL = "The resolution of the committee was adopted at the meeting in Geneva by a majority of the members present."
SPOKEN = "Hey dude, I'm gonna call you, don't worry, it's okay, you know I can't wait, lol."
GERMAN = (
    "Die Verwaltung hat in der letzten Sitzung beschlossen, dass die Schulen der Stadt im Sommer saniert werden, "
    "und in den Ferien damit angefangen. An den Kosten beteiligt sich das Land, das in dieser Sache mit den Gemeinden "
    "verhandelt hat, per Vertrag in gleichem Umfang."
)
DIALECT = "im finna go wit my homies cuz he tryna get some food, yeah, you know me, it's all good"


def words_of(listed):
    lines = listed.values() if isinstance(listed, dict) else [listed]
    return [word.strip() for line in lines for word in line.split(",")]


@pytest.mark.parametrize("name", LISTS)
def test_no_word_is_of_two_groups_or_stands_twice(name):
    words = [word.lower() for listed in LISTS[name].values() for word in words_of(listed)]
    assert "" not in words
    of_groups = [{w.lower() for w in words_of(listed)} for listed in LISTS[name].values()]
    assert sum(map(len, of_groups)) == len(set().union(*of_groups))


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("Two African Americans and a Black woman.", ["women", "black_people", "north_americans"]),
        ("The black cat crossed a white house; a blind date; straight ahead.", []),
        ("Black men and WHITE WOMEN.", ["women", "men", "black_people", "white_people"]),
        ("Muslims, Jewish and Christian leaders met.", ["christians", "muslims", "jews"]),
        ("Die Muslime und die Flüchtlinge.", ["muslims", "immigrants"]),
        ("Des réfugiés et des femmes.", ["women", "immigrants"]),
        ("Los indígenas y los inmigrantes.", ["indigenous_people", "immigrants"]),
        ("Manhattan, womanly, Christianity", []),
        ("", []),
        (None, None),
    ],
)  # fmt: skip
def test_groups_are_named_by_whole_words_and_phrases(text, groups):
    found = mentions(pa.array([text], pa.string()))
    assert found["mentions"].to_pylist() == [groups]
    assert (found["n_mentions"].to_pylist()[0] or 0) >= len(groups or [])


def test_groups_are_in_the_order_of_the_list():
    text = " ".join(words_of(LISTS["groups"][name])[0] + "," for name in reversed(group_names()))
    assert mentions(pa.array([text]))["mentions"].to_pylist() == [list(group_names())]


def test_registers_are_told_apart():
    measured = register(pa.array([FORMAL, SPOKEN, DIALECT, GERMAN, None]))
    assert measured["register"].to_pylist() == ["formal", "colloquial", "dialect", None, None]
    assert measured["n_dialect_words"].to_pylist() == [0, 0, 4, 0, None]
    formal, spoken = measured["formality"].to_pylist()[:2]
    assert formal == 1
    assert spoken < 0.1


def test_a_long_text_that_quotes_one_word_of_dialect_is_not_in_dialect():
    assert register(pa.array([f"{FORMAL} " * 5 + "He said finna."]))["register"].to_pylist() == ["formal"]
