"""All cases and storms, on one stack after another, from a seed, for a while; what was injected and what it broke."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.reference import undisturbed
from tests.faults.stack import Kind, Stack
from tests.faults.stories import cases
from tests.faults.storm import storm

STORM = "storm"
REFERENCES = ("eight", "long", "labels", "compiled")
NUM_STORMS = 20

Story = Callable[[Stack, Random], None]


@dataclass(frozen=True)
class Item:
    """One story with its own seed: what can be replayed."""

    kind: Kind
    name: str
    seed: int

    @property
    def command(self) -> str:
        """What replays it."""
        return f"python -m tests.faults --stack {self.kind} --case {self.name} --seed {self.seed}"


@dataclass
class Report:
    """What happened."""

    injected: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    failed: list[Item] = field(default_factory=list)

    def add(self, item: Item, tally: Counter[str], *, good: bool) -> None:
        self.injected += tally
        if not good:
            self.failed.append(item)
            self.violations += Counter(tally.keys())

    def table(self) -> str:
        """How often each fault was injected, and in how many stories that broke something."""
        width = max([len(name) for name in self.injected], default=5)
        lines = [f"{'fault':{width}}  injected  violations"]
        lines += [f"{name:{width}}  {count:8}  {self.violations[name]:10}"
                  for name, count in sorted(self.injected.items())]  # fmt: skip
        total = f"{'all':{width}}  {sum(self.injected.values()):8}  {len(self.failed):10}"
        return "\n".join([*lines, total, *(f"replay: {item.command}" for item in self.failed)])


def stories(kind: Kind) -> dict[str, Story]:
    """What can be told on a kind of stack."""
    return {STORM: storm, **{case.name: case for case in cases(kind)}}


def items(kind: Kind, seed: int) -> list[Item]:
    """One round: every case once in an order of the seed's, then storms."""
    rng = Random(seed)
    names = [case.name for case in cases(kind)]
    rng.shuffle(names)
    return [Item(kind, name, rng.randrange(2**32)) for name in [*names, *[STORM] * NUM_STORMS]]


def run(
    rounds: Sequence[Sequence[Item]], say: Callable[[str], None], *, seconds: float, num_faults: int | None
) -> Report:
    """Tell the rounds' items in turns, each round on a stack of its own, until the time is over.

    A story that breaks something ends its stack: nothing after it could be trusted.
    """
    report, until = Report(), time.monotonic() + seconds
    waiting = [list(round_) for round_ in rounds]
    while any(waiting) and time.monotonic() < until and not _enough(report, num_faults):
        current = waiting.pop(0)
        waiting.append(current)
        if current:
            _on_one_stack(current, report, say, until=until, num_faults=num_faults)
    return report


def _enough(report: Report, num_faults: int | None) -> bool:
    return num_faults is not None and sum(report.injected.values()) >= num_faults


# A stack's share before the other kind's turn.
TURN_S = 240.0


def _on_one_stack(
    waiting: list[Item], report: Report, say: Callable[[str], None], *, until: float, num_faults: int | None
) -> None:
    turn_ends = min(until, time.monotonic() + TURN_S)
    with tempfile.TemporaryDirectory(prefix="actrobust-faults-") as folder:
        stack = Stack(waiting[0].kind, Path(folder))
        with stack:
            say(f"{stack.kind}: {stack.folder}")
            for name in REFERENCES if any(item.name == STORM for item in waiting) else REFERENCES[:1]:
                undisturbed(stack, name)
            stack.say = say
            good = True
            while good and waiting and time.monotonic() < turn_ends and not _enough(report, num_faults):
                good = _tell(stack, waiting.pop(0), report, say)
        left = stack.marked()
        if left:
            say(f"VIOLATION I7: {left} outlived their stack")
            report.failed.append(Item(stack.kind, STORM, 0))


def _tell(stack: Stack, item: Item, report: Report, say: Callable[[str], None]) -> bool:
    began, stack.tally = time.monotonic(), Counter()
    say(item.command)
    good = True
    try:
        stories(item.kind)[item.name](stack, Random(item.seed))
    except Exception as error:  # noqa: BLE001 (whatever it is, it is a finding)
        good = False
        say(f"VIOLATION in {item.name}, seed {item.seed}: {type(error).__name__}: {error}\nreplay: {item.command}")
        say(f"logs: {_kept_logs(stack)}")
    report.add(item, stack.tally, good=good)
    say(f"  {'good' if good else 'BROKEN'} after {time.monotonic() - began:.0f} s, "
        f"{sum(report.injected.values())} faults so far")  # fmt: skip
    return good


def _kept_logs(stack: Stack) -> Path:
    """A folder with what the parts have logged so far: a replay meets the same faults, not the same moments."""
    folder = Path(tempfile.mkdtemp(prefix="actrobust-faults-logs-"))
    for log in stack.folder.glob("*.log"):
        shutil.copy(log, folder)
    return folder
