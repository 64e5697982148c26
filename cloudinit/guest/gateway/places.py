"""Where the HTTPS door's files lie on a machine, and who its services are."""

from pathlib import Path

from guest import paths

HUB = Path("/usr/local/lib/secondlock-hub")
"""JupyterHub and what it needs, as the image has it (image/hub.sh)."""

CONFIG = paths.ETC / "web"
"""What nginx and the hub are told of this machine; nothing in it is secret."""
HUB_CONFIG = CONFIG / "hub.json"
LISTEN, NAMES, PEOPLE = CONFIG / "listen.conf", CONFIG / "hub.conf", CONFIG / "people.conf"

ENDS = CONFIG / "certificate-ends"
"""When the certificate does, seconds since 1970."""

STATE = paths.STATE / "web"
"""Root's alone: the certificate with its key; of each person what their passphrase hashes to, and
from where they come."""
CERTIFICATE, KEY = STATE / "certificate.pem", STATE / "key.pem"
TLS = Path("/run/secondlock-tls")
"""Copies of these that nginx reads when it starts and when it is told of others (its unit)."""
PASSPHRASES, NETWORKS = STATE / "passphrases", STATE / "networks"

RUN = Path("/run/secondlock-gateway")
"""Root's alone: who came in (`tickets`), and what each open gate was told (`gates`)."""
TICKETS, GATES = RUN / "tickets", RUN / "gates"
OPEN = Path("/run/secondlock-gates")
"""Of each person their gate's: its socket, and what their browsers may not have."""

HUB_USER, WEB_USER = "secondlock-hub", "secondlock-web"
GATES_GROUP = "secondlock-gates"
"""Who may speak to gates: nginx and the hub."""


def gate(name: str) -> str:
    """The unit that leads to a person's Jupyter."""
    return f"secondlock-gate@{name}.service"
