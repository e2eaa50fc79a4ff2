"""The address of a layer is its page's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import microtome
from microtome.address import Address, dataset_of, meant
from microtome.errors import AddressError


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host/demo/brain/neurons", "http://host"),
        ("https://host:8443/demo/brain/neurons/", "https://host:8443"),
        ("http://host/some/prefix/demo/brain/neurons", "http://host/some/prefix"),
        ("http://[::1]:80/demo/brain/neurons", "http://[::1]:80"),
        ("http://host/api/datasets/demo/brain/neurons", "http://host"),
        ("http://host/some/prefix/api/datasets/demo/brain/neurons/", "http://host/some/prefix"),
        (" http://host/demo/brain/neurons?level=2#!{} ", "http://host"),
        ("HTTP://Host//demo/brain//neurons", "http://Host"),
    ],
)
def test_an_address_is_a_service_and_a_layer(url: str, base: str) -> None:
    """Prefix, port, trailing slash, query and fragment are understood."""
    address = Address.parse(url)
    assert address.base == base
    assert str(address.layer) == "demo/brain/neurons"
    assert address.url == f"{base}/demo/brain/neurons"
    assert address.api == f"{base}/api/datasets/demo/brain/neurons"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "no http or https"),
        ("demo/brain/neurons", "no http or https"),
        ("ftp://host/demo/brain/neurons", "no http or https"),
        ("s3://bucket/demo/brain/neurons", "a store where it lies"),
        ("./store/demo/brain/neurons", "a store where it lies"),
        ("http:///demo/brain/neurons", "no http or https"),
        ("http://host/brain", "expected collection/dataset/layer"),
        ("http://host/demo/brain", "http://host/api/datasets/demo/brain as JSON"),
        ("http://host/a/api/datasets/demo/brain", "http://host/a/demo/brain shows in a browser"),
        ("http://host/demo/brain/Neurons", "'Neurons'"),
        ("http://host:port/demo/brain/neurons", "[Pp]ort"),
        ("http://host:99999/demo/brain/neurons", "Port out of range"),
        ("http://[::1/demo/brain/neurons", "Invalid IPv6"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_address_is_refused(url: str, words: str) -> None:
    """The message says what is wrong and what an address looks like."""
    with pytest.raises(AddressError, match=words) as caught:
        Address.parse(url)
    assert "https://host/collection/dataset/layer" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://host/demo/brain", "http://host"),
        ("http://host/demo/brain/?q=1", "http://host"),
        ("http://host/some/prefix/api/datasets/demo/brain", "http://host/some/prefix"),
        ("http://host/demo/brain/neurons", None),
        ("http://host/brain", None),
        ("http://host/demo/Brain!", None),
    ],
)
def test_the_address_of_a_dataset_is_known(url: str, base: str | None) -> None:
    """By two names where a layer has three."""
    found = dataset_of(url)
    assert (found and (found[0], str(found[1]))) == (base and (base, "demo/brain"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("localhost:8000/demo/brain/neurons", "http://localhost:8000/demo/brain/neurons"),
        ("127.0.0.1:8000/demo/brain/neurons", "http://127.0.0.1:8000/demo/brain/neurons"),
        ("brain.example.org:80/a/b/c", "http://brain.example.org:80/a/b/c"),
        ("http:/host/a/b/c", "http://host/a/b/c"),
        ("https//host/a/b/c", "https://host/a/b/c"),
    ],
)
def test_a_mistyped_address_is_told_how_it_was_meant(text: str, address: str) -> None:
    """A forgotten scheme, or slash: of `open`, too, which takes places in stores beside."""
    with pytest.raises(AddressError, match=f"did you mean {address}"):
        Address.parse(text)
    with pytest.raises(AddressError, match=f"did you mean {address}"):
        microtome.open(text)


@pytest.mark.parametrize("text", ["store/demo/brain/em", "/a/b:1/c", "C:/a/b/c", "s3://bucket:1/a"])
def test_places_in_stores_are_no_mistyped_addresses(text: str) -> None:
    """Nothing is suggested for them."""
    assert meant(text) is None


def test_a_password_is_refused_and_not_repeated() -> None:
    """An address with a password in it would show in every message."""
    for url in ("http://me:secret@host/a/b/c", "ftp://me:secret@host/a/b/c"):
        with pytest.raises(AddressError) as caught:
            Address.parse(url)
        assert "secret" not in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser fail in another way."""
    try:
        address = Address.parse(f"http://{text}")
    except AddressError:
        return
    assert Address.parse(address.url) == address
