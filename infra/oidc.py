"""The OpenID provider that a stack names: what is wrong with it in settings and requests."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from cryptography import x509

from infra.model.person import problem_at
from infra.model.problems import Problem
from infra.web import MOST, certificate_pem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from infra.model.person import InstanceRequest
    from infra.model.settings import Settings

_NEEDED = {
    "oidc_issuer": "pulumi config set secondlock:oidcIssuer https://...",
    "oidc_client_id": "pulumi config set secondlock:oidcClientId ...",
    "oidc_client_secret": "pulumi config set --secret secondlock:oidcClientSecret",
}
_AUTHORITY = "pulumi config set secondlock:oidcAuthority < CA.pem"


def authority(settings: Settings) -> str:
    """Whom its certificates rest on, in PEM as machines take it; empty: those that Debian trusts.

    Raises ValueError for what is none.
    """
    return _spelt(settings.oidc_authority) if settings.oidc_authority else ""


@functools.lru_cache(maxsize=4)  # each machine's roster asks
def _spelt(text: str) -> str:
    found = x509.load_pem_x509_certificates(text.encode())
    if len(found) > MOST:
        raise ValueError(f"{len(found)} certificates; a machine takes {MOST}")
    return "".join(map(certificate_pem, found))


def setting_problems(settings: Settings) -> list[Problem]:
    """What is missing of a provider that is named; what is none of its authority's certificates."""
    if not settings.knows(*_NEEDED, "oidc_acr", "oidc_authority"):
        return []
    stack, found = settings.stack, []
    said = [name for name in _NEEDED if getattr(settings, name)]
    for name in _NEEDED if said or settings.oidc_acr or settings.oidc_authority else ():
        if name not in said:
            what = f"the OpenID provider is not whole: secondlock:{_key(settings, name)} is not set"
            found.append(Problem(None, None, what, f"{_NEEDED[name]} --stack {stack}"))
    try:
        authority(settings)
    except ValueError:
        what = f"secondlock:oidcAuthority: not one to {MOST} certificates that can be read"
        found.append(Problem(None, None, what, f"{_AUTHORITY} --stack {stack}"))
    return found


def request_problems(people: Iterable[InstanceRequest], settings: Settings) -> Iterator[Problem]:
    """Who shall come by a provider that the stack does not name."""
    if not settings.knows("oidc_issuer") or settings.oidc_issuer:
        return
    for person in people:
        if person.oidc is not None:
            mend = f"{_NEEDED['oidc_issuer']} --stack {settings.stack}; or remove the field"
            yield problem_at(person, ("oidc",), "the stack names no OpenID provider", mend)


def _key(settings: Settings, name: str) -> str:
    return str(type(settings).model_fields[name].alias)
