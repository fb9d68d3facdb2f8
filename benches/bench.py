"""What the scripts that measure have in common: settings, CPUs, programs, medians, tables and files of results.

A results file in build/bench/results/ holds one JSON object a line. The first says on what was measured ("about"); each of
the others is one figure of one program in one cell of the suite's table:

    suite, cell, program, engine, ours, metric, unit, values, median, low, high,
    and where there is a baseline: baseline, ratio, ratio_low, ratio_high (of the rounds' ratios).
"""

import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")
RESULTS = os.path.join(BUILD, "bench", "results")
QUICK = os.environ.get("QUICK", "") not in ("", "0")
STYLES = ("await", "pooled", "readiness", "completion")  # of c-examples/echo_server

os.chdir(ROOT)
os.environ["LC_ALL"] = "C"


def setting(name, usual, quick=None):
    """A number from the environment, or what is usual; with QUICK=1, what is quick."""
    if name in os.environ:
        return type(usual)(os.environ[name])
    return quick if QUICK and quick is not None else usual


def fail(why):
    sys.exit(f"{os.path.relpath(sys.argv[0], ROOT)}: {why}")


# ---- programs ----


class Program:
    """A competitor: its name, its command, and the name of the one that it is compared with."""

    def __init__(self, name, command, baseline=None, engine="", ours=False):
        self.name, self.command, self.baseline = name, command.split(), baseline
        self.engine, self.ours = engine, ours

    def why_not(self):
        """Why it cannot run here, or None."""
        return None if os.access(self.command[0], os.X_OK) else f"{self.command[0]} is not built"


def choose(programs, names):
    """Those that were asked for by name, or all, with the baselines that they are compared with."""
    known = {p.name: p for p in programs}
    for name in names:
        if name not in known:
            fail(f"nothing is called {name}: {' '.join(known)}")
    chosen = [known[name] for name in names] or programs
    wanted = {p.name for p in chosen} | {p.baseline for p in chosen}
    return [p for p in programs if p.name in wanted]


def able(programs, why_not):
    """Those that work here; says which do not."""
    left = []
    for program in programs:
        why = program.why_not() or why_not(program)
        if why:
            print(f"skipped: {program.name}: {why}")
        else:
            left.append(program)
    return left


def run(command, cpu=None, **options):
    """Its output; ends this script with its last words if it fails."""
    done = subprocess.run(pinned(command, cpu), capture_output=True, text=True, **options)
    if done.returncode != 0:
        fail(f"{' '.join(command)}: {last_line(done.stderr) or f'status {done.returncode}'}")
    return done.stdout


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def pinned(command, cpu):
    return command if cpu is None else ["taskset", "-c", str(cpu), *command]


def two_cpus():
    """For the server and for the load: the first two that are allowed, unless SERVER_CPU and LOAD_CPU say others."""
    cpus = sorted(os.sched_getaffinity(0))
    return setting("SERVER_CPU", cpus[0]), setting("LOAD_CPU", cpus[1 % len(cpus)])


class Server:
    """A running server, from its greeting to its orderly end."""

    def __init__(self, command, cpu=None, under=(), environment=None):
        self.command, self.errors = command, tempfile.TemporaryFile("w+")  # a pipe that nobody reads may fill up
        self.process = subprocess.Popen(
            pinned([*under, *command], cpu), stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment
        )
        greeting = self.process.stdout.readline()
        match = re.search(r"listening on 127\.0\.0\.1:(\d+)", greeting)
        self.port = int(match[1]) if match else None
        self.pid = self.process.pid
        if under:  # the tool's child, or under valgrind the process itself
            with open(f"/proc/{self.pid}/task/{self.pid}/children") as f:
                self.pid = int((f.read().split() or [self.pid])[0])

    @staticmethod
    def why_not(program):
        """Why it does not start here, or None."""
        server = Server(program.command)
        well = server.port is not None
        return None if server.stop() and well else f"it did not start: {server.said()}"

    def said(self):
        self.errors.seek(0)
        return last_line(self.errors.read())

    def stop(self):
        """Whether it ended well; SIGTERM may kill it."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        self.process.communicate()
        return self.process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)

    def __enter__(self):
        if self.port is None:
            self.stop()
            fail(f"{' '.join(self.command)} did not say where it listens: {self.said()}")
        return self

    def __exit__(self, error, *_):
        well = self.stop()
        if error is None and not well:
            fail(f"{' '.join(self.command)} ended badly: {self.said()}")
        self.errors.close()

    def memory(self, field):
        """A field of /proc/PID/status, in bytes."""
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(rf"^{field}:\s+(\d+) kB", f.read(), re.M)[1]) * 1024


def system_calls(command, load, messages):
    """How many system calls of each kind a message takes once all is under way: the difference between a run with twice
    as many messages and one, over the messages. `load` runs the client, given a server and how many messages."""
    totals = []
    for n in (messages, 2 * messages):
        with tempfile.NamedTemporaryFile("r") as f:
            with Server(command, under=["strace", "-f", "-c", "-U", "name,calls", "-o", f.name]) as server:
                load(server, n)
            rows = map(str.split, f)
            totals.append({row[0]: int(row[1]) for row in rows if row[1:] and row[1].isdigit() and row[0] != "total"})
    return {
        name: (n - totals[0].get(name, 0)) / messages
        for name, n in totals[1].items() if n != totals[0].get(name, 0)
    }


# ---- figures ----


def figures(text):
    """Of lines "name value": a dictionary, of numbers where they are numbers."""
    found = {}
    for name, value in re.findall(r"(\w+) (\S+)", text):
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found


def in_turns(programs, rounds, measure):
    """Calls measure(program) for each, round after round, in an order that turns: whatever slows the machine down for a
    while hits neighbours. Returns {name: [what it returned, a round each]}."""
    found = {p.name: [] for p in programs}
    for turn in range(rounds):
        order = programs if turn % 2 == 0 else programs[::-1]
        first = turn * len(order) // rounds
        for program in order[first:] + order[:first]:
            found[program.name].append(measure(program))
    return found


class Results:
    """Collects figures, and writes them as it goes, so that a run that was cut short has left something."""

    def __init__(self, suite, settings, part=False):
        """A part of a suite that was measured again adds to what there is of the whole, whose next run replaces both."""
        os.makedirs(RESULTS, exist_ok=True)
        whole, again = (os.path.join(RESULTS, f"{suite}{suffix}.jsonl") for suffix in ("", ".part"))
        if not part and os.path.exists(again):
            os.remove(again)
        self.suite, self.rows = suite, {}
        self.file = open(again if part else whole, "w")
        self.put({"about": about(), "suite": suite, "settings": settings})

    def put(self, line):
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def add(self, cell, program, metric, unit, values, base=None):
        """One figure, with a value a round, and those of the baseline in the same rounds."""
        row = {
            "suite": self.suite, "cell": cell, "program": program.name, "engine": program.engine, "ours": program.ours,
            "metric": metric, "unit": unit, "values": values,
            "median": statistics.median(values), "low": min(values), "high": max(values),
        }
        if base and program.baseline and all(base):
            ratios = [v / b for v, b in zip(values, base)]
            row |= {
                "baseline": program.baseline, "ratio": statistics.median(ratios),
                "ratio_low": min(ratios), "ratio_high": max(ratios),
            }
        self.rows[cell, program.name, metric] = row
        self.put(row)

    def median(self, cell, program, metric):
        row = self.rows.get((cell, program.name, metric))
        return None if row is None else row["median"]

    def note(self, cell, text):
        print(text)
        self.put({"suite": self.suite, "cell": cell, "note": text})


def table(title, heads, rows):
    """Prints columns: the first to the left, the others to the right; None is nothing."""
    lines = [heads, *[["" if c is None else c for c in row] for row in rows]]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(heads))]
    print(f"\n{title}")
    for line in lines:
        print("  ".join(str(c).rjust(w) if i else str(c).ljust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip())
    sys.stdout.flush()


def number(value, digits=0):
    return None if value is None else f"{value:.{digits}f}"


def spread(row, what="", digits=3):
    """"median (low-high)" of a row's values, or of its ratios."""
    if row is None or (what and "ratio" not in row):
        return None
    middle, low, high = (row[k] for k in (("ratio", "ratio_low", "ratio_high") if what else ("median", "low", "high")))
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


# ---- the machine ----


def first_match(path, pattern):
    try:
        with open(path) as f:
            match = re.search(pattern, f.read(), re.M)
            return match[1].strip() if match else None
    except OSError:
        return None


def said_by(*command):
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None


def libev_version():
    major, minor = (first_match("/usr/include/ev.h", rf"EV_VERSION_{m} (\d+)") for m in ("MAJOR", "MINOR"))
    return f"{major}.{minor}" if major else None


def tokio_version():
    return first_match("Cargo.lock", r'name = "tokio"\nversion = "([^"]+)"')


def about():
    """What the figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": said_by("git", "describe", "--always", "--dirty"),
        "cpu": first_match("/proc/cpuinfo", r"^model name\s*: (.*)$") or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "compiler": said_by(os.environ.get("CC", "gcc"), "--version"),
        "rustc": said_by("rustc", "--version"),
        "libuv": said_by("pkg-config", "--modversion", "libuv"),
        "libevent": said_by("pkg-config", "--modversion", "libevent_core"),
        "libev": libev_version(),
        "tokio": tokio_version(),
        "load average before": round(os.getloadavg()[0], 2),
    }
