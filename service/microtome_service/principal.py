"""Who asks."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks.

    Parameters
    ----------
    name : str
        As logs and audits call them; ``anonymous`` for those who show no credentials.
    """

    name: str


ANONYMOUS = Principal("anonymous")
