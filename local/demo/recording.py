"""Records a run of `make demo` as docs/images/demo.svg: `make recording`.

The terminal's output and its times become an asciicast (version 2), which svg-term (npm) draws.
"""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Final

from local.paths import ROOT

_COLUMNS: Final = 108
_LINES: Final = 37
_SPEED: Final = 2.0
"""The picture plays this much faster than the run; docs/develop.md says so."""
_FRAMES_A_SECOND: Final = 4
_REST_SECONDS: Final = 6.0
"""How long the last frame is shown before the picture starts again."""
_PROMPT: Final = "\x1b[32m$\x1b[0m make demo\r\n"
_SVG: Final = ROOT / "docs" / "images" / "demo.svg"
_DRAW: Final = ("npx", "--yes", "svg-term-cli@2.1.1", "--window", "--no-cursor")


def main() -> None:
    """Run the demo in a pseudo-terminal, and draw its output."""
    frames = _thinned(_record(["make", "--no-print-directory", "demo"]))
    header = {"version": 2, "width": _COLUMNS, "height": _LINES}
    with tempfile.TemporaryDirectory() as folder:
        cast = Path(folder) / "demo.cast"
        lines = [header, *([at, "o", text] for at, text in frames)]
        cast.write_text("\n".join(map(json.dumps, lines)) + "\n")
        size = ["--width", str(_COLUMNS), "--height", str(_LINES)]
        subprocess.run([*_DRAW, *size, "--in", cast, "--out", _SVG], check=True)


def _record(command: list[str]) -> list[tuple[float, str]]:
    """Run a command; return its output in chunks, each with the seconds since the start."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, _COLUMNS, 0, 0))
    begun = time.monotonic()
    environment = os.environ | {"TERM": "xterm-256color"}
    written = bytearray()
    chunks: list[tuple[float, str]] = [(0.0, _PROMPT)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=its, stderr=its, env=environment
    ) as process:
        os.close(its)
        while True:
            try:
                new = os.read(ours, 65536)
            except OSError:  # Linux raises this when the writer has closed
                break
            if not new:
                break
            sys.stdout.buffer.write(new)
            sys.stdout.flush()
            written += new
            text = written.decode(errors="ignore")
            # The bytes of an incomplete character stay for the next chunk.
            del written[: len(text.encode())]
            chunks.append((time.monotonic() - begun + 1, text))
    os.close(ours)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}.")
    return chunks


def _thinned(chunks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Join the chunks of each frame, and show the last frame longer."""
    frames: dict[int, str] = {}
    for at, text in chunks:
        number = int(at / _SPEED * _FRAMES_A_SECOND)
        frames[number] = frames.get(number, "") + text
    timed = [(number / _FRAMES_A_SECOND, text) for number, text in frames.items()]
    return [*timed, (timed[-1][0] + _REST_SECONDS, " ")]


if __name__ == "__main__":
    main()
