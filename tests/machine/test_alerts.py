"""What is wrong with a machine reaches the lab's webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.webhook import Webhook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.machine import Machine

HOST = "10.0.2.2"  # this computer's loopback, to QEMU's guests
TRUST = "/run/systemd/system/secondlock-alerts.service.d"
LOOK = "secondlock-status --quiet; systemctl start secondlock-alerts.service"


def test_a_freeze_is_told_to_the_lab_once_and_that_it_is_over(
    machine: Machine, tmp_path: Path
) -> None:
    person = machine.researcher()
    assert machine.client.login(person).entered
    spent = f"/var/lib/secondlock/spent/{person.name}.json"
    with Webhook(tmp_path, HOST).open() as lab:
        machine.succeed("cat >/run/lab.pem", stdin=lab.certificate.read_bytes())
        conf = b"[Service]\nEnvironment=SSL_CERT_FILE=/run/lab.pem\n"
        machine.succeed(f"mkdir -p {TRUST}; cat >{TRUST}/trust.conf; systemctl daemon-reload", conf)
        try:
            machine.lab.webhook = lab.url
            machine.apply()
            machine.succeed(f'sed -i \'s/"frozen": false/"frozen": true/\' {spent}')
            for _ in range(2):
                machine.succeed(LOOK)
            what = f"{person.name} is frozen after too many wrong codes: the key may be stolen"
            assert [what in each["new"] for each in lab.got] == [True]
            assert machine.status()["alerts"] == {"error": None}
            machine.succeed(f'sed -i \'s/"frozen": true/"frozen": false/\' {spent}')
            machine.succeed(LOOK)
            assert what in lab.got[-1]["over"]
            # Not in the command itself, which the guest agent has logged.
            machine.succeed("cat >/run/needle", stdin=b"s3cret")
            machine.fail("journalctl -b -o cat | grep -F -f /run/needle")
        finally:
            machine.lab.webhook = ""
            machine.succeed(f"rm -r {TRUST}; systemctl daemon-reload")
            machine.apply()
    assert machine.status()["alerts"] is None
