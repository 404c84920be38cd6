"""Counts the collectives and the HBM traffic of a compiled program from its HLO.

XLA's own `cost_analysis` counts the body of a loop once. Here every instruction counts as
often as it runs: a `while` states its trip count, and a nested body runs the product of the
trip counts. For a collective among n devices, with a result of r bytes and an operand of o
bytes per device, each device sends

    all-gather            r (n - 1) / n   bytes                                                  (1)
    reduce-scatter        o (n - 1) / n                                                          (2)
    all-reduce          2 o (n - 1) / n                                                          (3)
    all-to-all            o (n - 1) / n                                                          (4)
    collective-permute    o                                                                      (5)

HBM traffic is the bytes of the operands read and the results written by every instruction
outside fusions. Arrays in on-chip memory (memory space S(1)) do not count. An operand that a
fusion only slices counts as the slice, and an operand that it updates in place as the update. The
workspace given to cuBLAS and cuDNN does not count as a result. A TPU's vector memory is a
memory space of the compiler, and a GPU's caches are not. A program small enough to stay in the
caches (50 MB on an H200) therefore moves less than is counted here.
"""

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterator

BYTES = {  # bytes of a number, by its type in HLO
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
# Opcodes without traffic of their own: names, views, control flow, and ends of asynchronous pairs.
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
    "opt-barrier",
)

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"(?:^|[\s)}\]])([a-z][\w\-]*)\(")
_WORKSPACE = re.compile(r"\b[su]8\[\d+\](\{0\})?(?=\)\s*$)")
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction of a computation, a line of HLO text.

    Attributes:
        name: the name of its result.
        opcode: for example "fusion".
        result: the text before the opcode, the shape of the result.
        rest: the text after "opcode(", the operands and attributes.
        root: True for the computation's result.
    """

    name: str
    opcode: str
    result: str
    rest: str
    root: bool

    @property
    def operands(self) -> list[str]:
        """The names of the operands, in order."""
        # The list of operands ends at the parenthesis that closes "opcode(".
        depth, inside = 1, self.rest
        for i, letter in enumerate(self.rest):
            depth += (letter in "({[") - (letter in ")}]")
            if depth == 0:
                inside = self.rest[:i]
                break
        return re.findall(r"%([\w.\-]+)", inside)

    def attribute(self, name: str) -> str | None:
        """Returns the text of an attribute of the instruction; None if it does not have it.

        `name` is the attribute's name, such as "body".
        """
        found = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return found[1] if found else None


@dataclasses.dataclass
class Collective:
    """All collectives of one kind in a program.

    Attributes:
        count: the number of collectives that run.
        sent: bytes that each device sends in all of them.
    """

    count: int = 0
    sent: float = 0.0


def size(shapes: str, *, on_chip: bool = True) -> int:
    """Returns the bytes of all arrays in a piece of HLO text, such as "f32[8,128]{1,0}".

    Args:
        shapes: the text.
        on_chip: whether to count arrays in on-chip memory. Default: True.
    """
    total = 0
    for kind, sides, layout in _SHAPE.findall(shapes):
        if kind in BYTES and (on_chip or "S(1)" not in layout):
            total += BYTES[kind] * math.prod(int(n) for n in sides.split(",") if n)
    return total


class Program:
    """A compiled module, parsed from its HLO text.

    Args:
        text: `jax.jit(f).lower(...).compile().as_text()`.

    Attributes:
        computations: {name: {instruction's name: `Instruction`}}.
        entry: name of the computation that the program starts with.
    """

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
                instruction = Instruction(
                    found[2],
                    opcode[1],
                    found[3][: opcode.start(1)],
                    found[3][opcode.end() :],
                    bool(found[1]),
                )
                body[instruction.name] = instruction

    def running(
        self, computation: str | None = None, times: int = 1
    ) -> Iterator[tuple[Instruction, dict[str, Instruction], int]]:
        """Yields (instruction, its computation, how often it runs) for every instruction outside
        fusions.

        All branches of a conditional count as run.

        Args:
            computation: name of the computation to start from. Default: the entry.
            times: how often that computation runs. Default 1.

        Raises:
            ValueError: the trip count of a loop is unknown.
        """
        body = self.computations[computation or self.entry]
        for instruction in body.values():
            yield instruction, body, times
            if instruction.opcode == "while":
                yield from self.running(
                    instruction.attribute("body"), times * self._trips(instruction)
                )
            elif instruction.opcode == "call":
                yield from self.running(instruction.attribute("to_apply"), times)
            elif instruction.opcode == "conditional":
                for branch in re.findall(
                    r"%([\w.\-]+)", _match(r"branch_computations=\{([^}]*)\}", instruction.rest)[1]
                ):
                    yield from self.running(branch, times)
            elif instruction.opcode == "async-start" and instruction.attribute("calls"):
                yield from self.running(instruction.attribute("calls"), times)

    def _called(self, instruction: Instruction, attribute: str) -> dict[str, Instruction]:
        """Returns the computation that an attribute of an instruction names."""
        name = instruction.attribute(attribute)
        if name is None:
            raise ValueError(f"the {instruction.opcode} {instruction.name} has no {attribute}")
        return self.computations[name]

    def _trips(self, loop: Instruction) -> int:
        if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest):
            return int(known[1])
        # Assumes a loop that counts from 0 by 1 up to the one constant of its condition.
        bounds = [
            int(found[1])
            for i in self._called(loop, "condition").values()
            if i.opcode == "constant"
            and i.result.strip().startswith("s32[]")
            and (found := re.match(r"(\d+)\)", i.rest))
        ]
        if len(bounds) != 1:
            raise ValueError(f"the trip count of the loop {loop.name} is unknown")
        return bounds[0]

    def collectives(self) -> dict[str, Collective]:
        """Returns {kind: `Collective`}, the number of collectives of each kind that run and the
        bytes that each device sends in them.

        The kinds are those of COLLECTIVES, such as "all-gather". An asynchronous collective counts
        at its start.

        Raises:
            ValueError: the trip count of a loop or the groups of a collective cannot be parsed.
        """
        found: dict[str, Collective] = defaultdict(Collective)
        for instruction, body, times in self.running():
            kind = instruction.opcode.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            operands = sum(size(body[o].result) for o in instruction.operands if o in body)
            # A collective-permute lists pairs, not groups, and sends its whole operand.
            n = 2 if kind == "collective-permute" else _group(instruction.rest)
            # The result of an asynchronous start contains its operands too.
            result = size(instruction.result) - (
                operands if instruction.opcode.endswith("-start") else 0
            )
            fraction = (n - 1) / n
            sent = {
                "all-gather": result * fraction,
                "all-reduce": 2 * operands * fraction,
                "collective-permute": operands,
            }.get(kind, operands * fraction)
            found[kind].count += times
            found[kind].sent += times * sent
        return dict(found)

    def traffic(self) -> float:
        """Returns the bytes that one device reads from and writes to HBM in a run of the program.

        Raises:
            ValueError: the trip count of a loop is unknown.
        """
        total = 0.0
        for instruction, body, times in self.running():
            if instruction.opcode in FREE or instruction.opcode.endswith(("-done", "-update")):
                continue
            total += times * self._moved(instruction, body)
        return total

    def _moved(self, instruction: Instruction, body: dict[str, Instruction]) -> float:
        """Returns the HBM bytes that one run of an instruction reads and writes."""
        result = instruction.result
        # The result of a cuBLAS or cuDNN call is (product, workspace).
        if instruction.opcode == "custom-call" and 'custom_call_target="__cu' in instruction.rest:
            result = _WORKSPACE.sub("", result)
        written = size(result, on_chip=False)
        read = [size(body[o].result, on_chip=False) for o in instruction.operands if o in body]
        if instruction.opcode in ("dynamic-slice", "slice", "gather"):
            return 2 * written
        if instruction.opcode == "dynamic-update-slice":
            return 2 * (read[1] if len(read) > 1 else written)
        if instruction.opcode == "async-start" and instruction.attribute(
            "calls"
        ):  # counted in its body
            return 0.0
        # The result is (whole operand, slice, ...). Only the slice is read, and written to HBM
        # unless it stays on the chip.
        if instruction.opcode == "slice-start":
            cut = list(_SHAPE.finditer(result))[1][0]
            return size(cut) + size(cut, on_chip=False)
        # The result of a start is (operand, result), except that of all-reduce-start, which is the
        # result alone: there the operand is added.
        if instruction.opcode.endswith("-start"):
            return written + sum(read) * (instruction.opcode == "all-reduce-start")
        if instruction.opcode != "fusion":
            return written + sum(read)
        inside = self._called(instruction, "calls")
        parameters = {
            int(i.rest.split(")")[0]): i.name for i in inside.values() if i.opcode == "parameter"
        }
        # An operand counts as much as the instructions of the fusion read of it.
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
            full = size(update.result)
            # An update in place writes only the updated slice.
            if full <= written and update.operands[1] in inside:
                written += size(inside[update.operands[1]].result) - full
        return written + sum(read)


def _match(pattern: str, text: str) -> re.Match[str]:
    if (found := re.search(pattern, text)) is None:
        raise ValueError(f"no {pattern} in {text[:200]}")
    return found


def _group(rest: str) -> int:
    """Returns the number of devices in one group of a collective, from its HLO attributes.

    Replica groups are written as counts, as lists, or as axes of a mesh.

    Raises:
        ValueError: the groups are written in another way, or are absent, which means all devices.
    """
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]", rest):
        return int(found[2])
    if found := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return len(found[1].split(","))
    if found := re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=[^{]*)? ?\{([^}]*)\}", rest
    ):
        sizes = {axis: int(n) for axis, n in re.findall(r"'(\w+)'=(\d+)", found[1])}
        # A part of an axis is written 'axis':(product of the parts before it)size.
        return math.prod(
            int(part) if part else sizes[axis]
            for axis, part in re.findall(r"'(\w+)'(?::\(\d+\)(\d+))?", found[2])
        )
    raise ValueError(f"cannot parse the replica groups of a collective: {rest[:200]}")
