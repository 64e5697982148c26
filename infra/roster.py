"""The roster: who may enter one machine, and with which factors. Secret."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from infra.enrollment import Enrollment, HostKey
from infra.model.networks import collapse
from infra.model.person import SSH, WEB, InstanceRequest, remember_hours
from infra.model.retired import RetiredEnrollment, homes
from infra.model.settings import Settings
from infra.model.shares import MemberShare
from infra.oidc import authority
from infra.web import Certificate

VERSION = 1
"""Of the document's form; a machine refuses one that it does not know."""


def build_roster(
    *,
    settings: Settings,
    machine: str,
    requests: Sequence[InstanceRequest],
    enrollments: Mapping[str, Enrollment],
    host_key: HostKey,
    retired: Sequence[RetiredEnrollment],
    shares: Mapping[str, MemberShare] | None = None,
    closed_from: dt.datetime | None = None,
    web: Certificate | None = None,
) -> dict[str, Any]:
    """The roster of a machine for the requests that share it.

    `enrollments` and `shares` are keyed by researcher. Of the retired ids those of the machine's
    own people are taken, so that one leaver does not touch every machine of the stack. `web` is
    there where anybody comes by HTTPS. The same
    inputs in any order give the same roster. Raises KeyError when an enrollment is missing.
    """
    members = {request.researcher for request in requests}
    people = {machine, *members}
    left = {name: home for name, home in homes(retired, machine, members).items() if home != "keep"}
    by_ssh = [request for request in requests if SSH in request.access]
    cidrs = [cidr for request in by_ssh for cidr in request.allowed_from]
    return {
        "version": VERSION,
        "stack": settings.stack,
        "machine": machine,
        "host_key": host_key.private_openssh,
        "allowed_from": collapse(cidrs),
        "retired": sorted(
            {one.enrollment for one in retired if one.researcher in people and one.part is None}
        ),
        "researchers": {
            request.researcher: _entry(
                request,
                enrollments[request.researcher],
                settings,
                (shares or {}).get(request.researcher),
            )
            for request in requests
        },
        **({"homes": left} if left else {}),
        **({"closes": int(closed_from.timestamp())} if closed_from else {}),
        **({"webhook": settings.alert_webhook} if settings.alert_webhook else {}),
        **({"web": _door(web, requests, settings)} if web is not None else {}),
    }


def web_networks(requests: Sequence[InstanceRequest]) -> list[str]:
    """From where any of them comes by HTTPS; none where nobody does."""
    by_web = [request for request in requests if WEB in request.access]
    return collapse([cidr for request in by_web for cidr in request.web_allowed_from])


def _door(
    web: Certificate, requests: Sequence[InstanceRequest], settings: Settings
) -> dict[str, Any]:
    known = any(request.oidc is not None for request in requests)
    return {
        "host": web.host,
        "certificate": web.certificate,
        "key": web.key,
        "ends": int(web.ends.timestamp()),
        "allowed_from": web_networks(requests),
        **({"provider": _provider(settings)} if known else {}),
    }


def _provider(settings: Settings) -> dict[str, Any]:
    """Who vouches for those who come by a provider, and what it has to say."""
    return {
        "issuer": settings.oidc_issuer,
        "client": settings.oidc_client_id,
        "secret": settings.oidc_client_secret,
        "claim": settings.oidc_claim,
        "acr": list(settings.oidc_acr),
        **({"authority": trusted} if (trusted := authority(settings)) else {}),
    }


def to_json(roster: Mapping[str, Any]) -> str:
    """The roster's one spelling: the same bytes for the same roster at every run."""
    return json.dumps(roster, sort_keys=True, separators=(",", ":"))


def _entry(
    request: InstanceRequest,
    enrollment: Enrollment,
    settings: Settings,
    share: MemberShare | None,
) -> dict[str, Any]:
    entry = {
        "ssh_keys": list(request.ssh_keys),
        "factors": request.factors,
        "enrollment": request.enrollment,
        "end_sessions": request.end_sessions,
        **enrollment.entry,
    }
    if request.access != (SSH,):
        entry["access"] = list(request.access)
    if WEB in request.access:
        entry["web_from"] = collapse(request.web_allowed_from)
    if request.oidc is not None:
        entry["web_identity"] = request.oidc
    if hours := remember_hours(request, settings.remember_hours):
        entry["remember"] = {"hours": hours, "allowed_from": collapse(request.allowed_from)}
    if share is not None:
        entry["share"] = {name: value for name, value in asdict(share).items() if value is not None}
    return entry
