"""How long DuckDB and Polars take to read tables: read.py TABLES_OF_SMALL_BATCHES FRESH_TABLES TABLES_OF_ONE_COMMIT

Counts the rows of every table, and adds up a column of each of two; the places in turns, so that whatever else
the machine does hits all alike. All must give the same. Prints JSON.
"""

import json
import pathlib
import sys
import time

import duckdb
import duckdb_extensions
import polars

REPEATS = 9
TABLES = ["customer", "delivery_address", "seller", "item", "promotion", "warehouse", "shipment", "item_shipment",
          "order_item"]
SUMS = [("order_item", "item_quantity"), ("item_shipment", "quantity")]
places = dict(zip(["small", "fresh", "one"], map(pathlib.Path, sys.argv[1:]), strict=True))

connection = duckdb.connect()
duckdb_extensions.import_extension("delta", con=connection)
connection.execute("set threads = 2")


def duckdb_count(place):
    return [connection.execute(f"select count(*) from delta_scan('{place / t}')").fetchone()[0] for t in TABLES]


def duckdb_sum(place):
    return [connection.execute(f"select sum({c}) from delta_scan('{place / t}')").fetchone()[0] for t, c in SUMS]


def polars_count(place):
    return [polars.scan_delta(str(place / t)).select(polars.len()).collect().item() for t in TABLES]


def polars_sum(place):
    return [polars.scan_delta(str(place / t)).select(polars.col(c).sum()).collect().item() for t, c in SUMS]


told = []
for engine, question, ask in [("DuckDB", "count", duckdb_count), ("DuckDB", "sum", duckdb_sum),
                              ("Polars", "count", polars_count), ("Polars", "sum", polars_sum)]:
    answers = {which: ask(place) for which, place in places.items()}
    if len({tuple(answer) for answer in answers.values()}) > 1:
        raise SystemExit(f"{engine}, {question}: {answers}")
    times = {which: [] for which in places}
    for _ in range(REPEATS):
        for which, place in places.items():
            begin = time.perf_counter()
            ask(place)
            times[which].append((time.perf_counter() - begin) * 1e3)
    told.append({"engine": engine, "question": question, **times})
print(json.dumps(told))
