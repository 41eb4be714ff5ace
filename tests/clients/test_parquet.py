"""What `pointsman export` writes as Parquet, read by pyarrow."""

import json
import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from openai import OpenAI


def pointsman(data: str, *arguments: str) -> str:
    """The binary on this data folder, also while another process serves on it."""
    environment = {"POINTSMAN_DATA": data, "HOME": data, "PATH": ""}
    command = [os.environ["POINTSMAN_BINARY"], *arguments]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def events(data: str) -> list[dict]:
    return [json.loads(line)["event"] for line in pointsman(data, "export").splitlines()]


def test_parquet(client: OpenAI, tmp_path: Path) -> None:
    for n in range(3):
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": f"Count to {n}."}])
    serving = os.environ["POINTSMAN_LEDGER"]
    file = tmp_path / "log.parquet"
    pointsman(serving, "export", "--output", str(file))
    table = pq.read_table(file)
    assert table.schema.metadata[b"pointsman.form"] == b"1"
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("arm_propensities").type == pa.list_(pa.field("element", pa.float64(), nullable=False))
    told = {line.split()[0] for line in pointsman(serving, "export", "--columns").splitlines()[1:]}
    assert told == set(table.column_names)

    rows = table.to_pylist()
    whole = [json.loads(row["event"]) for row in rows]
    # The columns say what the events say.
    for row, event in zip(rows, whole):
        assert row["kind"] == event["kind"]
        assert row["decision"] == event.get("id", event.get("decision"))
        if row["kind"] == "decided":
            chosen = event["arms"][event["chosen"]]
            assert (row["model"], row["propensity"]) == (chosen["model"], chosen["propensity"])
            assert row["arm_propensities"] == [arm["propensity"] for arm in event["arms"]]
            assert abs(sum(row["arm_propensities"]) - 1) < 1e-9
            assert len(row["context"]) == 33
        if row["kind"] == "completed":
            assert row["cost_usd"] == event["cost_usd"]
            assert row["scores"] == [score["score"] for score in event["scores"]]
    kinds = {row["kind"] for row in rows}
    assert {"decided", "completed"} <= kinds
    # They are the events of the other format; more may have come since.
    assert events(serving)[: len(whole)] == whole

    # A file that pyarrow wrote again is taken back.
    again = tmp_path / "again.parquet"
    pq.write_table(table, again, compression="snappy")
    pointsman(str(tmp_path), "import", str(again))
    assert events(str(tmp_path)) == whole
