"""Talking to AWS as this machine's role: a client, and patience when nobody answers."""

import contextlib
import json
import random
import time
from pathlib import Path
from typing import Any

from guest import paths
from guest.system import GuestError, folder, write

BASE, LONGEST = 30, 300  # seconds


def client(service: str, machine: dict[str, Any]) -> Any:
    """A botocore client; its credentials are the instance role's, by IMDSv2.

    `machine` is machine.json; its `endpoint` stands in for AWS where it is set.
    """
    import botocore.session
    from botocore.config import Config

    patience = Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 3})
    session = botocore.session.get_session()
    session.register("before-parse", _refuse_web_page)
    return session.create_client(
        service,
        region_name=machine["region"],
        endpoint_url=machine.get("endpoint") or None,
        config=patience,
    )


def _refuse_web_page(**event: Any) -> None:
    """A proxy's page is no answer of AWS's: botocore would take it for an empty one."""
    answer = event["response_dict"]
    html = "html" in answer["headers"].get("content-type", "")
    if html and answer["body"].lstrip().startswith(b"<"):  # other answers may call themselves so
        raise GuestError("AWS is not reached: something answers with a web page in its place")


def fault(error: Exception) -> GuestError:
    """What botocore raised, in one line; neither form of it ever holds a parameter's value."""
    answer = getattr(error, "response", None)
    if answer:
        said = answer["Error"]
        return GuestError(f"AWS refuses: {said['Code']}: {said.get('Message', '')}"[:300])
    return GuestError(f"AWS is not reached: {error}"[:300])


def delay(failures: int, luck: float) -> float:
    """Seconds to wait after so many failures in a row; `luck`, 0 to 1, spreads the machines."""
    longest: float = min(LONGEST, BASE * 2 ** min(failures - 1, 10))
    return longest * (0.5 + luck / 2)


class Patience:
    """What a job that a timer starts remembers of its failures, until the next boot."""

    def __init__(self, job: str) -> None:
        self._file: Path = paths.RUN / f"{job}.patience"
        folder(paths.RUN, 0o755)
        self._failures, self._until = 0, 0.0
        with contextlib.suppress(OSError, ValueError):
            self._failures, self._until = json.loads(self._file.read_text())

    def waits(self) -> bool:
        """Whether it is too early for another try."""
        return time.monotonic() < self._until

    def failed(self) -> None:
        """The next try comes later than the last one did."""
        self._failures += 1
        wait = delay(self._failures, random.random())  # noqa: S311 (no secret hangs on it)
        write(self._file, json.dumps([self._failures, time.monotonic() + wait]), 0o600)

    def worked(self) -> None:
        """From now on there is nothing to wait for."""
        self._file.unlink(missing_ok=True)
