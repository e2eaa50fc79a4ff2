"""What is known of a layer, for people."""

from microtome_service.record_page import citation, lead_of, whole_of

DUMP = "Metadata:\nDimensions: T(3) x XY(2) x Z(5)\n" + "Camera: on\n" * 300


def test_a_headline_is_one_short_line() -> None:
    """A long line ends at a word, and a program's dump of settings is no headline at all."""
    told = {"session_description": "A brain of a mouse, cleared " * 9}
    assert len(lead_of(told)) <= 122
    assert lead_of(told).endswith((" mouse …", " cleared …", " A …", " of …", " brain …", " a …"))
    assert lead_of({"session_description": DUMP}) == ""
    assert whole_of({"session_description": DUMP}) == DUMP.strip()
    assert citation("lab/mouse", "http://x", {"session_description": DUMP}).text == (
        "Unknown authors. lab/mouse. http://x."
    )


def test_authors_stay_as_they_are_spelt() -> None:
    """A comma within a name is part of it."""
    names = [{"name": "Ramón y Cajal, Santiago"}, {"name": "Golgi, Camillo"}]
    told = citation("lab/mouse", "http://x", {"contributors": names})
    assert told.text.startswith("Ramón y Cajal, Santiago; Golgi, Camillo.")
    assert "author = {Ramón y Cajal, Santiago and Golgi, Camillo}" in told.bibtex
