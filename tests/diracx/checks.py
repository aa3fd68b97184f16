"""One printed line for each check, and the exit code that they add up to."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Checks:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def that(self, what: str, holds: bool, seen: object = "") -> bool:
        """Counts and prints one check; `seen` is printed when it does not hold."""
        if holds:
            self.passed += 1
            print(f"ok    {what}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {what}: {str(seen)[:1000]!r}", flush=True)
        return holds

    def equal(self, what: str, seen: object, expected: object) -> bool:
        return self.that(what, seen == expected, f"{seen!r}, not {expected!r}")

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A group of checks: an exception fails the group, and the next group still runs."""
        try:
            yield
        except Exception as error:
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == HERE
            ]
            where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[1:])
            self.that(f"{name} ran to its end", False, f"{where}: {type(error).__name__}: {error}")

    def exit_code(self) -> int:
        print(f"{self.passed} checks passed, {self.failed} failed", flush=True)
        return 1 if self.failed else 0
