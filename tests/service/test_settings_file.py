"""One TOML file holds settings; the environment wins; what is wrong in it is named."""

from pathlib import Path

import pytest

from microtome_core.errors import InputError
from microtome_service.settings import Settings


def load(path: Path, text: str, **environment: str) -> Settings:
    """Return the settings of a file and an environment."""
    path.write_text(text)
    return Settings.from_environment({"MICROTOME_SETTINGS": str(path), **environment})


def test_a_file_gives_what_the_environment_leaves_open(tmp_path: Path) -> None:
    """Every type is read; a whole number is a number; a variable wins over a key."""
    text = """
    root = "s3://brains/all"
    workers = 4
    wait_seconds = 5
    cors_origins = ["https://a.example"]
    access_log = true
    """
    settings = load(tmp_path / "a.toml", text, MICROTOME_WORKERS="2")
    assert settings == Settings(
        root="s3://brains/all",
        workers=2,
        wait_seconds=5.0,
        cors_origins=("https://a.example",),
        access_log=True,
    )
    # As worker processes get them: by the environment alone.
    assert Settings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rooot = '/data'", "'rooot' is unknown"),
        ("root = '/data'\n[cache]\nbytes = 3", "'cache' is unknown"),
        ("root = '/data'\nport = '80'", "port = '80': expected a whole number"),
        ("root = '/data'\nport = true", "port = True: expected a whole number"),
        ("root = '/data'\nport = 80.5", "port = 80.5: expected a whole number"),
        ("root = '/data'\naccess_log = 1", "access_log = 1: expected true or false"),
        ("root = '/data'\ncors_origins = 'x'", "cors_origins = 'x': expected a list"),
        ("root = '/data'\ncors_origins = [1]", "cors_origins"),
        ("root = ", "Invalid value"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(text: str, words: str, tmp_path: Path) -> None:
    """The error says which file and key, and what was expected."""
    with pytest.raises(InputError, match=r"b\.toml") as caught:
        load(tmp_path / "b.toml", text)
    assert words in str(caught.value)


def test_a_file_without_a_root_asks_for_it(tmp_path: Path) -> None:
    """Neither the file nor the environment names the store."""
    with pytest.raises(InputError, match="MICROTOME_ROOT"):
        load(tmp_path / "c.toml", "port = 80")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A misspelt path does not start a service with other settings."""
    with pytest.raises(InputError, match=r"none\.toml"):
        Settings.from_environment({"MICROTOME_SETTINGS": str(tmp_path / "none.toml")})


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"log_format": "xml"}, "plain or json"), ({"max_share": 1.5}, "max_share")],
)
def test_words_outside_of_their_range_are_named(changes: dict[str, object], words: str) -> None:
    """A form of logs that there is not, a share of more than all."""
    with pytest.raises(InputError, match=words):
        Settings(root="/data", **changes)  # type: ignore[arg-type]
