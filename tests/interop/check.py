"""Do other readers see exactly our rows? usage: check.py path/to/millrace

Fills a root from the sample events, then from simulated ones in several batches (updates, deletes, late events),
and holds what Polars, deltalake and DuckDB read of every table against what `millrace query` says: the same row
counts and the same content hashes.
"""

import datetime
import decimal
import hashlib
import json
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile

import duckdb
import duckdb_extensions
import polars
import pyarrow
from deltalake import DeltaTable, QueryBuilder

TABLES = ["customer", "delivery_address", "seller", "item", "promotion", "warehouse", "shipment", "item_shipment",
          "order_item", "_files", "_quarantine"]
millrace = pathlib.Path(sys.argv[1]).resolve()
here = pathlib.Path(__file__).resolve().parents[2]


def run(root, *args, ok=(0,)):
    done = subprocess.run([millrace, "-C", root, *args], capture_output=True, text=True)
    if done.returncode not in ok:
        raise SystemExit(f"millrace {args} exited with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def text(value):
    """One spelling for a value, whoever read it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, decimal.Decimal):
        return f"{value:.4f}"
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc)
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, float):
        return repr(value)
    return str(value)


def digest(rows):
    """Of the rows as a set, with their number."""
    lines = sorted(json.dumps(row, ensure_ascii=True) for row in rows)
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def with_query(root, table, columns, types):
    rows = json.loads(run(root, "query", "--json", f'select * from "{table}"'))

    def cell(row, column):
        value = row[column]
        if value is None:
            return None
        if types[column].startswith("decimal"):
            return f"{decimal.Decimal(str(value)):.4f}"
        if types[column] == "double":
            return repr(float(value))
        return text(value)

    return digest([[cell(row, c) for c in columns] for row in rows])


def with_polars(path, columns):
    return digest([[text(v) for v in row] for row in polars.read_delta(str(path)).select(columns).rows()])


def with_deltalake(path, columns):
    names = ", ".join(f'"{c}"' for c in columns)
    result = QueryBuilder().register("t", DeltaTable(str(path))).execute(f"select {names} from t").read_all()
    frame = pyarrow.table(result).to_pylist()
    return digest([[text(row[c]) for c in columns] for row in frame])


def with_duckdb(connection, path, columns):
    names = ", ".join(f'"{c}"' for c in columns)
    rows = connection.execute(f"select {names} from delta_scan('{path}')").fetchall()
    return digest([[text(v) for v in row] for row in rows])


def differences(root, connection, tables, stage=None):
    """What another reader reads otherwise than `query`; says what is the same if there is a stage to name."""
    differing = []
    for table in tables:
        path = root / "tables" / table
        fields = json.loads(DeltaTable(str(path)).schema().to_json())["fields"]
        columns = [f["name"] for f in fields]
        types = {f["name"]: f["type"] for f in fields}
        ours = with_query(root, table, columns, types)
        found = {
            "polars": with_polars(path, columns),
            "deltalake": with_deltalake(path, columns),
            "duckdb": with_duckdb(connection, path, columns),
        }
        for reader, theirs in found.items():
            if theirs != ours:
                differing.append(f"{table}: {reader} reads {theirs}, millrace query {ours}")
        if stage and not differing:
            print(f"{stage}: {table}: {ours[0]} rows, {ours[1]}: the same for polars, deltalake, duckdb and query")
    return differing


def compare(root, connection, stage):
    differing = differences(root, connection, TABLES, stage)
    if differing:
        raise SystemExit("\n".join(f"{stage}: {line}" for line in differing))


def would_notice(root, connection):
    """One wrong value in the mirror, then one lost deletion in Delta: every reader has to differ."""
    with tempfile.TemporaryDirectory() as temp:
        copy = pathlib.Path(temp) / "value"
        shutil.copytree(root, copy)
        mirror = sqlite3.connect(copy / "database" / "orders.db")
        mirror.execute("update item set price = price + 0.0001 where id = (select min(id) from item)")
        mirror.commit()
        mirror.close()
        noticed(differences(copy, connection, ["item"]), "a wrong price")

        copy = pathlib.Path(temp) / "deletion"
        shutil.copytree(root, copy)
        for checkpoint in copy.glob("tables/order_item/_delta_log/*checkpoint*"):
            checkpoint.unlink()
        for commit in sorted(copy.glob("tables/order_item/_delta_log/*.json")):
            actions = [json.loads(line) for line in commit.read_text().splitlines()]
            for action in actions:
                action.get("add", {}).pop("deletionVector", None)
            commit.write_text("".join(json.dumps(action) + "\n" for action in actions))
        noticed(differences(copy, connection, ["order_item"]), "a lost deletion")


def noticed(differing, what):
    if len(differing) != 3:
        raise SystemExit(f"{what} was noticed by {len(differing)} of 3 readers: {differing}")
    print(f"{what}: noticed with polars, deltalake and duckdb")


def main():
    connection = duckdb.connect()
    duckdb_extensions.import_extension("delta", con=connection)
    connection.execute("load delta")
    connection.execute("set timezone = 'UTC'")
    with tempfile.TemporaryDirectory() as temp:
        root = pathlib.Path(temp)
        shutil.copytree(here / "input_events", root / "input_events")
        run(root, "run", "--once")
        compare(root, connection, "samples")
        # The same shop goes on: later events of the same orders update and delete.
        for events in (300, 600, 900, 1200):
            run(root, "simulate", "-n", str(events), "--seed", "7", "--bad", "0.05")
            run(root, "run", "--once", ok=(0, 3))
        compare(root, connection, "simulated")
        log = (root / "tables" / "order_item" / "_delta_log").glob("*.json")
        if not any('"deletionVector"' in commit.read_text() for commit in log):
            raise SystemExit("no deletion vector was written: the check above proves nothing about updates")
        would_notice(root, connection)
        run(root, "verify")


main()
