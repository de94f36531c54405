"""English names of the languages that the model identifies, to suggest a code for a name."""

import difflib
import re
from functools import cache

# The codes, each with all names of the language.
NAMES = """
af Afrikaans | als Alemannic, Swiss German | am Amharic | an Aragonese | ar Arabic | arz Egyptian Arabic | as Assamese
ast Asturian | av Avar | az Azerbaijani | azb South Azerbaijani | ba Bashkir | bar Bavarian | bcl Central Bikol
be Belarusian | bg Bulgarian | bh Bihari, Bhojpuri | bn Bengali, Bangla | bo Tibetan | bpy Bishnupriya | br Breton
bs Bosnian | bxr Buryat | ca Catalan, Valencian | cbk Chavacano | ce Chechen | ceb Cebuano | ckb Central Kurdish, Sorani
co Corsican | cs Czech | cv Chuvash | cy Welsh | da Danish | de German, Deutsch | diq Zazaki | dsb Lower Sorbian
dty Doteli | dv Dhivehi, Maldivian | el Greek | eml Emilian-Romagnol | en English | eo Esperanto
es Spanish, Castilian, Español | et Estonian | eu Basque | fa Persian, Farsi | fi Finnish | fr French, Français
frr North Frisian | fy West Frisian, Frisian | ga Irish | gd Scottish Gaelic, Gaelic | gl Galician | gn Guarani
gom Konkani | gu Gujarati | gv Manx | he Hebrew | hi Hindi | hif Fiji Hindi | hr Croatian | hsb Upper Sorbian, Sorbian
ht Haitian, Haitian Creole | hu Hungarian | hy Armenian | ia Interlingua | id Indonesian | ie Interlingue | ilo Ilocano
io Ido | is Icelandic | it Italian, Italiano | ja Japanese | jbo Lojban | jv Javanese | ka Georgian | kk Kazakh
km Khmer, Cambodian | kn Kannada | ko Korean | krc Karachay-Balkar | ku Kurdish, Kurmanji | kv Komi | kw Cornish
ky Kyrgyz | la Latin | lb Luxembourgish | lez Lezgian | li Limburgish | lmo Lombard | lo Lao | lrc Northern Luri, Luri
lt Lithuanian | lv Latvian | mai Maithili | mg Malagasy | mhr Meadow Mari, Mari | min Minangkabau | mk Macedonian
ml Malayalam | mn Mongolian | mr Marathi | mrj Hill Mari | ms Malay | mt Maltese | mwl Mirandese | my Burmese
myv Erzya | mzn Mazanderani | nah Nahuatl | nap Neapolitan | nds Low German, Low Saxon | ne Nepali | new Newar
nl Dutch, Flemish, Nederlands | nn Nynorsk, Norwegian Nynorsk | no Norwegian, Bokmål | oc Occitan | or Odia, Oriya
os Ossetian | pa Punjabi | pam Kapampangan | pfl Palatine German | pl Polish, Polski | pms Piedmontese
pnb Western Punjabi | ps Pashto | pt Portuguese, Português | qu Quechua | rm Romansh | ro Romanian, Moldovan
ru Russian | rue Rusyn | sa Sanskrit | sah Yakut, Sakha | sc Sardinian | scn Sicilian | sco Scots | sd Sindhi
sh Serbo-Croatian | si Sinhala | sk Slovak | sl Slovenian, Slovene | so Somali | sq Albanian | sr Serbian
su Sundanese | sv Swedish, Svenska | sw Swahili | ta Tamil | te Telugu | tg Tajik | th Thai | tk Turkmen
tl Tagalog, Filipino | tr Turkish | tt Tatar | tyv Tuvan | ug Uyghur | uk Ukrainian | ur Urdu | uz Uzbek | vec Venetian
vep Veps | vi Vietnamese | vls West Flemish | vo Volapük | wa Walloon | war Waray | wuu Wu, Shanghainese | xal Kalmyk
xmf Mingrelian | yi Yiddish | yo Yoruba | yue Cantonese | zh Chinese, Mandarin
"""
# Codes of other standards, mapped to the model's codes.
OTHER_CODES = {"nb": "no", "iw": "he", "in": "id", "ji": "yi", "jw": "jv", "cmn": "zh", "fil": "tl", "gsw": "als"}


def codes_by_name() -> dict[str, str]:
    """The code of each lower-cased name."""
    entries = (entry.split(" ", 1) for entry in re.split(r" \| |\n", NAMES.strip()))
    return {name.lower(): code for code, names in entries for name in names.split(", ")}


@cache
def model_codes() -> frozenset[str]:
    """The codes that the model knows, without loading it."""
    return frozenset(codes_by_name().values())


def suggest_code(name: str) -> str:
    """A suggestion for an unknown code, to append to an error message."""
    code = closest_code(name, model_codes())
    return f"; did you mean {code!r}?" if code else "; codes are as in en, de, zh"


def closest_code(name: str, codes: frozenset[str]) -> str | None:
    """The one of `codes` that matches a name, a code of another standard, or a code with a region."""
    lowered = name.lower().strip()
    base = re.split(r"[-_]", lowered)[0]
    by_name = codes_by_name()
    for candidate in (by_name.get(lowered), OTHER_CODES.get(base), base):
        if candidate in codes:
            return candidate
    if close := difflib.get_close_matches(lowered, by_name, n=1, cutoff=0.8):
        return by_name[close[0]]
    close = difflib.get_close_matches(lowered, sorted(codes), n=1)
    return close[0] if close else None
