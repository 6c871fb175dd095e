"""dlt doing the orders job: dlt_orders.py EVENTS_DIR OUT_DIR. Nested JSON to a table a level, merged by the order's key
into DuckDB, the newest event of an order winning. Prints the seconds."""

import json
import os
import pathlib
import sys
import time

source, out = map(pathlib.Path, sys.argv[1:])
out.mkdir(parents=True)
# Its state belongs to this run, and it is to tell nobody.
os.environ.update({"DLT_DATA_DIR": str(out / "state"), "RUNTIME__DLTHUB_TELEMETRY": "false",
                   "RUNTIME__LOG_LEVEL": "ERROR", "NORMALIZE__WORKERS": "2", "LOAD__WORKERS": "2"})
import dlt  # noqa: E402


@dlt.resource(name="orders", primary_key="txt_detl_idt_pedi_pgto", write_disposition="merge",
              columns={"dat_atui": {"dedup_sort": "desc"}})
def orders():
    for file in sorted(source.iterdir()):
        with open(file, encoding="utf-8") as lines:
            yield [json.loads(line) for line in lines]


if __name__ == "__main__":
    begin = time.perf_counter()
    pipeline = dlt.pipeline("orders", destination=dlt.destinations.duckdb(str(out / "bench.duckdb")),
                            dataset_name="shop", pipelines_dir=str(out / "pipelines"))
    pipeline.run(orders(), loader_file_format="parquet")
    print(time.perf_counter() - begin)
