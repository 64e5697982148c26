"""What is well of a file with faults: whoever looks for more of them goes on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from infra.model.explain import sound_fields
from infra.model.machine import SharedMachine
from infra.model.members import MachineRequest, machines_of
from infra.model.person import InstanceRequest
from infra.model.yaml_lines import Document

# For fields that have to be there.
_STAND_INS = {
    "researcher": "someone",
    "enrollment": "0123456789abcdef" * 2,
    "allowed_from": ["127.0.0.0/8"],
}
# With these no other field is at fault.
_LENIENT = {"factors": "password+totp", "open_to_world": True}


def sound_request(document: Document) -> InstanceRequest | None:
    """Networks and machine of a request, each as far as nothing is wrong with it.

    It names no network at all where one of them is wrong. None where nothing is left of the file.
    """
    sound = sound_fields(InstanceRequest, document)
    try:
        request = InstanceRequest.model_validate({**_STAND_INS, **sound, **_LENIENT})
    except ValidationError:
        return None
    if "allowed_from" not in sound:
        request = request.model_copy(update={"allowed_from": ()})
    request._document = document
    return request


def sound_machine(document: Document) -> SharedMachine:
    """A shared machine without the fields that are wrong: that it is there is known at least."""
    sound = sound_fields(SharedMachine, document)
    machine = SharedMachine.model_validate({"seats": 1, **sound})
    machine._document = document
    return machine


def known_machines(
    people: Sequence[InstanceRequest], shared: Mapping[str, SharedMachine]
) -> list[MachineRequest]:
    """Each machine that such requests ask for; a name may be a stand-in, and come twice."""
    own = [one for one in people if not isinstance(one.machine, str)]
    members = [one for one in people if isinstance(one.machine, str) and one.machine in shared]
    alone = [machine for person in own for machine in machines_of([person], shared)]
    return [*alone, *machines_of(members, shared)]
