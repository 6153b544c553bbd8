"""Packages one function: its handler, `shared/` and the locked packages, precompiled.

`sam build` calls this through functions/Makefile. SAM's own Python builder cannot be used for three
reasons. It packages no shared code beside the function's folder. It leaves out bytecode, which
halves a cold start, since Lambda's file system is read-only. And it needs a Python of the runtime's
version on this machine. This script installs wheels for the runtime and architecture with uv, or
with pip if there is no uv; it runs on any Python from 3.11 on.

Lambda runs Linux, so the wheels are for Linux. The laptop stack runs the functions as processes of
this machine, which may be a Mac. So it sets CATWALK_BUILD_FOR=this-machine.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # `sam build` uses the first python3 on PATH, which may be too old
    raise SystemExit(
        "Catwalk's functions are packaged by python3 3.11 or newer; this is"
        f" {platform.python_version()} ({sys.executable}). Put a newer python3 first on PATH and"
        " run sam build again."
    ) from None

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "functions.txt"
DEFAULT_RUNTIME = "python3.13"
DEFAULT_ARCHITECTURE = "arm64"
BUILD_FOR = "CATWALK_BUILD_FOR"
THIS_MACHINE = "this-machine"
_WHEEL_PLATFORM = {"arm64": "aarch64", "x86_64": "x86_64"}
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")
_NOT_PACKAGED = (
    *("bin", ".lock", "**/__pycache__", "**/*.pyi", "**/py.typed", "*.dist-info"),
    "anyio",  # for asynchronous clients; httpcore works without it
    "pydantic/v1",  # the old pydantic; imported only for classes of it
    "pydantic/mypy.py",
    # The functions use Powertools' Logger and its formatter of metrics.
    "aws_lambda_powertools/event_handler",
    "aws_lambda_powertools/utilities/[!_j]*",  # all but jmespath_utils, which the Logger imports
)
"""Files of the installed packages that no function can use: more than half of all bytes."""


def main(logical_id: str, artifacts: Path) -> None:
    """Put the package of one function into SAM's artifacts folder."""
    runtime, architecture = target(logical_id, artifacts)
    name = logical_id.removesuffix("Function").lower()
    shutil.copytree(dependencies(runtime, architecture), artifacts, dirs_exist_ok=True)
    functions = artifacts / "functions"
    functions.mkdir(exist_ok=True)
    shutil.copy2(ROOT / "functions" / "__init__.py", functions)
    shutil.copytree(ROOT / "functions" / name, functions / name, ignore=_LEFT_OUT)
    shutil.copytree(ROOT / "shared", artifacts / "shared", ignore=_LEFT_OUT)
    compiled = precompile([functions, artifacts / "shared"], artifacts, runtime)
    system = "this machine" if _for_this_machine() else architecture
    print(
        f"{logical_id}: for {runtime} on {system}"
        + ("" if compiled else f", without bytecode, since {runtime} is not on this machine")
    )


def target(logical_id: str, artifacts: Path) -> tuple[str, str]:
    """Return runtime and architecture of a function as SAM resolved them.

    SAM passes neither to a makefile builder, but writes both to build.toml beside its build folder
    before it builds. In a build container, the container itself is the target.
    """
    build_file = artifacts.parent.parent / "build.toml"
    if build_file.is_file():
        definitions = tomllib.loads(build_file.read_text()).get("function_build_definitions", {})
        for definition in definitions.values():
            if logical_id in definition.get("functions", ()):
                return definition["runtime"], definition["architecture"]
    if Path("/var/lang/bin/python3").exists():
        machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
        return f"python{sys.version_info.major}.{sys.version_info.minor}", machine
    print(f"{logical_id}: runtime and architecture are not known; the template's defaults are used")
    return DEFAULT_RUNTIME, DEFAULT_ARCHITECTURE


def dependencies(runtime: str, architecture: str) -> Path:
    """Return a folder with the installed packages; each set of packages is installed once."""
    # Part of the identity: once a Python of this version is installed, a new folder is made.
    compiled = _interpreter(runtime) is not None
    recipe = REQUIREMENTS.read_text() + Path(__file__).read_text()
    system = sysconfig.get_platform() if _for_this_machine() else "lambda"
    identity = f"{runtime} {architecture} {system} {compiled} {recipe}"
    folder = ROOT / ".aws-sam" / "dependencies" / hashlib.sha256(identity.encode()).hexdigest()[:16]
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / "packages"
        uv = _uv()
        command = _install_command(runtime, architecture, made, uv)
        subprocess.run(command, check=True, env=_with_system_certificates(uv))
        for pattern in _NOT_PACKAGED:
            for path in list(made.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        precompile([made], made, runtime)
        try:
            made.rename(folder)
        except OSError:
            # SAM builds functions in parallel, and another build made the same folder first.
            if not folder.is_dir():
                raise
    return folder


def _install_command(runtime: str, architecture: str, folder: Path, uv: str | None) -> list[str]:
    version = runtime.removeprefix("python")
    machine = _WHEEL_PLATFORM[architecture]
    common = ["--target", str(folder), "--require-hashes", "-r", str(REQUIREMENTS), "--quiet"]
    # Without a platform, both installers take wheels for the interpreter's own.
    here = _for_this_machine()
    if uv is not None:
        return [
            *[uv, "pip", "install", "--only-binary=:all:"],
            *["--python", sys.executable, "--python-version", version],
            *([] if here else ["--python-platform", f"{machine}-manylinux_2_28"]),
            *common,
        ]
    probe = [sys.executable, "-m", "pip", "--version"]
    if subprocess.run(probe, capture_output=True, check=False).returncode != 0:
        raise SystemExit(
            f"To package the functions, install uv, or pip for {sys.executable}"
            " (python3 -m ensurepip); then run sam build again."
        )
    platforms = [f"manylinux_2_28_{machine}", f"manylinux2014_{machine}", f"linux_{machine}"]
    return [
        *[sys.executable, "-m", "pip", "install", "--only-binary=:all:", "--no-compile"],
        *["--python-version", version, "--implementation", "cp", "--disable-pip-version-check"],
        *([] if here else [f"--platform={name}" for name in platforms]),
        *common,
    ]


def _for_this_machine() -> bool:
    return os.environ.get(BUILD_FOR) == THIS_MACHINE


def _with_system_certificates(uv: str | None) -> dict[str, str] | None:
    """Return an environment in which uv trusts the system's certificate authorities, as pip does.

    A company's proxy may have its own authority. uv fails if the system has no authorities at all,
    so a first call checks whether uv finds any. None leaves the environment unchanged.
    """
    if uv is None or "UV_SYSTEM_CERTS" in os.environ:
        return None
    environment = os.environ | {"UV_SYSTEM_CERTS": "1"}
    probe = [uv, "pip", "compile", "--offline", "--quiet", os.devnull]
    found = subprocess.run(probe, env=environment, capture_output=True, check=False)
    return environment if found.returncode == 0 else None


def _uv() -> str | None:
    own = ROOT / ".tools" / "uv" / "bin" / "uv"
    return str(own) if own.is_file() else shutil.which("uv")


def precompile(folders: list[Path], root: Path, runtime: str) -> bool:
    """Compile to bytecode that is never checked against its source.

    Args:
        folders: the folders with the source.
        root: the beginning of their paths; tracebacks show `/var/task` instead.
        runtime: the runtime whose bytecode is wanted.

    Returns:
        False if no Python of this version is installed; then nothing is compiled.

    """
    python = _interpreter(runtime)
    if python is None:
        return False
    subprocess.run(
        [
            *[python, "-m", "compileall", "-q", "-s", str(root), "-p", "/var/task"],
            *["--invalidation-mode", "unchecked-hash", *map(str, folders)],
        ],
        check=True,
    )
    return True


def _interpreter(runtime: str) -> str | None:
    """Return a Python of the runtime's version, or None; other versions have other bytecode."""
    for name in (sys.executable, shutil.which(runtime)):
        if name is None:
            continue
        answer = subprocess.run(
            [name, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.stdout.strip() == runtime:
            return name
    return None


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve())
