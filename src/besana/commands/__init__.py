"""Beside the way of the data, one module a verb, each with `Config`, `EXAMPLE` and `run`."""

from __future__ import annotations

# Verb -> what it does, as the first line of its module says.
COMMANDS = {
    "init": "Start a workspace: a folder with a commented besana.toml.",
    "run": "Walk the stages from one to another.",
    "status": "Show how far each stage is and what is due.",
    "plan": "Say beforehand what the way will cost, in time and money, and what would be cheaper.",
    "bucket": "Set a bucket up, check it, or upload what lies on this disk into it.",
    "catalog": "Move the catalog between SQLite and PostgreSQL, verified by counts and hashes.",
    "publish": "Publish the catalog as Delta Lake tables for Spark, Trino, Athena and DuckDB.",
    "backup": "Back up what cannot be made again: the catalog, people, trainings, settings, dataset"
    " lists.",
    "restore": "Make a workspace of a backup.",
    "sql": "Ask the catalog a question in SQL.",
    "tune": "Search settings of a training: rate, epochs, backbone, variation of pictures.",
    "embed": "Compute one vector a sample with a frozen backbone.",
    "index": "Make a manifest for TFRecord files of anybody, so that the loader reads them.",
    "pack": "Pack class folders into TFRecord shards of random-access JPEG that load fast.",
    "export": "Copy labels, samples or models out, for people, other tools and devices.",
    "bench-device": "Measure a model on the device at hand: latency, memory, throughput.",
    "serve": "Serve predictions over HTTP: besana's own API, KServe's, and those of three clouds.",
    "promote": "Make a version of a model the champion.",
    "rollback": "Make the champion before the present one champion again.",
    "share": "Give a version a share of the requests, or let it judge in the shadow.",
    "web": "Open the pages a team works in: label, review, look at the data, see how far it is.",
    "retrain": "Train a model anew when that is due, and let it take over only when it is shown to"
    " be better.",
    "simulate": "Make a barn or a field with known truth, to try things on.",
    "demo": "Run the main job on a simulated barn and compare with its truth.",
}
