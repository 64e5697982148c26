"""Both who ask AWS, an admin's computer and a machine, tell a web page from an answer of AWS's."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from cli.aws import session as on_the_computer
from tests.support.web_page import PAGE

on_the_machine: Any = importlib.import_module("guest.aws.api")
GuestError: Any = importlib.import_module("guest.system").GuestError

ASKERS = [on_the_computer._refuse_web_page, on_the_machine._refuse_web_page]
JSON, XML = b'{"nextSequenceToken": "1"}', b"<?xml version='1.0'?><Answer/>"


def _refuses(refuse: Any, kind: str | None, body: bytes) -> bool:
    headers = {} if kind is None else {"content-type": kind}
    try:
        refuse(response_dict={"headers": headers, "body": body})
    except (on_the_computer._WebPageError, GuestError):
        return True
    return False


@pytest.mark.parametrize("refuse", ASKERS, ids=["computer", "machine"])
def test_only_a_page_that_says_so_is_a_web_page(refuse: Any) -> None:
    for kind in ("text/html", "text/html; charset=utf-8", "application/xhtml+xml"):
        assert _refuses(refuse, kind, PAGE)
        assert _refuses(refuse, kind, b"\r\n " + PAGE)
        # As CloudWatch Logs calls an empty answer.
        assert not _refuses(refuse, kind, b"")
        assert not _refuses(refuse, kind, JSON)
    for other in (None, "text/xml", "application/x-amz-json-1.1"):
        assert not _refuses(refuse, other, XML)
