"""What a record may say: each check returns the value in its one form, or says how to mend it.

Sources: the critical checks of nwbinspector 0.7 (species, age, sex, weight, dates, subject_id), ISO
8601, ISO 7064 MOD 11-2 (ORCID), the DOI handbook 2.2, SPDX license expressions.
"""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from pydantic import AfterValidator, ValidationInfo

from microtome_core import subjects

# The context under which a record is written; what is only read is not held to these checks.
WRITING = {"writing": True}

_PART = r"\d+(?:\.\d+)?"
AGE = r"^(P\d[\d.YMWDTHS]*|PT\d[\d.HMS]*)?(/(P\d[\d.YMWDTHS]*|PT\d[\d.HMS]*)?)?$"
SPECIES = r"[A-Z][a-z]* [a-z]+|http://purl\.obolibrary\.org/obo/NCBITaxon_\d+"
_DURATION = re.compile(
    rf"P(?!$)(?:({_PART})Y)?(?:({_PART})M)?(?:({_PART})W)?(?:({_PART})D)?"
    rf"(?:T(?=\d)(?:({_PART})H)?(?:({_PART})M)?(?:({_PART})S)?)?"
)
_DAYS = (365.2425, 30.436875, 7.0, 1.0, 1 / 24, 1 / 1440, 1 / 86400)
_SPOKEN = re.compile(
    rf"({_PART})(?:\s*(?:-|–|to)\s*({_PART}))?[\s-]*(y|m|w|d)[a-z]*(?: old)?", re.IGNORECASE
)
_SPECIES = re.compile(SPECIES)
_TAXON = re.compile(r"(?:.*NCBITaxon[_:]|(?:txid|taxid)?:?)(\d+)/?", re.IGNORECASE)
_WORM = "Caenorhabditis elegans"
_WEIGHT = re.compile(r"\d+(?:\.\d+)? (?:kg|g|mg|ug|μg|ng|pg)", re.IGNORECASE)
_ORCID = re.compile(r"(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])", re.IGNORECASE)
_DOI = re.compile(r"(?:doi:\s*|https?://(?:dx\.)?doi\.org/)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_OPPOSITES = ("PA", "IS", "LR")
# RRID:IMSR_JAX:000664, RRID:CVCL_A123 and RRID:MMRRC_037158-UCD are ones too.
_RRID = re.compile(r"RRID:[A-Za-z][A-Za-z0-9-]*(?:_[A-Za-z-]*\d[\w-]*|(?:_[A-Za-z]+)?:[\w.:-]+)")
_SHORTEST, _LONGEST = 100.0, 20_000.0
_SMALLEST, _LARGEST = 1e-5, 1e5
_CLOCKS = timedelta(minutes=5)


def on_write(check: Callable[[Any], Any]) -> AfterValidator:
    """Return a validator that holds a value to `check` only where a record is written."""

    def validate(value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - as the field has it
        return check(value) if info.context and info.context.get("writing") else value

    return AfterValidator(validate)


def text(value: str) -> str:
    """Return words less the blanks around them; there must be some."""
    stripped = value.strip()
    if not stripped:
        raise ValueError("is empty; leave it out where it is not known")
    if any(ord(letter) < 32 and letter not in "\n\t\r" for letter in stripped):
        raise ValueError(f"{shown(value)} holds control characters; write plain text")
    return stripped


def species(value: str) -> str:
    """Return a Latin binomial, or NCBI's address of a taxon."""
    value = text(value)
    if _SPECIES.fullmatch(value):
        return value
    known = subjects.SPECIES.get(value.lower())
    if known is None and (taxon := _TAXON.fullmatch(value)):
        known = f"http://purl.obolibrary.org/obo/NCBITaxon_{taxon[1]}"
    if known is None and _SPECIES.fullmatch(value.capitalize()):
        known = value.capitalize()
    raise ValueError(
        f"{shown(value)} is no Latin binomial; write {known or 'two words such as Mus musculus'}"
        f"{'' if known else ', or http://purl.obolibrary.org/obo/NCBITaxon_10090'}"
    )


def age(value: str) -> str:
    """Return an ISO 8601 duration, or a range of two with a slash, of which one may be empty."""
    value = text(value)
    parts = value.split("/")
    if len(parts) > 2 or not any(parts) or not all(_is_duration(part) for part in parts):
        raise ValueError(f"{shown(value)} is no ISO 8601 duration; write {_as_duration(value)}")
    if len(parts) == 2 and all(parts) and _days(parts[0]) >= _days(parts[1]):
        raise ValueError(
            f"{shown(value)} is a range that does not grow; write the younger age first, "
            "such as P60D/P90D"
        )
    return value


def _is_duration(part: str) -> bool:
    return part == "" or _DURATION.fullmatch(part) is not None


def _days(duration: str) -> float:
    match = _DURATION.fullmatch(duration)
    assert match is not None
    return sum(float(n or 0) * days for n, days in zip(match.groups(), _DAYS, strict=True))


def _as_duration(value: str) -> str:
    spoken = _SPOKEN.fullmatch(value)
    if spoken is None:
        return "P90D for 90 days, P12W for 12 weeks, P60D/P90D for a range"
    low, high, unit = spoken[1], spoken[2], spoken[3].upper()
    return f"P{low}{unit}/P{high}{unit}" if high else f"P{low}{unit}"


def sex(value: str, of: str | None = None) -> str:
    """Return a sex as NWB has it: M, F, O or U; of a worm XO or XX."""
    allowed = subjects.WORM_SEXES if of == _WORM else subjects.SEX_LETTERS
    if value in allowed:
        return value
    if of == _WORM:
        raise ValueError(f"{shown(value)} is none of XO (male) and XX (hermaphrodite) of {_WORM}")
    letter = subjects.SEXES.get(value.lower()) or (
        value.upper() if value.upper() in allowed else None
    )
    mend = f"write {letter}" if letter else "write M (male), F (female), O (other) or U (unknown)"
    raise ValueError(f"{shown(value)} is none of M, F, O and U; {mend}")


def subject_id(value: str) -> str:
    """Return a name without slashes, which archives make folders of."""
    value = text(value)
    if "/" in value:
        raise ValueError(f"{shown(value)} holds a slash; write {value.replace('/', '-')[:80]}")
    return value


def weight(value: str) -> str:
    """Return a number and a unit with a blank between."""
    value = text(value)
    if not _WEIGHT.fullmatch(value):
        number = re.match(_PART, value)
        example = f"{number[0]} g" if number else "24.5 g"
        raise ValueError(
            f"{shown(value)} is no number with a unit; write it with kg, g, mg or ug, such as "
            f"{example}"
        )
    return value


def moment(value: str) -> str:
    """Return a date and time with its zone, not in the future, as ISO 8601."""
    value = text(value)
    try:
        when = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"{shown(value)} is no date and time; write it as 2024-05-01T14:30:00+02:00"
        ) from None
    if when.tzinfo is None:
        raise ValueError(
            f"{shown(value)} has no time zone; write {when.isoformat()}+02:00, or what the clock "
            "was set to (+00:00 is UTC)"
        )
    if when > datetime.now(UTC) + _CLOCKS:
        raise ValueError(f"{shown(value)} is in the future; write when it began")
    return when.isoformat()


def day(value: str) -> str:
    """Return a date, or a date and time, that is not in the future, as ISO 8601."""
    value = text(value)
    try:
        when: date = date.fromisoformat(value) if len(value) <= 10 else _datetime(value)
    except ValueError:
        raise ValueError(f"{shown(value)} is no date; write it as 2024-05-01") from None
    then = datetime(when.year, when.month, when.day, tzinfo=UTC)
    if then > datetime.now(UTC) + timedelta(days=1):
        raise ValueError(f"{shown(value)} is in the future; write a day that has been")
    return when.isoformat()


def _datetime(value: str) -> datetime:
    return datetime.fromisoformat(value)


def orcid(value: str) -> str:
    """Return an ORCID of which the last character fits the others."""
    match = _ORCID.fullmatch(text(value))
    if match is None:
        raise ValueError(
            f"{shown(value)} is no ORCID; write 16 digits in fours, such as 0000-0002-1825-0097"
        )
    found = match[1].upper()
    if orcid_check(found.replace("-", "")[:15]) != found[-1]:
        raise ValueError(
            f"{shown(value)} is no ORCID: its last character does not fit the others; "
            "look for a mistyped digit"
        )
    return found


def orcid_check(digits: str) -> str:
    """Return the last character of an ORCID of which 15 digits are given (ISO 7064 MOD 11-2).

    >>> orcid_check("000000021825009"), orcid_check("000000021694233")
    ('7', 'X')
    """
    total = 0
    for digit in digits:
        total = (total + int(digit)) * 2
    check = (12 - total % 11) % 11
    return "X" if check == 10 else str(check)


def doi(value: str) -> str:
    """Return a DOI without what may stand before it."""
    match = _DOI.fullmatch(text(value))
    if match is None:
        raise ValueError(f"{shown(value)} is no DOI; write it as 10.48324/dandi.000026")
    return match[1]


def publication(value: str) -> str:
    """Return words about a publication; a bare DOI as the NWB inspector wants it."""
    match = _DOI.fullmatch(text(value))
    return f"doi:{match[1]}" if match and value.strip().startswith("10.") else text(value)


def license_id(value: str) -> str:
    """Return an SPDX license expression in its canonical case."""
    value = text(value)
    try:
        return str(canonicalize_license_expression(value))
    except InvalidLicenseExpression:
        raise ValueError(f"{shown(value)} is no SPDX identifier; write {_license(value)}") from None


def _license(value: str) -> str:
    """Return the Creative Commons license that is likely meant, or examples."""
    words = re.sub(r"[\s_-]+", "-", value.upper()).removeprefix("CREATIVE-COMMONS-")
    if not words.startswith("CC"):
        words = f"CC-{words}"
    for guess in (words, f"{words}-4.0", f"{words}-1.0"):
        try:
            return str(canonicalize_license_expression(guess))
        except InvalidLicenseExpression:
            continue
    return "CC-BY-4.0, CC0-1.0 or another of https://spdx.org/licenses"


def wavelength(value: float) -> float:
    """Return a wavelength of light in nanometers."""
    if _SHORTEST <= value <= _LONGEST:
        return value
    micrometers, meters = value * 1e3, value * 1e9
    likely = next((n for n in (micrometers, meters) if _SHORTEST <= n <= _LONGEST), 520.0)
    raise ValueError(f"{value:g} is no wavelength of light in nanometers; write {likely:g}")


def wavelengths(value: list[float]) -> list[float]:
    """Return the two ends of a band in nanometers."""
    low, high = (wavelength(end) for end in sized(2)(value))
    if low >= high:
        raise ValueError(f"{value} is no band; write the shorter wavelength first")
    return value


def sized(*counts: int) -> Callable[[list[Any]], list[Any]]:
    """Return a check that a list is of one of these lengths."""

    def checked(value: list[Any]) -> list[Any]:
        if len(value) not in counts:
            many = " or ".join(map(str, counts))
            raise ValueError(f"{shown(value)} has {len(value)} entries; write {many}: x, y, z")
        return value

    return checked


def length(value: float) -> float:
    """Return a voxel size in micrometers."""
    if not _SMALLEST <= value <= _LARGEST:
        raise ValueError(f"{value:g} is no voxel size in micrometers; write 0.5 for 500 nm")
    return value


def positive(value: float) -> float:
    """Return a number above 0."""
    if value <= 0:
        raise ValueError(f"{value:g} is not above 0; leave it out where it is not known")
    return value


def aperture(value: float) -> float:
    """Return the numerical aperture of a lens."""
    if not 0 < value <= 2:
        raise ValueError(f"{value:g} is no numerical aperture; write a number up to 2, such as 0.8")
    return value


def orientation(value: str, count: int = 3) -> str:
    """Return a letter for each axis, one of each pair of opposites."""
    pairs = [next((pair for pair in _OPPOSITES if letter in pair), "") for letter in value]
    if len(value) != count or "" in pairs or len(set(pairs)) != count:
        raise ValueError(
            f"{shown(value)}: write {count} letters, one an axis and at most one of each of "
            f"{', '.join('/'.join(pair) for pair in _OPPOSITES)}, such as {'RAS'[:count]}"
        )
    return value


def rrid(value: str) -> str:
    """Return a research resource identifier."""
    value = text(value)
    if not _RRID.fullmatch(value):
        raise ValueError(
            f"{shown(value)} is no RRID; write RRID:SCR_020999, or RRID:MGI:5576233: a prefix of "
            "scicrunch.org/resources and what it numbers"
        )
    return value


def shown(value: object) -> str:
    """Return a value as messages show it."""
    words = repr(value)
    return words if len(words) <= 80 else f"{words[:77]}…'"
