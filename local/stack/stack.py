"""The stack on this machine: the real template on a local AWS, with a simulated vendor or the real.

`running` starts one and ends it, whatever happens; `start` leaves it running for `stop`.
"""

import contextlib
import json
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final, Protocol

from local.errors import StackGoneError
from local.interfaces import LOOPBACK
from local.paths import STATE
from local.stack import differences, environment, ministack, processes, sam, vendor
from local.stack.clients import Clients
from local.stack.code import Code
from local.stack.processes import Process
from local.stack.state import Address, State, StateFolder

if TYPE_CHECKING:
    from local.simulator import SimulatorControl

STACK: Final = "catwalk"
UP: Final = "up"
"""The stack of `catwalk up`."""
DEMO: Final = "demo"
"""The stack of `catwalk demo`, which leaves that of `catwalk up` alone."""


LAPTOP: Final = {
    # Seen to move: on AWS, three seconds and six hours are right.
    # A simulated task takes seconds: no waiting as long as tasks of the vendor usually take.
    "PollMaxSeconds": "3",
    "TaskTimeoutSeconds": "1800",
    # A laptop has few processors for functions that start.
    "MaxSubmitConcurrency": "2",
}
"""Template parameters for somebody who looks on."""


@dataclass(frozen=True)
class Plan:
    """How to start a stack."""

    port: int = 0
    """Of the local AWS; 0 is any free one."""
    api_key: str = field(default_factory=lambda: f"simulated-{secrets.token_hex(16)}", repr=False)
    """Goes into the secret, and nowhere else."""
    host: str = LOOPBACK
    """Where to listen: loopback, unless containers shall reach the stack; see `interfaces`."""
    real_vendor: bool = False
    task_seconds: float = 8.0
    """How long a task of the simulated vendor runs, on average."""
    wait_scale: float = 1.0
    """The state machine's waits and pauses are made that much shorter; 1 is as on AWS."""
    parameters: Mapping[str, str] = field(default_factory=lambda: LAPTOP)
    """Template parameters other than those that this machine decides."""


class Steps(Protocol):
    """Hears of each step of the start, for a person to see."""

    def begin(self, name: str) -> None:
        """Hear that a step begins."""

    def done(self, name: str, detail: str, seconds: float) -> None:
        """Hear that a step is done."""


class Quiet:
    """Steps that nobody looks at."""

    def begin(self, name: str) -> None:
        """Say nothing."""

    def done(self, name: str, detail: str, seconds: float) -> None:
        """Say nothing."""


@dataclass(frozen=True)
class Stack:
    """A stack that is up."""

    address: Address
    folder: StateFolder
    clients: Clients

    @classmethod
    def at(cls, address: Address, folder: StateFolder) -> "Stack":
        """Return the stack at an address."""
        return cls(
            address, folder, Clients(address.endpoint, address.ca_bundle, address.credentials)
        )

    def output(self, name: str) -> str:
        """Return one of the template's outputs."""
        return self.address.outputs[name]

    def check(self) -> None:
        """Make sure that its servers run still.

        Raises:
            StackGoneError: one of them has ended.

        """
        if not self.folder.read().complete:
            raise StackGoneError(
                "A server of the local stack ended by itself; try again.", log=self.folder.logs
            )

    def vendor(self) -> "SimulatorControl":
        """Return a new client of the simulated vendor's control API."""
        # What a server needs takes a while to import, and most who find a stack want no vendor.
        from local.simulator import SimulatorControl  # noqa: PLC0415

        return SimulatorControl(self.address.vendor_url)


def folder_of(name: str) -> StateFolder:
    """Return the folder of one of this clone's stacks."""
    return StateFolder(STATE / name)


def find(folder: StateFolder) -> Stack | None:
    """Return the stack of a folder if it is up and answers."""
    state = folder.read()
    if state.address is None or not state.complete:
        return None
    if not ministack.answers(state.address.endpoint, Path(state.address.ca_bundle)):
        return None
    return Stack.at(state.address, folder)


@contextlib.contextmanager
def running(folder: StateFolder, plan: Plan, steps: Steps) -> Iterator[Stack]:
    """Have a stack up for a while; nothing of it runs afterwards. The logs stay."""
    with folder.locked(), signals_raise():
        try:
            yield start(folder, plan, steps)
        finally:
            with signals_wait():
                folder.end_processes()
                folder.tidy()


def start(folder: StateFolder, plan: Plan, steps: Steps) -> Stack:
    """Start a stack, after ending what a crash may have left of an earlier one.

    The folder must be locked. If anything fails, all that was started is ended.
    """
    folder.start_anew()
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write(State())
    with ExitStack() as undo:
        undo.callback(folder.tidy)
        watch = _Watch(steps)
        # Before the build: what is changed while it runs may be missing from it.
        code = Code.present(plan.parameters)
        machine = _machine()

        watch.begin("sam build")
        build = sam.start_build(folder, machine)
        undo.callback(_end_quietly, build)
        folder.add(build.pid)

        watch.begin("local AWS")
        credentials = environment.new_credentials()
        aws, endpoint, certificate = ministack.start(
            folder,
            host=plan.host,
            port=plan.port,
            wait_scale=plan.wait_scale,
            credentials=credentials,
        )
        undo.callback(_end_quietly, aws)
        folder.add(aws.pid)
        vendor_url = ""
        if not plan.real_vendor:
            watch.begin("simulated vendor")
            simulator = vendor.start(
                folder, host=plan.host, certificate=certificate, seconds=plan.task_seconds
            )
            undo.callback(_end_quietly, simulator)
            folder.add(simulator.pid)
        ministack.wait_until_ready(aws, endpoint, certificate)
        watch.done("local AWS", endpoint)
        if not plan.real_vendor:
            vendor_url = vendor.wait_until_ready(folder, simulator)
            watch.done("simulated vendor", vendor_url)
        sam.finish_build(folder, build)
        watch.done("sam build", _built(machine))

        watch.begin("sam deploy")
        differences.adapt(sam.built_template(folder))
        clients = Clients(endpoint, certificate, credentials)
        deploy = sam.start_deploy(
            folder,
            stack=STACK,
            parameters=_parameters(plan, vendor_url, machine),
            endpoint=endpoint,
            certificate=certificate,
            credentials=credentials,
        )
        undo.callback(_end_quietly, deploy)
        folder.add(deploy.pid)
        sam.finish_deploy(folder, deploy)
        outputs = _outputs(clients)
        differences.mend(clients, outputs["StateMachineArn"])
        clients.secrets.put_secret_value(
            SecretId=outputs["VmakeApiKeySecretArn"], SecretString=plan.api_key
        )
        if vendor_url:
            _warm_up(clients)
        watch.done("sam deploy", f"the template as stack {STACK!r}")

        servers = [aws] if plan.real_vendor else [aws, simulator]
        address = Address(
            endpoint,
            str(certificate),
            vendor_url,
            outputs,
            plan.host,
            credentials.access_key,
            credentials.secret_key,
        )
        running = tuple(processes.identify(server.pid) for server in servers)
        folder.write(State(running, address, code))
        undo.pop_all()
    return Stack.at(address, folder)


def update(stack: Stack, plan: Plan, steps: Steps) -> Stack:
    """Build the code as it is now and deploy it onto a stack that is up; its jobs stay.

    The folder must be locked. The servers run on. If anything fails, the stack is as it was, or as
    the failed deployment left it, and the next call tries again.

    Args:
        stack: as `find` returned it.
        plan: its parameters are deployed; ports, host and key stay as they are.
        steps: hears of the build and of the deployment.

    """
    folder, address, clients = stack.folder, stack.address, stack.clients
    watch = _Watch(steps)
    code = Code.present(plan.parameters)
    machine = _machine()
    # No process is added to the state: once ended, it would make the stack look as if it had ended.
    with ExitStack() as undo:
        watch.begin("sam build")
        build = sam.start_build(folder, machine)
        undo.callback(_end_quietly, build)
        sam.finish_build(folder, build)
        watch.done("sam build", _built(machine))

        watch.begin("sam deploy")
        differences.adapt(sam.built_template(folder))
        arn = address.outputs["StateMachineArn"]
        with differences.submission_held(clients, address.outputs["JobsTableName"], arn):
            deploy = sam.start_deploy(
                folder,
                stack=STACK,
                parameters=_parameters(plan, address.vendor_url, machine),
                endpoint=address.endpoint,
                certificate=Path(address.ca_bundle),
                credentials=address.credentials,
            )
            undo.callback(_end_quietly, deploy)
            sam.finish_deploy(folder, deploy)
        address = replace(address, outputs=_outputs(clients))
        if address.vendor_url:
            _warm_up(clients)
        watch.done("sam deploy", f"onto stack {STACK!r}; its jobs are still there")
        # The servers have not been restarted: their code is what it was.
        before = folder.read()
        servers = before.code.servers if before.code is not None else ""
        folder.write(State(before.processes, address, replace(code, servers=servers)))
        undo.pop_all()
    return Stack.at(address, folder)


def _machine() -> dict[str, str]:
    runtime, architecture = ministack.runtime()
    return {"PythonRuntime": runtime, "Architecture": architecture}


def _built(machine: Mapping[str, str]) -> str:
    return f"four functions for {machine['PythonRuntime']} on {machine['Architecture']}"


def _parameters(plan: Plan, vendor_url: str, machine: Mapping[str, str]) -> dict[str, str]:
    where = {"VmakeBaseUrl": vendor_url} if vendor_url else {}
    return {**plan.parameters, **where, **machine}


def stop(folder: StateFolder) -> bool:
    """End what runs of a stack, and tell whether anything did."""
    with folder.locked(), signals_wait():
        ended = folder.end_processes()
        folder.tidy()
    return ended


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end this process as Ctrl-C does: through its `finally`s."""

    def stopped(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stopped) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Hold signals back while processes are being ended: a second Ctrl-C must not stop that."""
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_quietly(process: Process) -> None:
    with signals_wait():
        processes.end(process)


def _outputs(clients: Clients) -> dict[str, str]:
    stacks = clients.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
    outputs = stacks[0].get("Outputs", []) if stacks else []
    if not outputs:
        raise StackGoneError("The deployed stack has no outputs; see template.yaml.")
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def _warm_up(clients: Clients) -> None:
    """Have each function started once: a cold start takes a laptop a second or two of all it has.

    The payloads are about no message and no job, and so change nothing.
    """
    nothing = {"job_id": "none", "attempt": 1, "task_id": "none"}
    nothing |= {"submitted_at": "2000-01-01T00:00:00.000Z", "deadline": "2000-01-01T00:00:00.000Z"}
    payloads = {"Submit": {"Records": []}, "Poll": nothing, "Finalize": nothing}
    resources = clients.cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
    names = {entry["LogicalResourceId"]: entry.get("PhysicalResourceId", "") for entry in resources}

    def invoke(name: str) -> None:
        clients.functions.invoke(
            FunctionName=names[f"{name}Function"], Payload=json.dumps(payloads[name]).encode()
        )

    with ThreadPoolExecutor() as pool:
        list(pool.map(invoke, payloads))


class _Watch:
    """Takes the time of the steps."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._begun: dict[str, float] = {}

    def begin(self, name: str) -> None:
        self._begun[name] = time.monotonic()
        self._steps.begin(name)

    def done(self, name: str, detail: str) -> None:
        self._steps.done(name, detail, time.monotonic() - self._begun[name])
