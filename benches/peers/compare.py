"""Millrace and its peers on the same files, in turns; called by benches/peers/run.

compare.py WORK MERGE_BENCH INPUTS [NAME…] [--quick] [--repeats N] [--json FILE] [--page FILE]

A peer's time is what it says itself, without starting Python; ours is the whole process, from start to exit.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

here = pathlib.Path(__file__).resolve().parent
parser = argparse.ArgumentParser()
parser.add_argument("work", type=pathlib.Path)
parser.add_argument("merge_bench")
parser.add_argument("inputs", type=pathlib.Path)
parser.add_argument("names", nargs="*")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--repeats", type=int)
parser.add_argument("--json", type=pathlib.Path)
parser.add_argument("--page", type=pathlib.Path)
asked = parser.parse_args()
work, inputs = asked.work.resolve(), asked.inputs.resolve()
millrace = work / "millrace"
repeats = asked.repeats or (1 if asked.quick else 3)


def load():
    return os.getloadavg()[0]


def run(*command):
    """Runs a program to its end: what it said, its seconds, its processor seconds, its peak memory in MB."""
    begin = time.perf_counter()
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    said = child.stdout.read()
    _, status, used = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begin
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{command} ended with {child.returncode}")
    return said, {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def events(count, lines):
    """A folder of simulated events, made once: one file of lines, or a file an event."""
    folder = inputs / f"{'nd' if lines else 'files'}{count}"
    if not folder.exists():
        making = inputs / "making"
        shutil.rmtree(making, ignore_errors=True)
        run(millrace, "simulate", "-n", count, "--seed", 5, "--into", making, *(["--ndjson"] if lines else []))
        making.rename(folder)
        os.sync()
        time.sleep(1.5)
    for file in folder.iterdir():
        # In pieces: what this process ever held would be counted as a child's.
        with open(file, "rb") as whole:
            while whole.read(1 << 20):
                pass
    return folder


def fresh():
    """A folder of its own, removed at the very end: whoever makes files within minutes of removing hundreds waits for ext4."""
    return pathlib.Path(tempfile.mkdtemp(dir=work))


def ours(source, *more):
    """Every event of the folder into tables of its own."""
    root = fresh()
    pipeline = (here.parents[1] / "resources/pipelines/orders.toml").read_text()
    (root / "bench.toml").write_text(pipeline.replace('"input_events"', json.dumps(str(source)), 1))
    _, took = run(millrace, "-C", root, "-p", root / "bench.toml", "run", "--once", *more)
    return took


def duckdb(source):
    out = fresh() / "duckdb"
    said, took = run(sys.executable, here / "duckdb_orders.py", source, out, 1)
    return {**took, "wall": float(re.search(r"duckdb total ([0-9.]+)", said).group(1))}


def dlt(source):
    out = fresh() / "dlt"
    said, took = run(sys.executable, here / "dlt_orders.py", source, out)
    return {**took, "wall": float(said.split()[-1])}


def against(what, peer, count, ours_once, peer_once, target=None):
    """Both in turns; a line with the medians and the median of the ratios."""
    before = load()
    pairs = []
    for _ in range(repeats):
        pairs.append((ours_once(), peer_once()))
    return line(what, peer, count, pairs, before, target)


def line(what, peer, count, pairs, before, target):
    middle = lambda which, key: statistics.median(pair[which][key] for pair in pairs)
    ratio = lambda key: statistics.median(p[key] / o[key] for o, p in pairs)
    found = {"work": what, "peer": peer, "rows_or_events": count, "ours_s": middle(0, "wall"),
             "peer_s": middle(1, "wall"), "times_faster": ratio("wall"), "ours_cpu_s": middle(0, "cpu"),
             "peer_cpu_s": middle(1, "cpu"), "times_less_cpu": ratio("cpu"),
             "ours_mb": max(o["peak_mb"] for o, _ in pairs), "peer_mb": max(p["peak_mb"] for _, p in pairs),
             "runs": len(pairs), "target": target, "met": None if target is None else ratio("wall") >= target,
             "load": [before, load()], "samples": pairs}
    print(f"{what} | {peer}: ours {found['ours_s']:.2f} s, theirs {found['peer_s']:.2f} s: {found['times_faster']:.2f} "
          f"times faster, {found['times_less_cpu']:.2f} times less processor time; load {before:.1f}", flush=True)
    return found


def bulk():
    count = 5_000 if asked.quick else 101_172
    source = events(count, lines=True)
    yield against("bulk, tables", "DuckDB SQL", count, lambda: ours(source, "--no-mirror"), lambda: duckdb(source), 3.0)
    yield against("bulk, tables and mirror", "DuckDB SQL", count, lambda: ours(source), lambda: duckdb(source))


def small_files():
    count = 500 if asked.quick else 10_124
    source = events(count, lines=False)
    yield against("small files, tables", "DuckDB SQL", count, lambda: ours(source, "--no-mirror"), lambda: duckdb(source))


def with_dlt():
    count = 500 if asked.quick else 5_000
    source = events(count, lines=True)
    yield against("bulk, tables", "dlt", count, lambda: ours(source, "--no-mirror"), lambda: dlt(source))


def merge():
    for rows in [10_000] if asked.quick else [1_000_000, 5_000_000]:
        before = load()
        with Asked([asked.merge_bench, "--bench", "--one", str(rows)]) as one, \
                Asked([sys.executable, here / "delta_merge.py", work / "delta", str(rows)]) as other:
            pairs = []
            for _ in range(2 if asked.quick else 5):
                answer = one.ask()
                took = {"wall": answer["work"] / 1e3, "cpu": answer["cpu"] / 1e3, "peak_mb": answer["most memory"]}
                pairs.append((took, other.ask()))
        shutil.rmtree(work / "delta")
        # The first batch after filling warms both up.
        yield line(f"10,000 events into {rows:,} rows", "delta-rs MERGE", rows, pairs[1:], before, None)


class Asked:
    """A program that answers every line with a line of JSON, after it said `ready`."""

    def __init__(self, command):
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        if self.child.stdout.readline().strip() != "ready":
            raise SystemExit(f"{self.child.args} did not begin")
        return self

    def ask(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait()


def page(found):
    """Lines of the same work and peer are replaced, the others stay."""
    text = asked.page.read_text()
    begin, end = "<!-- peers:begin -->\n", "<!-- peers:end -->"
    before, rest = text.split(begin)
    old, after = rest.split(end)
    head = ("| work | peer | ours, s | theirs, s | times faster | target | times less processor time | peak MB, ours / theirs "
            "| load | date | commit |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
    name = lambda l: tuple(part.strip() for part in l.split("|")[1:3])
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    dirty = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "Cargo.lock"]).returncode
    date = datetime.datetime.now(datetime.timezone.utc).date()
    lines = {name(l): l for l in old.splitlines() if l.startswith("| ") and not l.startswith("| work")}
    for f in found:
        target = "" if f["target"] is None else f"{f['target']:g}: {'met' if f['met'] else 'NOT met'}"
        text = (f"| {f['work']} | {f['peer']} | {f['ours_s']:.3g} | {f['peer_s']:.3g} | {f['times_faster']:.2f} | {target} "
                f"| {f['times_less_cpu']:.2f} | {f['ours_mb']:.0f} / {f['peer_mb']:.0f} "
                f"| {f['load'][0]:.0f} to {f['load'][1]:.0f} | {date} | {commit}{'+' if dirty else ''} |")
        lines[name(text)] = text
    asked.page.write_text(before + begin + head + "".join(l + "\n" for l in lines.values()) + end + after)


every = {"bulk": bulk, "small-files": small_files, "dlt": with_dlt, "merge": merge}
unknown = [n for n in asked.names if n not in every]
if unknown or (asked.quick and asked.page):
    raise SystemExit(f"no such work: {unknown}; there are {list(every)}" if unknown else "quick figures are for no page")
everything = []
for name in asked.names or every:
    for one in every[name]():
        everything.append(one)
        if asked.json:
            asked.json.write_text(json.dumps(everything, indent=1) + "\n")
        if asked.page:
            page(everything)
