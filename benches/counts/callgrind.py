"""What callgrind counted: all instructions in user space, and those among them that are atomic (x86's lock prefix, or an
exchange with memory), each of which costs as much as some twenty others."""

import functools
import re
import shutil
import subprocess

COST = re.compile(r"(0x[0-9a-f]+|[+-]\d+|\*) \S+ (\d+)$")
OBJECT = re.compile(r"ob=\((\d+)\)(?: (.*))?$")
CALLED = re.compile(r"cob=\((\d+)\) (.*)$")
ATOMIC = re.compile(r"\s*([0-9a-f]+):\s+(?:lock |xchg .*\()")

why_no_atomics = None if shutil.which("objdump") else "objdump is not installed"


@functools.lru_cache(None)
def atomics(path):
    """The addresses of an object's atomic instructions."""
    command = ["objdump", "-d", "--no-show-raw-insn", path]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    return frozenset(int(match[1], 16) for match in map(ATOMIC.match, said.splitlines()) if match)


def executed(lines):
    """{object: {address: how often}} of a file that was written with --dump-instr=yes."""
    names, found, counts, address, of_call = {}, {}, {}, 0, False
    for line in lines:
        if match := COST.match(line):
            where = match[1]
            address = int(where, 16) if where.startswith("0x") else address + (0 if where == "*" else int(where))
            # The line after a call has the cost of all that was called, which is counted where it was done.
            if not of_call:
                counts[address] = counts.get(address, 0) + int(match[2])
            of_call = False
        elif line.startswith("calls="):
            of_call = True
        elif match := CALLED.match(line):
            names[match[1]] = match[2]
        elif match := OBJECT.match(line):
            names.setdefault(match[1], match[2])
            counts = found.setdefault(names[match[1]], {})
    return found


def totals(lines):
    """(instructions, atomic ones)"""
    found = executed(lines)
    every = sum(sum(counts.values()) for counts in found.values())
    atomic = 0
    for path, counts in found.items():
        if path.startswith("/") and not why_no_atomics:
            atomic += sum(counts.get(address, 0) for address in atomics(path))
    return every, atomic
