"""How the API's description says that callers may tell who they are."""

from typing import Any

from microtome_service.problems import responses

# They ask nobody.
_OPEN = ("/health/", "/metrics")
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, or a signed token of the issuer that the service trusts. Public "
    "data needs none. `Token` is taken for `Bearer`.",
}


def describe_credentials(document: dict[str, Any]) -> None:
    """Add to an OpenAPI document that credentials may be sent, and what is said of bad ones."""
    document.setdefault("components", {})["securitySchemes"] = {"credentials": _BEARER}
    # Either of the two: none is enough for public data.
    document["security"] = [{}, {"credentials": []}]
    refusal = {str(status): told for status, told in responses(401).items()}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path.startswith(_OPEN):
                operation["security"] = []
            else:
                operation["responses"] = {**operation["responses"], **refusal}
