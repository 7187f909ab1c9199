"""Whether Spark with Delta's jar reads what `besana publish` wrote: rows, versions, an undoing.

    python benchmarks/lake_spark.py farm/lake --jars delta-spark.jar,delta-storage.jar,...

Runs with any Python that has the Spark for which the jar was made (it needs no besana). Prints one
line of JSON: rows of each table at its newest and at its first version, and labels by class.
"""

import argparse
import json
from pathlib import Path

from pyspark.sql import SparkSession

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.ui.enabled": "false",
    "spark.driver.memory": "800m",
    # A table of a farm is small: one task a shuffle instead of hundreds.
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
}


def main() -> None:
    """Read every table of a lake with Spark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lake", type=Path)
    parser.add_argument("--jars", required=True)
    arguments = parser.parse_args()
    builder = SparkSession.builder.master("local[1]").config("spark.jars", arguments.jars)
    for name, value in DELTA.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    found = {}
    for path in sorted(path for path in arguments.lake.iterdir() if path.is_dir()):
        table = f"delta.`{path}`"
        newest = spark.sql(f"DESCRIBE HISTORY {table}").first()["version"]
        now, first = (
            spark.sql(f"SELECT count(*) AS n FROM {table} VERSION AS OF {version}").first()["n"]
            for version in (newest, min(newest, 1))
        )
        found[path.name] = {"now": now, "first": first}
    labels = spark.sql(
        f"SELECT class_name, count(*) AS n FROM delta.`{arguments.lake / 'current_labels'}`"
        " GROUP BY class_name"
    )
    found["classes"] = {row["class_name"]: row["n"] for row in labels.collect()}
    print(json.dumps(found))
    spark.stop()


if __name__ == "__main__":
    main()
