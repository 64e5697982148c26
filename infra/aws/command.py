"""Commands of `aws` for a person to type, which shall ask in the stack's account and region."""

from __future__ import annotations

from dataclasses import dataclass

from infra.model.text import shell_line

PROFILE = "aws:profile"
"""What the stack's configuration calls the profile that its provider takes its credentials by."""


@dataclass(frozen=True)
class CommandLine:
    """AWS's command line, as a stack needs it: without an option, what the shell says counts."""

    region: str | None = None
    profile: str | None = None

    def line(self, words: str) -> str:
        """`aws` with these words."""
        options = {"--region": self.region, "--profile": self.profile}
        given = [word for name, value in options.items() if value for word in (name, value)]
        return " ".join(["aws", words, *([shell_line(given)] if given else [])])
