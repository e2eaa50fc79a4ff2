"""What is known of a layer, for people; records may be of any age and of other software."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from microtome_core.subjects import SEXES
from microtome_service.nested import value_at

_MOST = 12
_LONGEST = 600
_HEADLINE = 120
_WHOLE = 20_000
_FEWEST_WORDS = 3
_WAVES = ("excitation", "emission")
_DOI = "https://doi.org/"
_SEXES = {letter: word for word, letter in SEXES.items()}
Path = tuple[str, ...]

_SUBJECT: Mapping[str, Path] = {
    "Subject": ("subject", "subject_id"), "Species": ("subject", "species"),
    "Strain": ("subject", "strain"), "Genotype": ("subject", "genotype"),
    "Sex": ("subject", "sex"), "Age": ("subject", "age"),
    "Born": ("subject", "date_of_birth"), "Weight": ("subject", "weight"),
    "About": ("subject", "description"), "Virus": ("virus",), "Surgery": ("surgery",),
    "Slices": ("slices",), "Pharmacology": ("pharmacology",),
}  # fmt: skip
_RIG = "microscopy_rig"
_IMAGING: Mapping[str, Path] = {
    "Technique": (_RIG, "microscope", "technique"),
    "Microscope": (_RIG, "microscope"), "Objective": (_RIG, "objective_lens"),
    "Light source": (_RIG, "excitation_source"), "Detector": (_RIG, "photodetector"),
    "Emission filter": (_RIG, "emission_filter"),
    "Region": ("imaging_space", "anatomical_target"), "Location": ("imaging_plane", "location"),
    "Indicator": ("imaging_plane", "indicator"),
    "Frames a second": ("imaging_plane", "imaging_rate"),
    "Date": ("session_start_time",), "Acquired": ("acquisition_date",),
    "Software": ("acquisition_software",), "Protocol": ("protocol",),
}  # fmt: skip
_ORIGIN: Mapping[str, Path] = {
    "Experimenter": ("experimenter",), "Lab": ("lab",), "Institution": ("institution",),
    "Contributors": ("contributors",), "Keywords": ("keywords",), "Licence": ("license",),
    "DOI": ("doi",), "Publications": ("related_publications",), "Session": ("session_id",),
    "Notes": ("notes",),
}  # fmt: skip
# Of a piece of equipment, in the order in which people say them.
_PARTS = ("manufacturer", "model_name", "name", "source_type", "detector_type", "filter_type",
          "magnification", "numerical_aperture", "immersion", "version", "orcid",
          "affiliation")  # fmt: skip
_FORMS = {"magnification": "{}×", "numerical_aperture": "NA {}", "orcid": "ORCID {}"}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a record; `link` is where it leads, if anywhere."""

    label: str
    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Lines of a record under one heading."""

    title: str
    rows: tuple[Row, ...]


def parts_of(record: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return what a record says, by headings; headings under which it says nothing are left out.

    >>> [part.title for part in parts_of({"subject": {"sex": "F"}, "license": {"<b>": 1}})]
    ['Subject']
    """
    titles = (("Subject", _SUBJECT), ("Imaging", _IMAGING), ("Origin and licence", _ORIGIN))
    found = [Part(title, tuple(_rows(record, paths))) for title, paths in titles]
    return tuple(part for part in found if part.rows)


def _rows(record: Mapping[str, Any], paths: Mapping[str, Path]) -> Iterable[Row]:
    for label, path in paths.items():
        text = _text(value_at(record, path))
        if text:
            yield Row(label, _SEXES.get(text, text) if label == "Sex" else text, _link(label, text))


def _link(label: str, text: str) -> str:
    word = text.removeprefix("doi:")
    if label in ("DOI", "Publications") and word.startswith("10.") and " " not in word:
        return _DOI + word
    # Of the identifiers of SPDX each is a page there.
    spdx = label == "Licence" and text.replace("-", "").replace(".", "").isalnum()
    return f"https://spdx.org/licenses/{text}.html" if spdx and text.isascii() else ""


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str | int):
        return str(value).replace("\0", "").strip()[:_LONGEST]
    if isinstance(value, Mapping):
        return ", ".join(_said(value))
    if isinstance(value, Sequence):
        told = list(filter(None, map(_text, value[:_MOST])))
        return "; ".join([*told, *(["…"] if len(value) > _MOST else [])])
    return ""


def _said(equipment: Mapping[str, Any]) -> Iterable[str]:
    for name in ("name", *(part for part in _PARTS if part != "name")):
        text = _text(equipment.get(name)) if not isinstance(equipment.get(name), Mapping) else ""
        if text:
            yield _FORMS.get(name, "{}").format(text)


def lead_of(record: Mapping[str, Any]) -> str:
    r"""Return what a record says of the whole in one short line, empty where it says nothing.

    Of several lines the first is one if it says something: programs put their settings there.

    >>> lead_of({"session_description": "Metadata:\nDimensions: T(3) x C(2)"})
    ''
    >>> lead_of({"session_description": "word " * 40}).endswith("word word …")
    True
    """
    lines = whole_of(record).splitlines() or [""]
    first = " ".join(lines[0].split())
    if len(lines) > 1 and (first.endswith(":") or len(first.split()) < _FEWEST_WORDS):
        return ""
    if len(first) <= _HEADLINE:
        return first
    return first[: _HEADLINE - 1].rpartition(" ")[0].rstrip(" ,;:") + " …" * (" " in first)


def whole_of(record: Mapping[str, Any]) -> str:
    """Return all that a record says of the whole."""
    told = value_at(record, ("session_description",))
    return told.replace("\0", "").strip()[:_WHOLE] if isinstance(told, str) else ""


@dataclass(frozen=True, slots=True)
class Light:
    """Dye and wavelengths of a channel, in words; empty where nobody tells them."""

    dye: str
    excitation: str
    emission: str


def light_of(record: Mapping[str, Any], count: int) -> tuple[Light, ...]:
    """Return what a record says of each of `count` channels.

    >>> light_of({"channels": [{"indicator": "EYFP", "emission_wavelength_in_nm": 527.0}]}, 1)
    (Light(dye='EYFP', excitation='', emission='527 nm'),)
    """
    told = record.get("channels")
    known = told if isinstance(told, list) and len(told) == count else [{}] * count
    return tuple(
        Light(_text(value_at(each, ("indicator",))), *(_wavelength(each, name) for name in _WAVES))
        for each in known
    )


def _wavelength(channel: object, name: str) -> str:
    text = _text(value_at(channel, (f"{name}_wavelength_in_nm",)))
    return f"{text} nm" if text else ""


@dataclass(frozen=True, slots=True)
class Citation:
    """How to cite a dataset: in words, and as BibTeX."""

    text: str
    bibtex: str


def citation(name: str, url: str, record: Mapping[str, Any]) -> Citation:
    """Return how to cite a dataset.

    Parameters
    ----------
    name : str
        ``collection/dataset``.
    url : str
        Where its page is; a DOI in the record is told in its place.
    record : mapping
        Authors are its contributors, or else its experimenters.
    """
    authors = _authors(record)
    year = _year(record)
    title = lead_of(record) or name
    doi = _text(value_at(record, ("doi",))).removeprefix("doi:")
    where = f"{_DOI}{doi}" if doi.startswith("10.") else url
    publisher = _text(value_at(record, ("institution",)))
    # Names are often told as "Ramón y Cajal, Santiago".
    names = ("; " if any("," in a for a in authors) else ", ").join(authors)
    parts = [f"{names or 'Unknown authors'}{f' ({year})' if year else ''}", title, publisher, where]
    fields = {
        "title": title, "author": " and ".join(authors), "year": year, "publisher": publisher,
        "doi": doi if doi.startswith("10.") else "", "url": url,
    }  # fmt: skip
    lines = [f"  {key} = {{{_plain(value)}}}," for key, value in fields.items() if value]
    key = "".join(c if c.isalnum() else "_" for c in name)
    bibtex = "\n".join([f"@misc{{{key},", *lines, "}"])
    return Citation(". ".join(filter(None, parts)) + ".", bibtex)


def _authors(record: Mapping[str, Any]) -> list[str]:
    told = record.get("contributors")
    named = [_text(value_at(each, ("name",))) for each in told] if isinstance(told, list) else []
    people = record.get("experimenter")
    listed = people if isinstance(people, list) else [people]
    found = list(filter(None, named)) or list(filter(None, map(_text, listed)))
    return found[:_MOST]


def _year(record: Mapping[str, Any]) -> str:
    for key in ("session_start_time", "acquisition_date"):
        text = _text(record.get(key))[:4]
        if text.isdigit() and len(text) == 4:
            return text
    return ""


def _plain(text: str) -> str:
    """Return words that end no BibTeX field."""
    return " ".join(text.replace("{", "(").replace("}", ")").replace("\\", "/").split())
