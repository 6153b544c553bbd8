"""The stack on this machine: the real template on a local AWS.

Its vendor is the simulated one or the real one. `running` starts a stack and always ends it;
`start` leaves it running until `stop`.
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
from local.stack.state import STACK, Address, State, StateFolder

if TYPE_CHECKING:
    from local.simulator import SimulatorControl

DEMO: Final = "demo"
"""The stack of `catwalk demo`; it leaves that of `catwalk up` alone."""


LAPTOP: Final = {
    # A simulated task takes seconds, and a person waits for it. The template's defaults are for
    # AWS: at most 600 s between two polls, and 21,600 s (six hours) until a task has timed out.
    "PollMaxSeconds": "3",
    "TaskTimeoutSeconds": "1800",
    # A laptop has few processors, and each concurrent function is a process.
    "MaxSubmitConcurrency": "2",
}
"""Template parameters of the laptop's stacks."""


@dataclass(frozen=True)
class Plan:
    """How to start a stack."""

    port: int = 0
    """The port of the local AWS; 0 means any free one."""
    api_key: str = field(default_factory=lambda: f"simulated-{secrets.token_hex(16)}", repr=False)
    """Stored in the stack's secret only."""
    host: str = LOOPBACK
    """Where to listen; see `interfaces.addresses`."""
    real_vendor: bool = False
    task_seconds: float = 8.0
    """Average duration of a task of the simulated vendor."""
    wait_scale: float = 1.0
    """Factor on the state machine's waits; 1 is as on AWS, less is faster."""
    parameters: Mapping[str, str] = field(default_factory=lambda: LAPTOP)
    """Template parameters, without those that `start` sets itself."""


class Steps(Protocol):
    """Receives the steps of a start, to show them to a person."""

    def begin(self, name: str) -> None:
        """Note that a step begins."""

    def done(self, name: str, detail: str, seconds: float) -> None:
        """Note that a step is done."""


class Quiet:
    """Steps that are not shown."""

    def begin(self, name: str) -> None:
        """Do nothing."""

    def done(self, name: str, detail: str, seconds: float) -> None:
        """Do nothing."""


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
        """Check that its servers still run.

        Raises:
            StackGoneError: one of them has ended.

        """
        if not self.folder.read().complete:
            raise StackGoneError(
                "A server of the local stack ended by itself; try again.", log=self.folder.logs
            )

    def vendor(self) -> "SimulatorControl":
        """Return a new client of the simulated vendor's control API."""
        # The import is slow, and most callers do not need the vendor.
        from local.simulator import SimulatorControl  # noqa: PLC0415

        return SimulatorControl(self.address.vendor_url)


def folder_of(name: str) -> StateFolder:
    """Return the state folder of one of this clone's stacks."""
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
    """Start a stack, and end all its processes afterwards. The logs stay."""
    with folder.locked(), signals_raise():
        try:
            yield start(folder, plan, steps)
        finally:
            with signals_wait():
                folder.end_processes()
                folder.tidy()


def start(folder: StateFolder, plan: Plan, steps: Steps) -> Stack:
    """Start a stack, after ending the processes that a crashed one may have left.

    The caller must hold the folder's lock. If anything fails, all started processes are ended.
    """
    folder.start_anew()
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write(State())
    with ExitStack() as undo:
        undo.callback(folder.tidy)
        watch = _Watch(steps)
        # Read before the build: a file that changes during the build may be missing from it.
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
        differences.correct(clients, outputs["StateMachineArn"])
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
    """Build the present code and deploy it onto a running stack. Its jobs stay.

    The caller must hold the folder's lock. The servers keep running. If anything fails, the stack
    is unchanged or as the failed deployment left it, and the next call tries again.

    Args:
        stack: as `find` returned it.
        plan: its parameters are deployed; its port, host and key are ignored.
        steps: receives the build and the deployment.

    """
    folder, address, clients = stack.folder, stack.address, stack.clients
    watch = _Watch(steps)
    code = Code.present(plan.parameters)
    machine = _machine()
    # The build's process is not added to the state: when it ends, the stack would seem to be gone.
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
        # The servers were not restarted, so the digest of their code stays.
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
    """End a stack's processes; return whether any was running."""
    with folder.locked(), signals_wait():
        ended = folder.end_processes()
        folder.tidy()
    return ended


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that `finally` blocks run."""

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
    """Block signals while processes are being ended: a second Ctrl-C must not interrupt that."""
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
    """Invoke each function once, since a cold start takes a laptop one to two seconds.

    The payloads name no message and no job, so they change nothing.
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
    """Measures the duration of the steps."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._begun: dict[str, float] = {}

    def begin(self, name: str) -> None:
        self._begun[name] = time.monotonic()
        self._steps.begin(name)

    def done(self, name: str, detail: str) -> None:
        self._steps.done(name, detail, time.monotonic() - self._begun[name])
