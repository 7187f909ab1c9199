"""The commands of the Spark page, filled in and read by Spark's own parser, or as JSON."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import test_spark

from besana.cli import main
from besana.workspace import Workspace

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/spark.md"
WORDS = {
    "BUCKET": "farms",
    "REGION": "eu-west-1",
    "CLUSTER": "j-2AXXXXXXGAPLF",
    "CONTAINER": "farms",
    "ACCOUNT": "barn",
    "CATALOG": "main",
    "SCHEMA": "barn",
    "VERSION": "0.1.0",
    "RUNTIME": "17.3.x-scala2.13",
    "NODE": "m5d.xlarge",
    "REGISTRY": "registry.example",
    "API": "10.0.0.1",
    "FARM": "/srv/farm",
}
SERVICES = ("EMR", "Dataproc", "HDInsight and Synapse", "Databricks", "Kubernetes")


def render(text: str) -> str:
    return re.sub(r"\b[A-Z]{3,}\b", lambda found: WORDS.get(found[0], found[0]), text)


def blocks(service: str, language: str) -> list[str]:
    """The code of one language in a service's part of the page, with words filled in."""
    (part,) = re.findall(rf"^### {service}\n(.*?)(?=^### |\Z)", PAGE.read_text(), re.M | re.S)
    return [render(code) for code in re.findall(rf"^```{language}\n(.*?)^```", part, re.M | re.S)]


def submits(service: str) -> list[list[str]]:
    lines = [code for code in blocks(service, "shell") if code.startswith("spark-submit ")]
    return [shlex.split(line.replace("\\\n", " "))[1:] for line in lines]


def besana_words(words: list[str]) -> list[str]:
    """What follows the script."""
    (script,) = [number for number, word in enumerate(words) if word.endswith("run.py")]
    return words[script + 1 :]


def as_submitted(service: str) -> list[list[str]]:
    """Every set of words that a service's part gives to spark-submit or its like."""
    found = submits(service)
    for code in blocks(service, "shell"):
        if code.startswith("aws emr"):
            words = shlex.split(code.replace("\\\n", " "))
            (step,) = json.loads(words[words.index("--steps") + 1])
            found.append(step["Args"])
        if code.startswith("gcloud"):
            words = shlex.split(code.replace("\\\n", " "))
            (script,) = [word for word in words if word.endswith("run.py")]
            found.append([script, *words[words.index("--") + 1 :]])
    for code in blocks(service, "json"):
        job = json.loads(code)
        for task in job.get("tasks", []):
            ran = task["spark_python_task"]
            found.append([ran["python_file"], *ran["parameters"]])
        if "args" in job:
            found.append([job["file"], *job["args"]])
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_runs_a_command_of_besana(service, tmp_path, monkeypatch, capsys):
    found = as_submitted(service)
    assert found
    farm = Workspace.create(tmp_path / "farm").path
    monkeypatch.chdir(farm)
    for words in found:
        given = besana_words(words)
        given[1] = str(farm)
        with pytest.raises(SystemExit):
            main([*given, "--help"])
        assert "--engine" in capsys.readouterr().out
        assert given[2:] == ["--engine", "spark"]


@pytest.mark.parametrize("service", SERVICES)
def test_no_word_is_left_to_fill_in(service):
    left = {word for words in as_submitted(service) for word in words}
    assert not [word for word in left if re.search(r"\b[A-Z]{3,}\b", word)]


PARSE = """
import json, sys
from pyspark import SparkConf, SparkContext
SparkContext._ensure_initialized()
jvm = SparkContext._jvm
for words in json.load(sys.stdin):
    array = jvm.java.util.ArrayList()
    for word in words:
        array.add(word)
    seq = jvm.scala.jdk.javaapi.CollectionConverters.asScala(array).toSeq()
    parser = jvm.org.apache.spark.deploy.SparkSubmitArguments
    read = parser(seq, getattr(parser, "$lessinit$greater$default$2")())
    children = list(jvm.scala.jdk.javaapi.CollectionConverters.asJava(read.childArgs()))
    found = [read.master(), read.deployMode(), read.primaryResource(), read.isPython(), children]
    print(json.dumps([*found, read.archives(), read.files()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")
def test_spark_reads_each_spark_submit_as_it_is_meant(tmp_path):
    services = [service for service in SERVICES for _ in submits(service)]
    commands = [words for service in SERVICES for words in submits(service)]
    assert services == ["EMR", "Dataproc", "HDInsight and Synapse", "Kubernetes"]
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        input=json.dumps(commands),
        env={
            **os.environ,
            "PYSPARK_SUBMIT_ARGS": "--driver-memory 300m pyspark-shell",
            "HADOOP_CONF_DIR": str(tmp_path),  # a machine of the cluster has one
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    read = dict(zip(services, map(json.loads, done.stdout.splitlines()), strict=True))
    for service, (master, mode, script, is_python, children, archives, files) in read.items():
        assert (master, mode) == (
            ("k8s://https://10.0.0.1:6443", "cluster")
            if service == "Kubernetes"
            else ("yarn", "client")
        )
        assert is_python
        assert script.endswith("run.py")
        assert children[0] == "prepare"
        assert children[2:] == ["--engine", "spark"]
        packed = (archives or "").endswith("besana.tar.gz#environment")
        assert packed or (files or "").endswith("besana.toml")


ON_THE_WHEEL = """
import sys
from besana.engines import open_engine
def where(_items):
    import besana, besana.costs.prices as prices
    return [besana.__file__, prices.read_prices(None).cloud("aws").title]
engine = open_engine("spark")
print(*next(engine.map(where, [[1]])), sep="|")
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed")
def test_executors_run_what_the_wheel_brought(tmp_path):
    """A wheel is a zip; an executor takes besana and its data from it, if it is called one."""
    wheel = tmp_path / "besana.zip"
    with zipfile.ZipFile(wheel, "w") as file:
        for path in sorted((ROOT / "src/besana").rglob("*")):
            if path.suffix in (".py", ".toml", ".html", ".css", ".js"):
                file.write(path, path.relative_to(ROOT / "src"))
    environment = test_spark.spark_environment("local-cluster[1,1,1024]")
    words = environment["PYSPARK_SUBMIT_ARGS"].replace("pyspark-shell", "")
    environment["PYSPARK_SUBMIT_ARGS"] = f"{words} --py-files {wheel} pyspark-shell"
    done = subprocess.run(
        [sys.executable, "-c", ON_THE_WHEEL],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    file_name, title = done.stdout.strip().split("|")
    assert wheel.name in file_name
    assert title == "AWS S3, us-east-1"
