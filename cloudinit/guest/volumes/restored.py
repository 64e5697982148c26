"""A state volume that was restored from a snapshot: on AWS it is another EBS volume than before.

Its memory of used codes is that of yesterday, and a machine that was made anew has no witness of
the rest. So the volume says which one it is, and where that is no longer so no emergency code on it
is good. What was left undone by a crash is done at the next look: the mark comes last.
"""

import json

from guest import paths
from guest.remember import person as remembered
from guest.system import GuestError, write
from guest.totp import codes

MARK = paths.STATE / "volume.json"


def look(volume: str) -> None:
    """Void what the state volume knows of codes if it is not the volume that it was.

    `volume` is its id now. One that does not say which it was (new, or of an older release) is
    marked. Raises GuestError.
    """
    before = _mark()
    if before is not None and before["volume"] == volume:
        return
    if before is not None:
        try:
            codes.void_all()
            remembered.start_anew()
            # Enrollments that were replaced since then stand there too: the door stays shut until
            # a roster says who may come in, and brings this back.
            paths.HOST_KEY.unlink(missing_ok=True)
        except (codes.CodesError, OSError) as error:
            raise GuestError(f"codes of a restored volume cannot be made void: {error}") from None
    _write(volume, before is not None)


def forgot() -> bool:
    """Whether the volume may lack enrollments: no roster was applied since it was restored."""
    before = _mark()
    return before is not None and bool(before["forgot"])


def caught_up() -> None:
    """From now on the volume knows again who is enrolled: a roster is applied. Raises GuestError"""
    before = _mark()
    if before is not None and before["forgot"]:
        _write(before["volume"], False)


def _mark() -> dict[str, object] | None:
    """What the volume says of itself; a damaged mark is that of no volume."""
    try:
        found = json.loads(MARK.read_text())
        return {"volume": found["volume"], "forgot": found["forgot"]}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return {"volume": None, "forgot": True}


def _write(volume: object, forgot: bool) -> None:
    write(MARK, json.dumps({"volume": volume, "forgot": forgot}) + "\n", 0o600)
