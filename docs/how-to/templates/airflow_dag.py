"""Watch and retrain a farm once a day: the same commands as by hand, one task each."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from airflow import DAG
from airflow.operators.bash import BashOperator

FARM = os.environ.get("FARM", "/srv/farm")

# 3 says that some images are in quarantine, 4 that a camera has changed: no errors.
COMMANDS = {
    "collect": 'besana run "$FARM" --from collect --to prepare || test $? -eq 3',
    "predict": 'besana predict "$FARM"',
    "monitor": 'besana monitor "$FARM" || test $? -eq 4',
    "retrain": 'besana retrain "$FARM" --policy approve',
}

with DAG(
    "besana",
    schedule="17 4 * * *",
    start_date=datetime(2024, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
) as dag:
    tasks = [
        BashOperator(task_id=name, bash_command=command, env={"FARM": FARM}, append_env=True)
        for name, command in COMMANDS.items()
    ]
    for before, after in pairwise(tasks):
        before >> after
