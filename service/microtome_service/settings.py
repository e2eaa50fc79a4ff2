"""What an operator can choose, as one frozen value that is handed down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from microtome_core.errors import InputError
from microtome_service.auth.addresses import check_issuer_url
from microtome_service.settings_file import read_file

PREFIX = "MICROTOME_"
_MIB = 1 << 20
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Settings:
    """How one service runs. Each field is read from ``MICROTOME_`` and its name in capitals.

    Parameters
    ----------
    root : str
        The store: a folder, ``file://``, ``s3://`` or ``memory://``.
    host, port : str, int
        Where to listen; port 0 takes a free one.
    workers : int
        Processes. Each has a cache and limits of its own.
    title : str
        Heading of the pages.
    public_url : str, optional
        Address that the pages print, where a proxy hides the one that the service sees.
    cors_origins : tuple of str
        Origins whose scripts may read; ``*`` is any. Cookies are never allowed.
    cache_bytes : int
        Decoded chunks kept in memory.
    max_cutout_bytes : int
        Voxels of one answer in memory at one time, uncompressed. NPY, raw, zstd, NRRD and zips are
        streamed beyond it; other formats are 413.
    max_answer_bytes : int
        Voxels of one streamed answer in all; 0 is without end.
    slab_bytes : int
        Voxels that a streamed answer reads at one time, give or take a row of chunks; smaller
        answers are read at once.
    max_decoded_bytes : int
        Whole chunks that one answer makes the service decode.
    max_chunks : int
        Chunks that one answer touches.
    max_thumbnail_bytes : int
        Whole chunks decoded for one thumbnail.
    picture_folder : str
        Keeps pictures of pages between runs; where it is empty, `microtome serve` takes one of the
        user's, and ``none`` keeps them in memory alone, as apps do that are made otherwise.
    picture_bytes : int
        Of all files in it.
    max_flying_bytes : int
        Voxels of all answers that are read, encoded or sent at one time; further ones wait.
    max_waiting : int
        Answers that wait for that; further ones are 503.
    max_share : float
        What part of that memory and queue one caller may have: a principal, or an anonymous
        address.
    max_boxes, max_body_bytes : int
        Regions of one batch, and bytes of the JSON that lists them.
    wait_seconds, read_seconds : float
        Longest wait for memory, and for storage.
    stalled_seconds : float
        How long a caller may take nothing of an answer before it is cut off (Linux alone).
    recheck_seconds : float
        How long what was seen in the store is believed.
    index_seconds : float
        Rest between two looks at the records of a store that is too large to be looked through
        for each search.
    tile_max_age : int
        Seconds for which browsers may keep a tile unasked.
    anonymous_writes : bool
        Let everybody write into writable layers, and create and delete them through BossDB's API:
        for a service that nobody else can reach.
    access_log : bool
        Write a line for every request.
    database_url : str
        Of keys and grants: ``sqlite:////file`` or ``postgresql+psycopg://…``; where it is empty, a
        file beside the store's folder, if there is one.
    default_visibility : str
        ``public`` or ``private``: who may read the datasets of which nothing else is said.
    oidc_issuer, oidc_audience : str
        Whose signed tokens are accepted, and the name by which they must mean this service.
    oidc_name_claim, oidc_groups_claim : str
        Where a token says who it is for, and which groups they are in.
    oidc_client_id, oidc_client_secret : str
        By which the issuer knows this service; with the first, people sign in by browser. The
        second is empty for a public client.
    oidc_scopes : tuple of str
        What the issuer is asked to say of them.
    log_format : str
        ``plain`` lines for people, or ``json``, one object a line.
    otlp_endpoint : str, optional
        Collector of OpenTelemetry traces over HTTP, such as ``http://collector:4318``.
    grace_seconds : float
        Longest wait, after SIGTERM, for answers under way.
    drain_seconds : float
        How long, after SIGTERM, new requests are still answered while ``/health/ready`` is 503.
    request_seconds : float
        How long a caller may take to send a request's head, and be silent within its body.
    max_connections : int
        Connections of one process; further ones get 503.
    trusted_proxies : tuple of str
        Addresses or networks whose ``X-Forwarded-For`` is believed.

    Examples
    --------
    >>> Settings.from_environment({"MICROTOME_ROOT": "/data", "MICROTOME_PORT": "80"}).port
    80
    """

    root: str
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    title: str = "microtome"
    public_url: str = ""
    cors_origins: tuple[str, ...] = ("*",)
    cache_bytes: int = _GIB
    max_cutout_bytes: int = _GIB
    max_answer_bytes: int = 0
    slab_bytes: int = 32 * _MIB
    max_decoded_bytes: int = 4 * _GIB
    max_chunks: int = 65536
    max_thumbnail_bytes: int = 128 * _MIB
    picture_folder: str = ""
    picture_bytes: int = _GIB
    max_flying_bytes: int = 2 * _GIB
    max_waiting: int = 256
    max_share: float = 0.5
    max_boxes: int = 4096
    max_body_bytes: int = _MIB
    wait_seconds: float = 30.0
    read_seconds: float = 120.0
    stalled_seconds: float = 60.0
    recheck_seconds: float = 2.0
    index_seconds: float = 30.0
    tile_max_age: int = 60
    anonymous_writes: bool = False
    access_log: bool = False
    database_url: str = field(default="", repr=False)
    default_visibility: str = "public"
    oidc_issuer: str = ""
    oidc_audience: str = ""
    oidc_name_claim: str = "sub"
    oidc_groups_claim: str = "groups"
    oidc_client_id: str = ""
    oidc_client_secret: str = field(default="", repr=False)
    oidc_scopes: tuple[str, ...] = ("openid", "profile", "email")
    log_format: str = "plain"
    otlp_endpoint: str = ""
    grace_seconds: float = 30.0
    drain_seconds: float = 0.0
    request_seconds: float = 30.0
    max_connections: int = 1024
    trusted_proxies: tuple[str, ...] = ("127.0.0.1",)

    def __post_init__(self) -> None:
        if not self.root:
            raise InputError("root is empty: expected a folder or a URL such as s3://bucket/prefix")
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if not value >= lowest:  # NaN is neither
                raise InputError(f"{name} = {value}: expected {lowest} or more")
        if self.log_format not in ("plain", "json"):
            raise InputError(f"log_format = {self.log_format[:40]!r}: expected plain or json")
        if self.max_share > 1:
            raise InputError(f"max_share = {self.max_share}: expected 0.01 to 1")
        if self.port > 65535:
            raise InputError(f"port = {self.port}: expected 0 to 65535")
        if self.default_visibility not in ("public", "private"):
            raise InputError(
                f"default_visibility = {self.default_visibility!r}: expected public or private"
            )
        self._check_issuer()

    def _check_issuer(self) -> None:
        if not self.oidc_issuer:
            if self.oidc_client_id:
                raise InputError("oidc_issuer is empty: needed with oidc_client_id")
            return
        check_issuer_url("oidc_issuer", self.oidc_issuer)
        for name in ("oidc_audience", "oidc_name_claim"):
            if not getattr(self, name):
                raise InputError(f"{name} is empty: needed with oidc_issuer")
        if self.oidc_client_id and "openid" not in self.oidc_scopes:
            raise InputError(f"oidc_scopes = {self.oidc_scopes}: expected openid among them")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read every field that `environment` names, others from the file MICROTOME_SETTINGS.

        Raises
        ------
        InputError
            No root, a value that is not of its field's type, or a key of the file that is unknown.
        """
        path = environment.get(f"{PREFIX}SETTINGS")
        kept = read_file(path, _kinds(cls)) if path else {}
        if f"{PREFIX}ROOT" not in environment and "root" not in kept:
            raise InputError(f"{PREFIX}ROOT is not set: expected the store's folder or URL")
        names = {f.name: f"{PREFIX}{f.name.upper()}" for f in fields(cls)}
        given = {field: name for field, name in names.items() if name in environment}
        told = {f: _value(cls, f, name, environment[name]) for f, name in given.items()}
        return cls(**{**kept, **told})

    def to_environment(self) -> dict[str, str]:
        """Return what `from_environment` reads; so worker processes get their settings."""
        return {f"{PREFIX}{f.name.upper()}": _text(getattr(self, f.name)) for f in fields(self)}


# Zero would stop the service, or switch a limit off by mistake.
_LOWEST: Mapping[str, float] = {
    "port": 0, "workers": 1, "cache_bytes": 0, "max_cutout_bytes": 1, "max_decoded_bytes": 1,
    "max_chunks": 1, "max_thumbnail_bytes": 1, "max_flying_bytes": 1, "max_waiting": 0,
    "wait_seconds": 0, "read_seconds": 0.001, "stalled_seconds": 1, "recheck_seconds": 0,
    "index_seconds": 1,
    "tile_max_age": 0, "max_answer_bytes": 0, "slab_bytes": 1, "max_share": 0.01, "max_boxes": 1,
    "max_body_bytes": 1, "picture_bytes": 1, "grace_seconds": 0, "drain_seconds": 0,
    "request_seconds": 0.1, "max_connections": 2,
}  # fmt: skip


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _truth(text: str) -> bool:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
        text.strip().lower()
    ]


_PARSERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    str: (str, "text"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    bool: (_truth, "true or false"),
    tuple: (_words, "words with commas between"),
}


def _kinds(cls: type) -> dict[str, type]:
    return {f.name: str if f.name == "root" else type(f.default) for f in fields(cls)}


def _value(cls: type, field: str, name: str, text: str) -> Any:  # noqa: ANN401 - one of many types
    parse, expected = _PARSERS[_kinds(cls)[field]]
    try:
        return parse(text)
    except (ValueError, KeyError) as error:
        raise InputError(f"{name}={text[:80]!r}: expected {expected}") from error


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value).strip()
