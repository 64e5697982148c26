"""A machine under test: really booted, filled by rosters as the program makes them."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import secrets
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudinit.boot import MachineValues, render_user_data
from cloudinit.bundle import bundle
from cloudinit.receive import receiver
from image.store import GoldenImage
from infra.enrollment import derive_host_key
from infra.local import clock, qemu
from infra.local.agent import AgentError, GuestAgent
from infra.local.image import golden_image
from infra.local.qmp import monitor
from infra.model.person import WEB, InstanceRequest
from infra.model.retired import RetiredEnrollment
from infra.model.settings import Settings
from infra.model.shares import MemberShare
from infra.roster import build_roster
from infra.web import Certificate, authority, certificate, host_of
from tests.support.browser import Browser
from tests.support.client import Client
from tests.support.people import Person, enroll, make_request

if TYPE_CHECKING:
    from collections.abc import Iterator

STACK, NAME = "test", "lab"
BOOT = 300  # seconds; an emulated boot takes about 60
STRANGER = (
    "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    " nobody-here@127.0.0.1"
)
SYNC = ["/usr/local/sbin/secondlock-sync", "apply"]


@dataclass(frozen=True)
class Network:
    """How a machine is reached when it is not by QEMU's user-mode network."""

    netdev: str
    launcher: tuple[str, ...]
    config: dict[str, Any]
    address: str
    allowed_from: tuple[str, ...]


@dataclass
class Lab:
    """Who is in a machine's roster, and what only the admin knows."""

    seed: str = field(default_factory=lambda: secrets.token_hex(32))
    serial: int = 0
    requests: dict[str, InstanceRequest] = field(default_factory=dict)
    retired: list[RetiredEnrollment] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    made: int = 0
    webhook: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the stack, by the names of `Settings`."""

    @classmethod
    def load(cls, path: Path) -> Lab:
        """What `save` wrote: a machine that an earlier run of the tests kept."""
        raw = json.loads(path.read_text())
        raw["requests"] = {
            name: InstanceRequest.model_validate_json(text)
            for name, text in raw["requests"].items()
        }
        raw["retired"] = [RetiredEnrollment.model_validate_json(text) for text in raw["retired"]]
        return cls(**raw)

    def save(self, path: Path) -> None:
        """Keep it beside the machine (it is secret: 0600)."""
        raw = {
            **vars(self),
            "requests": {name: one.model_dump_json() for name, one in self.requests.items()},
            "retired": [one.model_dump_json() for one in self.retired],
        }
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(raw, file)


class Machine:
    """One machine in the folder `place`; a machine that runs there already is adopted."""

    memory_mib = 4096
    closed_from: dt.datetime | None = None
    """From when on nobody is to be there; `apply` brings it to the machine."""
    issued: dt.date | None = None
    """The day on which its certificate is made, if it is not today."""
    patience = BOOT
    """Seconds for a boot."""

    def __init__(self, place: Path, network: Network | None = None, keep: bool = False) -> None:
        self.directory, self.data, self._keys = place / NAME, place / "data", place / "keys"
        self.audit = place / "audit" / f"{NAME}.jsonl"
        self._network, self._keep, self._file = network, keep, place / "people.json"
        for folder in (self.directory, self._keys):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.agent = GuestAgent(self.directory)
        self.lab = Lab()
        if qemu.is_running(self.directory):
            self.lab = Lab.load(self._file)
        self.host_key = derive_host_key(self.lab.seed, stack=STACK, machine=NAME)

    @property
    def values(self) -> MachineValues:
        """What its user-data says of it."""
        return MachineValues(stack=STACK, machine=NAME)

    @property
    def allowed_from(self) -> tuple[str, ...]:
        """Networks that its researchers come from."""
        return self._network.allowed_from if self._network else ("127.0.0.0/8",)

    def user_data(self) -> bytes:
        """What cloud-init finds."""
        return render_user_data(self.values)

    @property
    def image(self) -> GoldenImage:
        """What its root disk is made from."""
        return golden_image()

    # Its life

    @property
    def running(self) -> bool:
        """Whether the virtual machine is there."""
        return qemu.is_running(self.directory)

    @property
    def spec(self) -> qemu.MachineSpec:
        """The machine as it runs."""
        return qemu.load_spec(self.directory)

    @property
    def client(self) -> Client:
        """Stock ssh towards this machine, its host key pinned as `ssh-config` would."""
        alias = f"{NAME}.{STACK}.secondlock"
        known_hosts = self.directory.parent / "known_hosts"
        known_hosts.write_text(f"{alias} {self.host_key.public_openssh}\n")
        if self._network:
            prefix = self._network.launcher
            return Client(self._network.address, 22, known_hosts, alias, prefix)
        return Client("127.0.0.1", self.spec.ssh_port, known_hosts, alias)

    def boot(self) -> None:
        """Make a root disk from the image and boot it; the data volumes are kept."""
        image, network = self.image, self._network
        self.directory.joinpath("root.qcow2").unlink(missing_ok=True)
        qemu.create_root_disk(self.directory, image.disk, 20)
        qemu.create_seed(
            self.directory,
            self.user_data(),
            f"i-{secrets.token_hex(4)}",
            NAME,
            network.config if network else None,
            {"bundle": bundle(self.values.target).data},
        )
        qemu.create_data(self.data, 5)
        launcher = network.launcher if network else ()
        if not self._keep:
            launcher += ("setpriv", "--pdeathsig", "KILL")  # no machine outlives the tests
        qemu.start(
            qemu.MachineSpec(
                name=NAME,
                directory=self.directory,
                data_directory=self.data,
                kernel=image.kernel,
                initrd=image.initrd,
                memory_mib=self.memory_mib,
                web_port=0,
                netdev=network.netdev if network else None,
                launcher=launcher,
                audit=self.audit,
            )
        )
        behind = clock.rtc_behind(self.directory)
        self._wait_up()
        clock.tell(self.agent, behind)

    def _wait_up(self) -> None:
        deadline = time.monotonic() + self.patience
        while not self.agent.ping():
            assert self.running, "the machine stopped before it was up"
            assert time.monotonic() < deadline, "its guest agent never answered"
            time.sleep(0.5)
        self.wait_for("test -e /etc/secondlock/machine.json", timeout=self.patience)

    @property
    def offset(self) -> clock.Offset:
        """How its clock stands against this computer's."""
        return clock.offset(self.agent)

    @contextmanager
    def halted(self, seconds: float) -> Iterator[None]:
        """The machine stands still for so long, as QEMU makes it when the disk is full."""
        monitor(self.directory, "stop")
        try:
            time.sleep(seconds)
        finally:
            monitor(self.directory, "cont")
        yield

    def panic(self) -> None:
        """Crash the machine's kernel and wait until sshd answers again, without anyone's help."""
        before = self._boot_id()
        with suppress(AgentError):
            self.agent.run(["/bin/sh", "-c", "echo c >/proc/sysrq-trigger"], timeout=5)
        deadline = time.monotonic() + BOOT
        while self._boot_id() in {before, None}:
            assert time.monotonic() < deadline, "the machine did not restart"
            time.sleep(1)
        self.wait_for("systemctl is-active ssh.service", timeout=BOOT)
        self.lift_bans()

    def _boot_id(self) -> str | None:
        """Which boot this is; None while the system goes down or comes up."""
        with suppress(AgentError):
            argv = ["/bin/cat", "/proc/sys/kernel/random/boot_id"]
            return self.agent.run(argv, timeout=10)[1].decode()
        return None

    def replace(self) -> None:
        """A new machine with the old one's data volumes, as a changed image makes it."""
        qemu.stop(self.directory)
        self.boot()

    def end(self) -> None:
        """The power off, at once."""
        qemu.kill(self.directory)

    # Its root, by the guest agent

    def run(self, command: str, stdin: bytes = b"", timeout: float = 120) -> tuple[int, str, str]:
        """Run a shell command as root: exit code, standard output, standard error."""
        code, out, err = self.agent.run(["/bin/sh", "-c", command], stdin=stdin, timeout=timeout)
        return code, out.decode(errors="replace"), err.decode(errors="replace")

    def succeed(self, command: str, stdin: bytes = b"", timeout: float = 120) -> str:
        """The output of a command that has to work."""
        code, out, err = self.run(command, stdin, timeout)
        assert code == 0, f"`{command}` ended with {code}\n{out}\n{err}"
        return out

    def fail(self, command: str) -> None:
        """Run a command that must not work."""
        code, out, _ = self.run(command)
        assert code != 0, f"`{command}` worked\n{out}"

    def wait_for(self, command: str, timeout: float = 60) -> str:
        """Repeat a command until it works."""
        deadline = time.monotonic() + timeout
        while True:
            code, out, err = self.run(command)
            if code == 0:
                return out
            assert time.monotonic() < deadline, f"`{command}` never worked\n{out}\n{err}"
            time.sleep(0.5)

    def wait_for_web(self) -> None:
        """Until its door for browsers is open: JupyterHub starts for some twenty seconds."""
        deadline = time.monotonic() + 180
        while True:
            with suppress(OSError):  # refused, reset or in vain
                if self.browser.ask(self.browser.url("/hub/login")).status == 200:
                    return
            assert time.monotonic() < deadline, "its door for browsers never opened"
            time.sleep(1)

    def status(self) -> dict[str, Any]:
        """What `secondlock-status` says."""
        found: dict[str, Any] = json.loads(self.succeed("/usr/local/sbin/secondlock-status"))
        return found

    def person_status(self, person: Person) -> dict[str, Any]:
        """One researcher's part of the status."""
        found: dict[str, Any] = self.status()["researchers"][person.name]
        return found

    def lift_bans(self, maxretry: int = 1000) -> None:
        """Forget every failure, and from now on ban only after `maxretry` of them.

        All clients look like one address here: a test would shut out the next one.
        """
        self.wait_for("fail2ban-client ping", timeout=240)  # two machines at once start it slowly
        self.succeed(
            f"fail2ban-client unban --all && fail2ban-client set sshd maxretry {maxretry}"
            " && fail2ban-client set sshd-flood maxretry 1000"
        )

    @contextmanager
    def counting(self, failures: int) -> Iterator[None]:
        """What is done within counts so often towards a ban."""
        before, read = self._counted(), self._ignored()
        yield
        # fail2ban reads in order, and says when it has come to one that it ignores: the machine's
        # own stranger, who is none.
        self.run(STRANGER)
        deadline = time.monotonic() + 60
        while self._ignored() == read:
            assert time.monotonic() < deadline, "fail2ban does not read on"
            time.sleep(0.5)
        assert self._counted() - before == failures

    def _counted(self) -> int:
        said = self.succeed("fail2ban-client status sshd")
        return int(said.partition("Total failed:")[2].split()[0])

    def _ignored(self) -> int:
        return int(self.run("grep -c 'Ignore 127.0.0.1 ' /var/log/fail2ban.log")[1])

    # What is ours on it

    def upgrade(self, data: bytes, *flags: str, digest: str = "") -> dict[str, Any]:
        """Bring it this bundle as `pulumi up` does; what it reports."""
        digest = digest or hashlib.sha256(data).hexdigest()
        argv = ["/usr/bin/python3", "-I", "-c", receiver(), digest, *flags]
        code, out, err = self.agent.run(argv, data, 300)
        if code != 0:
            return {"error": err.decode().strip()}
        report: dict[str, Any] = json.loads(out)
        return report

    def begin_upgrade(self, data: bytes) -> None:
        """The same, but nobody waits for it: the guest agent does one thing at a time."""
        self.succeed("cat >/root/bundle", data)
        self.succeed("cat >/root/receive.py", receiver().encode())
        self.succeed(
            "systemd-run --quiet --collect --unit=test-upgrade"
            " --property=StandardInput=file:/root/bundle"
            f" /usr/bin/python3 -I /root/receive.py {hashlib.sha256(data).hexdigest()}"
        )

    # Its roster

    def share(self, name: str) -> MemberShare | None:
        """What this researcher may take of it; None: all of it."""
        return None

    def _shares(self, people: list[InstanceRequest]) -> Iterator[tuple[str, MemberShare]]:
        for one in people:
            if share := self.share(one.researcher):
                yield one.researcher, share

    def envelope(self, **changes: Any) -> dict[str, Any]:
        """The next roster as the program would deliver it."""
        people = list(self.lab.requests.values())
        roster = build_roster(
            settings=Settings(stack=STACK, alert_webhook=self.lab.webhook, **self.lab.settings),
            machine=NAME,
            requests=people,
            enrollments={one.researcher: self._person(one).enrollment for one in people},
            host_key=self.host_key,
            retired=self.lab.retired,
            shares=dict(self._shares(people)),
            closed_from=self.closed_from,
            web=self._web() if any(WEB in one.access for one in people) else None,
        )
        new = qemu.data_is_new(self.data)
        envelope = {"serial": self.lab.serial + 1, "new_volumes": new, "roster": roster}
        if "web" in roster:
            envelope["web_port"] = self.spec.web_port
        return {**envelope, **changes}

    def _web(self) -> Certificate:
        today = self.issued or dt.datetime.now(dt.timezone.utc).date()
        return certificate(self.lab.seed, stack=STACK, machine=NAME, today=today)

    @property
    def browser(self) -> Browser:
        """A new one, which trusts the stack's authority and nothing else."""
        port = self.spec.web_port
        assert port is not None
        return Browser(host_of(STACK, NAME), port, authority(self.lab.seed, STACK))

    def deliver(self, document: bytes) -> dict[str, Any]:
        """Hand these bytes to `secondlock-sync apply`: its answer."""
        code, out, err = self.agent.run(SYNC, stdin=document, timeout=600)
        answer: dict[str, Any] = json.loads(out)
        assert answer["applied"] == (code == 0), err.decode(errors="replace")
        return answer

    def try_apply(self) -> dict[str, Any]:
        """Bring the roster to the machine; its answer, whatever it is."""
        return self.deliver(json.dumps(self.envelope()).encode())

    def apply(self) -> list[str]:
        """Bring the roster to the machine; says what changed there."""
        answer = self.try_apply()
        assert answer["applied"], answer
        self.lab.serial = answer["serial"]
        self.lab.save(self._file)
        changed: list[str] = answer["changed"]
        return changed

    def add(self, factors: str = "key+totp", count: int = 1) -> list[Person]:
        """New researchers in the roster; `apply` brings them to the machine."""
        people = []
        for _ in range(count):
            self.lab.made += 1
            name = f"r{self.lab.made:03}"
            request = make_request(name, self._keys, factors, self.allowed_from)
            self.lab.requests[name] = request
            people.append(self._person(request))
        return people

    def enlist(self, factors: str, count: int) -> None:
        """Put researchers into the roster that `researcher` then gives out."""
        self.lab.fresh += [person.name for person in self.add(factors, count)]

    def researcher(self, factors: str = "key+totp") -> Person:
        """Someone whom no test has used: a code is good once, so every test has its own."""
        ready = [n for n in self.lab.fresh if self.lab.requests[n].factors == factors]
        if not ready:
            self.enlist(factors, 4)
            self.apply()
            return self.researcher(factors)
        self.lab.fresh.remove(ready[0])
        self.lab.save(self._file)
        return self._person(self.lab.requests[ready[0]])

    def person(self, name: str) -> Person:
        """Someone as the requests have them now."""
        return self._person(self.lab.requests[name])

    def retire(self, person: Person, reason: str) -> None:
        """Write the person's enrollment down as over; the roster's next version says so."""
        self.lab.retired.append(
            RetiredEnrollment.model_validate(
                {
                    "enrollment": person.request.enrollment,
                    "researcher": person.name,
                    "reason": reason,
                    "date": dt.datetime.now(dt.timezone.utc).date(),
                }
            )
        )

    def rotate(self, person: Person, end_sessions: bool = False) -> Person:
        """What `secondlock rotate` and `pulumi up` do; gives back the person with a new phone."""
        self.retire(person, "rotated")
        update = {"enrollment": secrets.token_hex(16), "end_sessions": end_sessions}
        return self.change(person, update)

    def change(self, person: Person, update: dict[str, Any]) -> Person:
        """Edit the person's request and apply it."""
        request = person.request.model_copy(update=update)
        self.lab.requests[person.name] = request
        self.apply()
        return self._person(request)

    def revoke(self, person: Person) -> None:
        """What `secondlock revoke` and `pulumi up` do."""
        self.retire(person, "revoked")
        del self.lab.requests[person.name]
        self.apply()

    @contextmanager
    def draft(self) -> Iterator[Lab]:
        """Edits to the requests that are taken back at the end: the machine is to refuse them."""
        requests, retired = dict(self.lab.requests), list(self.lab.retired)
        try:
            yield self.lab
        finally:
            self.lab.requests, self.lab.retired = requests, retired

    @contextmanager
    def clock_off(self, seconds: int) -> Iterator[None]:
        """The machine's clock wrong by `seconds`, with nothing that puts it right meanwhile."""
        self.succeed("systemctl stop secondlock-clock.service")
        self.succeed(f"date --set '{seconds:+d} seconds'")
        try:
            yield
        finally:
            self.succeed("systemctl start secondlock-clock.service")
            deadline = time.monotonic() + 60
            while abs(self.offset.seconds) > 0.5:
                assert time.monotonic() < deadline, self.offset
                time.sleep(0.5)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever is done within must leave the machine's accounts and secrets as they were."""
        state = "codes spent remembered state.json ssh_host_ed25519_key"
        ours = "authorized_keys security_keys allowed.nft"
        places = [f"var/lib/secondlock/{each}" for each in state.split()]
        places += [f"etc/secondlock/{each}" for each in ours.split()]
        places += [f"etc/{each}" for each in ("passwd", "shadow", "group")]
        # What nobody has yet, has no folder yet.
        self.succeed("mkdir -p -m 700 /var/lib/secondlock/remembered")
        self.succeed("mkdir -p -m 755 /etc/secondlock/security_keys")
        find = f"cd / && find {' '.join(places)} -type f -exec stat -c '%n %i %Z' {{}} +"

        def seen() -> set[str]:
            return set(self.succeed(find).splitlines())

        before = seen()
        yield
        assert sorted(seen() ^ before) == []

    def _person(self, request: InstanceRequest) -> Person:
        enrollment = enroll(request, self.lab.seed, STACK, NAME)
        return Person(request, enrollment, self._keys / request.researcher)
