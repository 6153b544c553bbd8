"""Counts what one photo runs through: files, functions and changes of file in shared/, functions/.

It traces `test_photo_goes_all_the_way` of tests/integration/test_pipeline.py, from the dropped
photo to the finished record. A smaller number of changes of file means that a reader has to jump
less. Run it with `python -m bench.photo_trace`; `--list` prints each file's calls, too.

FinalizeFunction copies the four results in four threads, which do the same. The counts of the main
thread are the same in every run; those of all threads count each thread by itself.
"""

import argparse
import itertools
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
TEST: Final = "tests/integration/test_pipeline.py::test_photo_goes_all_the_way"
HELPERS: Final = frozenset(
    f"{ROOT}/shared/{name}.py" for name in ("clock", "observability", "texts", "records/attributes")
)
"""Small functions such as `iso`, which a reader does not follow."""
CONSTRUCTORS: Final = frozenset({"__init__", "__post_init__"})
"""They keep what they are given. `shared/wiring.py` calls those of all steps."""
FOLDERS: Final = tuple(f"{ROOT / name}/" for name in ("shared", "functions"))


class CallRecorder:
    """A pytest plugin that records each call of a function in shared/ and functions/."""

    def __init__(self) -> None:
        self.calls: dict[int, list[CodeType]] = defaultdict(list)
        """By thread; the main thread is first."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Record while the test runs, without its fixtures."""
        threading.setprofile(self._record)
        sys.setprofile(self._record)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _record(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        # Comprehensions and lambdas belong to the function around them; so does a class body.
        if event == "call" and code.co_filename.startswith(FOLDERS) and code.co_name[0] != "<":
            self.calls[threading.get_ident()].append(code)


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the calls of each file")
    arguments = parser.parse_args()
    recorder = CallRecorder()
    status = pytest.main([TEST, "-q", "-p", "no:cacheprovider"], plugins=[recorder])
    if status:
        raise SystemExit(status)
    threads = list(recorder.calls.values())
    print("main thread:", counts(threads[:1]))
    print("all threads:", counts(threads))
    followed = [code for code in threads[0] if code.co_filename not in HELPERS]
    print("main thread, without helpers:", counts([followed]))
    followed = [code for code in followed if code.co_name not in CONSTRUCTORS]
    print("main thread, without helpers and constructors:", counts([followed]))
    if arguments.list:
        print_files(threads)


def counts(threads: list[list[CodeType]]) -> str:
    """Return the three numbers as a sentence."""
    functions = {(code.co_filename, code.co_qualname) for calls in threads for code in calls}
    files = {file for file, _ in functions}
    changes = sum(changes_of_file(threads).values())
    return f"{len(files)} files, {len(functions)} functions, {changes} changes of file"


def changes_of_file(threads: list[list[CodeType]]) -> Counter[tuple[str, str]]:
    """Count how often a call in one file follows a call in another."""
    pairs: Counter[tuple[str, str]] = Counter()
    for calls in threads:
        files = [code.co_filename.removeprefix(f"{ROOT}/") for code in calls]
        pairs.update(pair for pair in itertools.pairwise(files) if pair[0] != pair[1])
    return pairs


def print_files(threads: list[list[CodeType]]) -> None:
    """Print the calls of each file, and how often which file follows which."""
    files = Counter(code.co_filename for calls in threads for code in calls)
    for file, calls in files.most_common():
        print(f"{calls:6}  {Path(file).relative_to(ROOT)}")
    for (before, after), number in changes_of_file(threads).most_common():
        print(f"{number:6}  {before} -> {after}")


if __name__ == "__main__":
    main()
