import base64
import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import DIGEST, VERSION, a_revision
from cilium_hybrid.adapters.helm.stored_chart import restore
from cilium_hybrid.adapters.kube.helm_secret import revision_labels
from cilium_hybrid.ports import ApplyFailedError, ChartUnavailableError


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


METADATA = {"apiVersion": "v2", "name": "cilium", "version": VERSION}
CHART: dict[str, Any] = {
    "metadata": METADATA,
    "templates": [{"name": "templates/a.yaml", "data": encoded("kind: ü")}, {"name": "templates/empty.yaml"}],
    "files": [{"name": "files/b", "data": encoded("b")}, {"name": ".helmignore", "data": encoded("files")}],
    "values": {"ratio": 1.5, "list": [None, True]},
    "schema": encoded("{}"),
}


def a_secret(chart: object, config: object = None) -> dict[str, Any]:
    return a_secret_with(json.dumps({"chart": chart, "config": config}))


def a_secret_with(text: str) -> dict[str, Any]:
    packed = base64.b64encode(base64.b64encode(gzip.compress(text.encode()))).decode()
    return {"metadata": {"labels": revision_labels(a_revision(2))}, "data": {"release": packed}}


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read().decode() for member in archive}  # type: ignore[union-attr] # files only


def test_a_chart_is_restored_with_all_its_files(tmp_path: Path) -> None:
    chart, values = restore(a_secret(CHART, {"a": [1, 2.5, None]}), tmp_path / "cache")
    files = contents(chart.path)

    assert (chart.version, chart.digest, values) == (VERSION, DIGEST, {"a": [1, 2.5, None]})
    assert yaml.safe_load(files.pop("cilium/Chart.yaml")) == METADATA
    assert yaml.safe_load(files.pop("cilium/values.yaml")) == CHART["values"]
    assert files == {
        "cilium/values.schema.json": "{}",
        "cilium/templates/a.yaml": "kind: ü",
        "cilium/templates/empty.yaml": "",
        "cilium/files/b": "b",
        "cilium/.helmignore": "files",
    }


def test_numbers_are_restored_as_the_chart_wrote_them(tmp_path: Path) -> None:
    numbers = {"a": "1.10", "b": "2.0", "c": "12345678901234567890.5", "d": "7"}
    text = ", ".join(f'"{name}": {number}' for name, number in numbers.items())
    secret = a_secret_with(json.dumps({"chart": CHART | {"values": "@"}}).replace('"@"', f"{{{text}}}"))
    chart, values = restore(secret, tmp_path)

    assert contents(chart.path)["cilium/values.yaml"] == "".join(f"{key}: {value}\n" for key, value in numbers.items())
    assert values == {}


def test_a_restored_chart_replaces_the_one_before(tmp_path: Path) -> None:
    before, _ = restore(a_secret(CHART), tmp_path)
    after, _ = restore(a_secret(CHART | {"metadata": METADATA | {"version": "1.2.3"}}), tmp_path)

    assert after.version == "1.2.3"
    assert list(tmp_path.iterdir()) == [before.path] == [after.path]


@pytest.mark.parametrize(
    ("chart", "cause"),
    [
        pytest.param(None, "does not contain it", id="no chart"),
        pytest.param({"values": {}}, "does not contain it", id="no metadata"),
        pytest.param({"metadata": {"name": "cilium"}}, "does not contain it", id="no version"),
        pytest.param(CHART | {"templates": [{"data": ""}]}, "does not contain it", id="a template without a name"),
        pytest.param(CHART | {"templates": [{"name": "a", "data": "?"}]}, "does not contain it", id="not base64"),
        pytest.param(CHART | {"files": [{"name": "../b"}]}, "does not contain it", id="outside of the chart"),
        pytest.param(CHART | {"files": [{"name": "/b"}]}, "does not contain it", id="absolute path"),
        pytest.param(CHART | {"values": [1]}, "does not contain it", id="values are no map"),
        pytest.param(
            CHART | {"metadata": METADATA | {"dependencies": [{"name": "x"}]}}, "subcharts", id="with a subchart"
        ),
    ],
)
def test_a_chart_that_cannot_be_restored(tmp_path: Path, chart: object, cause: str) -> None:
    with pytest.raises(ApplyFailedError, match=cause):
        restore(a_secret(chart), tmp_path)
    with pytest.raises(ApplyFailedError, match="does not contain it"):
        restore({"metadata": {}, "data": {"release": "x"}}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ChartUnavailableError, match=r"cannot write chart .*restored\.tgz: .*; check the volume"):
        restore(a_secret(CHART), tmp_path / "file")
