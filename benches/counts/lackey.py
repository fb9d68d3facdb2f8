"""What valgrind's lackey saw: the cache lines that a program reads and writes. With many connections each of them is a miss,
which no count of instructions shows."""

LINE = 64


def uses(trace):
    """{line: how often}"""
    counts = {}
    for entry in trace:
        # " L 1ffeffe7e0,8", a load; S, a store; M, both. An instruction's begins with an I.
        if entry[0] == " ":
            address, size = entry[3:].split(",")
            address = int(address, 16)
            for line in range(address // LINE, (address + int(size) - 1) // LINE + 1):
                counts[line] = counts.get(line, 0) + 1
    return counts
