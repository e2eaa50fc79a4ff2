"""Sessions of intern with one BossDB: as whom, one a thread, and what failures mean."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from configparser import Error as ConfigError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, TypeVar

from intern.remote.boss import BossRemote
from intern.service.boss.httperrorlist import HTTPErrorList
from requests import HTTPError, RequestException
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, JSONDecodeError, SSLError

from microtome_core.errors import InputError, MicrotomeError, SourceError, StorageError
from microtome_ingest.hosts import HostRefused, Hosts
from microtome_ingest.sources.bossdb_address import PUBLIC_HOST, Address
from microtome_ingest.sources.bossdb_guard import GuardedAdapter, Unfit

T = TypeVar("T")

TOKEN_VARIABLE = "MICROTOME_BOSSDB_TOKEN"  # noqa: S105 - where it is, not what it is
_PUBLIC_TOKEN = "public"  # noqa: S105 - everybody's
_TOKEN = re.compile(r"[\x21-\x7e]{1,4096}")
# What may hold the token is not repeated.
_IMPOSSIBLE = (InvalidURL, InvalidSchema, InvalidHeader, JSONDecodeError)
_MAY_PASS = {408, 425, 429}
_TRIES, _PAUSE, _LONGEST_PAUSE = 7, 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Account:
    """Where to log in, and as whom; shown without the token.

    Parameters
    ----------
    protocol, host : str
    token : str
    """

    protocol: str
    host: str
    token: str

    def __repr__(self) -> str:
        return f"<Account at {self.protocol}://{self.host}>"


def account_of(address: Address, environment: Mapping[str, str]) -> Account:
    """Return the account for an address.

    Without a host in the address, intern's configuration (``~/.intern/intern.cfg``, else
    ``INTERN_PROTOCOL``, ``INTERN_HOST`` and ``INTERN_TOKEN``) says it, else it is the public one.
    A token of that configuration goes to its own host only.

    Raises
    ------
    SourceError
        The configuration cannot be read.
    InputError
        A token that no header can hold; it is not repeated.
    """
    configured = _configured(address)
    place = configured or Account("https", PUBLIC_HOST, _PUBLIC_TOKEN)
    if address.host:
        own = configured and (configured.protocol, configured.host.lower()) == (
            address.protocol,
            address.host,
        )
        token = place.token if own else _PUBLIC_TOKEN
        place = Account(address.protocol, address.host, token)
    token = environment.get(TOKEN_VARIABLE) or place.token
    if not _TOKEN.fullmatch(token):
        raise InputError(f"the token for {place.host}: expected letters and digits without spaces")
    return replace(place, token=token)


def _configured(address: Address) -> Account | None:
    try:
        remote = BossRemote()
    except (OSError, ConfigError, LookupError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is None:
            return None  # intern's own: neither a file nor variables
        # The parser repeats lines of the file, in which the token is.
        raise SourceError(
            address, f"intern's configuration cannot be read ({type(error).__name__})"
        ) from None
    service = remote.volume_service
    return Account(service.base_protocol, service.base_url, remote.token_volume)


class Session:
    """One intern, and the adapter below it; for one thread at a time."""

    def __init__(self, account: Account, hosts: Hosts) -> None:
        self.adapter = GuardedAdapter(hosts)
        # intern makes a file with interpolation of this, which not every token survives.
        place = {"protocol": account.protocol, "host": account.host, "token": _PUBLIC_TOKEN}
        self.remote = BossRemote(place)
        self.remote.token_project = account.token
        self.remote.token_metadata = account.token
        self.remote.token_volume = account.token
        for session in self._sessions():
            # A password in ~/.netrc would take the place of the token.
            session.trust_env = False
            session.mount("http://", self.adapter)
            session.mount("https://", self.adapter)

    def close(self) -> None:
        """Close its connections."""
        for session in self._sessions():
            session.close()

    def _sessions(self) -> list[Any]:
        remote = self.remote
        services = (remote.project_service, remote.metadata_service, remote.volume_service)
        return [service.session for service in services]


class Sessions:
    """As many sessions as there are threads that ask at once.

    Parameters
    ----------
    address : Address
        For messages.
    account : Account
    hosts : Hosts
    """

    def __init__(self, address: Address, account: Account, hosts: Hosts) -> None:
        self._address, self._account, self._hosts = address, account, hosts
        self._idle: list[Session] = []
        self._lock = Lock()

    def ask(self, what: str, question: Callable[[Session], T]) -> T:
        """Return what `question` does, asked anew a few times where that may help.

        Parameters
        ----------
        what : str
            What is asked for, for messages.
        question : callable
            Uses the session that it is given.

        Raises
        ------
        SourceError
            Not there, not allowed, or not what a BossDB answers.
        StorageError
            A failure that may pass.
        """
        with self._session() as session:
            for attempt in range(_TRIES - 1):
                try:
                    return question(session)
                except Exception as error:  # intern's, requests', urllib3's and its own
                    failure = self._told(what, error)
                    if not isinstance(failure, StorageError) and not isinstance(error, Unfit):
                        raise failure from error
                    time.sleep(_pause(error, attempt))
            try:
                return question(session)
            except Exception as error:
                raise self._told(what, error) from error

    def close(self) -> None:
        """Close what is idle; a later question opens anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with self._lock:
            session = self._idle.pop() if self._idle else None
        session = session or Session(self._account, self._hosts)
        try:
            yield session
        finally:
            with self._lock:
                self._idle.append(session)

    def _told(self, what: str, error: Exception) -> MicrotomeError:
        """Return what a failure means to the user."""
        if isinstance(error, MicrotomeError) and not isinstance(error, HostRefused):
            return error
        if (answer := _answer(error)) is not None:
            return self._refusal(what, answer)
        if isinstance(error, RequestException | OSError) and not _futile(error):
            text = f"{type(error).__name__}: {self._clean(str(error))}"
            return StorageError(f"{self._address}: {what}: {text}")
        return SourceError(self._address, self._reason(what, error))

    def _reason(self, what: str, error: Exception) -> str:
        """Return why asking again would not help."""
        if isinstance(error, HostRefused):
            return str(error)
        if isinstance(error, Unfit):
            return f"{what}: the answer holds {error}"
        if isinstance(error, JSONDecodeError):
            return f"{what}: no BossDB answers there: not JSON"
        if isinstance(error, SSLError):
            return f"{what}: the server's certificate is not to be trusted"
        if isinstance(error, _IMPOSSIBLE):
            return f"{what}: cannot be asked for: {type(error).__name__}"
        text = f"{type(error).__name__}: {self._clean(str(error))}"
        return f"{what}: not what a BossDB answers: {text}"

    def _refusal(self, what: str, answer: Any) -> MicrotomeError:  # noqa: ANN401 - requests' own
        status = int(answer.status_code)
        if status in {401, 403}:
            hint = f"{TOKEN_VARIABLE} is the token of one who may read it"
            return SourceError(self._address, f"{what}: access denied (HTTP {status}): {hint}")
        if status == 404:
            return SourceError(self._address, f"{what}: not found (HTTP 404)")
        reason = f"{what}: the server answers HTTP {status}{self._message(answer)}"
        if status >= 500 or status in _MAY_PASS:
            return StorageError(f"{self._address}: {reason}")
        return SourceError(self._address, reason)

    def _message(self, answer: Any) -> str:  # noqa: ANN401
        """Return what a BossDB says of an error, after a colon."""
        try:
            told = answer.json()
            return f": {self._clean(str(told['message']))}"
        except (ValueError, LookupError, TypeError):
            return ""

    def _clean(self, text: str) -> str:
        """Return a text on one line, short and without the token."""
        token = self._account.token
        return " ".join(text.replace(token, "…" if token != _PUBLIC_TOKEN else token).split())[:300]


def status_of(error: SourceError) -> int:
    """Return the HTTP status that an error of `Sessions.ask` came from, or 0."""
    answer = _answer(error.__cause__) if isinstance(error.__cause__, Exception) else None
    return int(answer.status_code) if answer is not None else 0


def _answer(error: Exception) -> Any | None:  # noqa: ANN401
    """Return the answer that intern found wanting."""
    if isinstance(error, HTTPErrorList) and error.http_errors:
        error = error.http_errors[0]
    return error.response if isinstance(error, HTTPError) else None


def _futile(error: Exception) -> bool:
    """Tell whether a request that failed below HTTP would do so again."""
    untrusted = isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error)
    return untrusted or isinstance(error, _IMPOSSIBLE)


def _pause(error: Exception, attempt: int) -> float:
    """Return how long to wait: what the server asks for, else longer each time."""
    answer = _answer(error)
    asked = "" if answer is None else answer.headers.get("Retry-After", "")
    seconds = float(asked) if asked.isdecimal() else _PAUSE * 2**attempt
    return min(seconds, _LONGEST_PAUSE)
