"""delta-rs merging into a table of the shape of `order_item`: delta_merge.py FOLDER ROWS

Fills the table, says `ready`, then merges 10,000 rows for every line it is sent, 7,000 of them known, and answers with
what that took.
"""

import json
import random
import resource
import sys
import time

import pyarrow
from deltalake import DeltaTable, write_deltalake

folder, rows = sys.argv[1], int(sys.argv[2])
MERGED, KNOWN, CHUNK = 10_000, 7_000, 500_000
dice = random.Random(1)


def table(numbers, version):
    """Rows by their number, as `order_item` has them: keys, amounts, dates, short texts."""
    n = len(numbers)
    text = lambda kind: pyarrow.array([f"{kind}-{i:012d}" for i in numbers])
    columns = {"id": pyarrow.array([f"{i * 2654435761 % 2**61:032x}" for i in numbers]), "order_id": text("order"),
               "item_id": text("item"), "customer_id": text("customer"), "address_id": text("address")}
    for at in range(12):
        columns[f"amount_{at}"] = pyarrow.array([(i * (at + 7) % 100_000) / 100 + version for i in numbers])
    for at in range(4):
        columns[f"quantity_{at}"] = pyarrow.array([i % (at + 5) for i in numbers], pyarrow.int64())
    for at in range(8):
        columns[f"text_{at}"] = pyarrow.array([f"value {i % (10 ** (at % 4 + 1))}" for i in numbers])
    for at in range(4):
        columns[f"at_{at}"] = pyarrow.array([1_700_000_000_000_000 + i * 1_000_000 for i in numbers],
                                            pyarrow.timestamp("us", "UTC"))
    columns["_batch_id"] = pyarrow.array([version] * n, pyarrow.int64())
    return pyarrow.table(columns)


for begin in range(0, rows, CHUNK):
    write_deltalake(folder, table(range(begin, min(begin + CHUNK, rows)), 0), mode="append")
print("ready", flush=True)
known = rows
for version, _ in enumerate(sys.stdin, 1):
    numbers = dice.sample(range(known), KNOWN) + list(range(known, known + MERGED - KNOWN))
    known += MERGED - KNOWN
    source = table(numbers, version)
    used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    begin, before = time.perf_counter(), used()
    merge = DeltaTable(folder).merge(source, "s.id = t.id", source_alias="s", target_alias="t")
    merge.when_matched_update_all().when_not_matched_insert_all().execute()
    took = {"wall": time.perf_counter() - begin, "cpu": used() - before,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    print(json.dumps(took), flush=True)
