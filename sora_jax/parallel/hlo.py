"""What a compiled program moves, read from its HLO: collectives by kind, and bytes of HBM, loops
multiplied out.

XLA's own `cost_analysis` counts the body of a loop once. Here every instruction counts as often as
it runs: a `while` states its trip count, and a body inside a body runs the product of both. For a
collective of result r and operand o bytes a device, among n,

    all-gather            r (n - 1) / n   bytes sent                                             (1)
    reduce-scatter        o (n - 1) / n                                                          (2)
    all-reduce          2 o (n - 1) / n                                                          (3)
    all-to-all            o (n - 1) / n                                                          (4)
    collective-permute    o                                                                      (5)

HBM traffic is operands read and results written of every instruction outside fusions, less what
lies on the chip (memory space S(1)); of an operand that a fusion only slices, the slice, and of one
that it updates in place, the update. The workspace that cuBLAS and cuDNN are lent is no result. A
GPU's caches are no memory space of the compiler's, as a TPU's vector memory is: a program small
enough to stay in them (50 MB on an H200) moves less than is counted for it here.
"""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterator

BYTES = {
    "pred": 1,
    "s4": 1,
    "u4": 1,
    "s8": 1,
    "u8": 1,
    "s16": 2,
    "u16": 2,
    "bf16": 2,
    "f16": 2,
    "s32": 4,
    "u32": 4,
    "f32": 4,
    "s64": 8,
    "u64": 8,
    "f64": 8,
    "c64": 8,
}
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# What moves nothing by itself: names, views, and the second halves of pairs.
FREE = (
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "while",
    "conditional",
    "call",
    "after-all",
    "partition-id",
    "replica-id",
    "iota",
    "opt-barrier",
)

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"(?:^|[\s)}\]])([a-z][\w\-]*)\(")
_WORKSPACE = re.compile(r"\b[su]8\[\d+\](\{0\})?(?=\)\s*$)")
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a computation: `result` and `rest`, the text before and after its opcode."""

    name: str
    opcode: str
    result: str
    rest: str
    root: bool

    @property
    def operands(self) -> list[str]:
        depth, end = 1, 0
        for end, letter in enumerate(self.rest):
            depth += (letter in "({[") - (letter in ")}]")
            if depth == 0:
                break
        return re.findall(r"%([\w.\-]+)", self.rest[:end])

    def attribute(self, name: str) -> str | None:
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None


@dataclasses.dataclass
class Collective:
    """All of one kind in a program: how many run, and the bytes that a device sends."""

    count: int = 0
    sent: float = 0.0


def size(shapes: str, *, on_chip: bool = True) -> int:
    """Bytes of every array in a piece of HLO, without those on the chip where `on_chip` is
    False.
    """
    total = 0
    for kind, sides, layout in _SHAPE.findall(shapes):
        if kind in BYTES and (on_chip or "S(1)" not in layout):
            total += BYTES[kind] * math.prod(int(n) for n in sides.split(",") if n)
    return total


class Program:
    """The text of a compiled module (`compiled.as_text()`), as computations of instructions."""

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry, body = "", None
        for line in text.splitlines():
            if body is None:
                if head := _COMPUTATION.match(line):
                    body = self.computations[head[2]] = {}
                    self.entry = head[2] if head[1] else self.entry
            elif line.startswith("}"):
                body = None
            elif (found := _INSTRUCTION.match(line)) and (opcode := _OPCODE.search(found[3])):
                made = Instruction(
                    found[2],
                    opcode[1],
                    found[3][: opcode.start(1)],
                    found[3][opcode.end() :],
                    bool(found[1]),
                )
                body[made.name] = made

    def running(
        self, computation: str | None = None, times: int = 1
    ) -> Iterator[tuple[Instruction, dict[str, Instruction], int]]:
        """(instruction, its computation, how often it runs) of everything outside fusions.

        Raises ValueError at a loop of unknown length.
        """
        body = self.computations[computation or self.entry]
        for made in body.values():
            yield made, body, times
            if made.opcode == "while":
                yield from self.running(made.attribute("body"), times * self._trips(made))
            elif made.opcode == "call":
                yield from self.running(made.attribute("to_apply"), times)
            elif made.opcode == "conditional":
                for branch in re.findall(
                    r"%([\w.\-]+)", re.search(r"branch_computations=\{([^}]*)\}", made.rest)[1]
                ):
                    yield from self.running(branch, times)
            elif made.opcode == "async-start" and made.attribute("calls"):
                yield from self.running(made.attribute("calls"), times)

    def _trips(self, loop: Instruction) -> int:
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(known[1])
        # Counted from 0 by 1 up to a constant, which the condition compares with.
        bounds = [
            int(found[1])
            for i in self.computations[loop.attribute("condition")].values()
            if i.opcode == "constant"
            and i.result.strip().startswith("s32[]")
            and (found := re.match(r"(\d+)\)", i.rest))
        ]
        if len(bounds) != 1:
            raise ValueError(f"the loop {loop.name} does not say how often it runs")
        return bounds[0]

    def collectives(self) -> dict[str, Collective]:
        """Equations (1) to (5), by kind; those that run asynchronously count once, at their
        start.
        """
        found: dict[str, Collective] = defaultdict(Collective)
        for made, body, times in self.running():
            kind = made.opcode.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            given = sum(size(body[o].result) for o in made.operands if o in body)
            # which has pairs, and sends all that it has
            n = 2 if kind == "collective-permute" else _group(made.rest)
            # An asynchronous start holds its operands in its result too.
            result = size(made.result) - (given if made.opcode.endswith("-start") else 0)
            share = (n - 1) / n
            sent = {
                "all-gather": result * share,
                "all-reduce": 2 * given * share,
                "collective-permute": given,
            }.get(kind, given * share)
            found[kind].count += times
            found[kind].sent += times * sent
        return dict(found)

    def traffic(self) -> float:
        """Bytes read from and written to HBM by one device."""
        total = 0.0
        for made, body, times in self.running():
            if made.opcode in FREE or made.opcode.endswith(("-done", "-update")):
                continue
            total += times * self._moved(made, body)
        return total

    def _moved(self, made: Instruction, body: dict[str, Instruction]) -> float:
        result = made.result
        # (product, workspace)
        if made.opcode == "custom-call" and 'custom_call_target="__cu' in made.rest:
            result = _WORKSPACE.sub("", result)
        written = size(result, on_chip=False)
        read = [size(body[o].result, on_chip=False) for o in made.operands if o in body]
        if made.opcode in ("dynamic-slice", "slice", "gather"):
            return 2 * written
        if made.opcode == "dynamic-update-slice":
            return 2 * (read[1] if len(read) > 1 else written)
        if made.opcode == "async-start" and made.attribute("calls"):  # counted in its body
            return 0.0
        # its result holds the whole operand, of which it reads the slice, then the slice
        if made.opcode == "slice-start":
            cut = list(_SHAPE.finditer(result))[1][0]
            return size(cut) + size(cut, on_chip=False)
        if made.opcode.endswith("-start"):  # its result holds the operand and the result, but for
            return written + sum(read) * (made.opcode == "all-reduce-start")
        if made.opcode != "fusion":
            return written + sum(read)
        inside = self.computations[made.attribute("calls")]
        parameters = {
            int(i.rest.split(")")[0]): i.name for i in inside.values() if i.opcode == "parameter"
        }
        for at in range(len(read)):
            users = [i for i in inside.values() if parameters.get(at) in i.operands]
            if users and all(i.opcode in ("dynamic-slice", "slice") for i in users):
                read[at] = min(read[at], sum(size(i.result) for i in users))
            elif users and all(
                i.opcode == "dynamic-update-slice" and i.operands[0] == parameters[at]
                for i in users
            ):
                read[at] = 0
        for update in (i for i in inside.values() if i.opcode == "dynamic-update-slice"):
            whole = size(update.result)
            # written in place: the update alone
            if whole <= written and update.operands[1] in inside:
                written += size(inside[update.operands[1]].result) - whole
        return written + sum(read)


def _group(rest: str) -> int:
    """How many devices take part in one instance of a collective: of groups counted, listed, or
    named as axes of a mesh.

    Raises ValueError for groups written otherwise, and for none, which stands for all devices.
    """
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]", rest):
        return int(found[2])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return len(found[1].split(","))
    if found := re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=[^{]*)? ?\{([^}]*)\}", rest
    ):
        sizes = {axis: int(n) for axis, n in re.findall(r"'(\w+)'=(\d+)", found[1])}
        # A part of an axis is written 'axis':(what comes before it)its size.
        return math.prod(
            int(part) if part else sizes[axis]
            for axis, part in re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
        )
    raise ValueError(f"a collective whose groups are not understood: {rest[:200]}")
