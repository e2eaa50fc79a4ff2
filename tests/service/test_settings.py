"""Settings come from MICROTOME_*, are checked, and go to worker processes unchanged."""

import pytest

from microtome_core.errors import InputError
from microtome_service.settings import Settings


def test_every_field_is_read_from_its_variable() -> None:
    """Numbers, words, lists and truths are read from MICROTOME_ and the field's name."""
    settings = Settings.from_environment(
        {
            "MICROTOME_ROOT": "s3://brains/all",
            "MICROTOME_WORKERS": "4",
            "MICROTOME_RECHECK_SECONDS": "0.5",
            "MICROTOME_CORS_ORIGINS": "https://a.example, https://b.example",
            "MICROTOME_ACCESS_LOG": "yes",
            "MICROTOME_SAMPLES": "/none/of/ours",
        }
    )
    assert settings == Settings(
        root="s3://brains/all",
        workers=4,
        recheck_seconds=0.5,
        cors_origins=("https://a.example", "https://b.example"),
        access_log=True,
    )


def test_settings_survive_the_way_through_the_environment() -> None:
    """What to_environment writes, from_environment reads."""
    settings = Settings(root="/data", title="A, B", cors_origins=("x", "y"), wait_seconds=1.5)
    assert Settings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "MICROTOME_ROOT"),
        ({"MICROTOME_ROOT": ""}, "root"),
        ({"MICROTOME_ROOT": "/data", "MICROTOME_READ_SECONDS": "nan"}, "read_seconds"),
        ({"MICROTOME_ROOT": "/d", "MICROTOME_PORT": "http"}, "MICROTOME_PORT='http'"),
        ({"MICROTOME_ROOT": "/d", "MICROTOME_PORT": "70000"}, "65535"),
        ({"MICROTOME_ROOT": "/d", "MICROTOME_WORKERS": "0"}, "workers = 0"),
        ({"MICROTOME_ROOT": "/d", "MICROTOME_ACCESS_LOG": "maybe"}, "true or false"),
        ({"MICROTOME_ROOT": "/d", "MICROTOME_MAX_CHUNKS": "-1"}, "max_chunks"),
    ],
)
def test_a_bad_value_is_named(environment: dict[str, str], words: str) -> None:
    """The error says which variable or field, what it holds and what was expected."""
    with pytest.raises(InputError, match=words):
        Settings.from_environment(environment)
