"""With a mirror, all images of both releases are from it, with the test chart and with Cilium's chart."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from builders import a_spec
from chart.package import versions
from chart.rendering import Rendered, read, render
from cilium_hybrid.plan.registry_mirror import with_mirror
from cilium_hybrid.plan.upgrade.preflight import preflight_values
from cilium_hybrid.plan.values import helm_values
from cilium_hybrid.rules.rendered.rules import manifest_rules, preflight_rules
from cilium_hybrid.rules.rule import all_violations

REAL_CHARTS = sorted(Path(os.environ.get("CILIUM_CHARTS", "nowhere")).glob("cilium-*.tgz"))
MIRROR = "mirror.example.com/ecr-public"
SECRETS = [{"name": "mirror"}]
ENVOY = {"envoy": {"enabled": True}}
HUBBLE = {"hubble": {"relay": {"enabled": True}, "ui": {"enabled": True}}}
MANY: dict[str, Any] = {
    **ENVOY,
    "hubble": {**HUBBLE["hubble"], "tls": {"auto": {"method": "cronJob"}}},
    "clustermesh": {"useAPIServer": True},
    "nodeinit": {"enabled": True},
}

every_chart = pytest.mark.parametrize("chart", [*versions(), *REAL_CHARTS], ids=lambda chart: Path(chart).name)


def archive_of(charts: Mapping[str, Path], chart: str | Path) -> Path:
    return chart if isinstance(chart, Path) else charts[chart]


def spec_of(archive: Path, values: Mapping[str, Any] | None = None) -> Any:
    version = archive.stem.removeprefix("cilium-")
    return a_spec(version=version, values=values or {}, registryMirror=MIRROR, imagePullSecrets=SECRETS)


def name_of(name: str) -> str:
    """Return the name of an object, without the hash of its content that the chart appends to the name of a Job."""
    return name.rpartition("-")[0] if name.startswith("Job ") else name


def pods(rendered: Rendered) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, tree in rendered.objects.items():
        template = tree.get("spec", {}).get("jobTemplate", tree).get("spec", {}).get("template", {})
        if "containers" in template.get("spec", {}):
            yield name, template["spec"]


def images(rendered: Rendered) -> dict[str, list[str]]:
    return {
        name_of(name): [one["image"] for one in (*pod.get("initContainers", []), *pod["containers"])]
        for name, pod in pods(rendered)
    }


def at_the_mirror(image: str) -> str:
    """Return the name at the mirror of an image of these charts, whose hosts all contain a dot."""
    return f"{MIRROR}/{image.partition('/')[2]}"


def check(plain: Rendered, made: Rendered) -> None:
    assert {name_of(name) for name in made.objects} == {name_of(name) for name in plain.objects}
    assert images(plain)
    assert images(made) == {name: [at_the_mirror(image) for image in those] for name, those in images(plain).items()}
    assert {name_of(name): pod.get("imagePullSecrets") for name, pod in pods(made)} == dict.fromkeys(
        images(made), SECRETS
    )


@every_chart
@pytest.mark.parametrize("values", [{}, HUBBLE, MANY], ids=["minimal spec", "Hubble", "many features"])
def test_every_image_of_cilium_is_from_the_mirror(
    helm: Path, charts: Mapping[str, Path], chart: str | Path, values: dict[str, Any]
) -> None:
    archive = archive_of(charts, chart)
    # A spec cannot enable Envoy yet, but its images must be mirrored too.
    values_with_envoy = helm_values(spec_of(archive, values)) | {key: values[key] for key in values if key == "envoy"}
    plain = render(helm, archive, values_with_envoy)
    made = render(helm, archive, with_mirror(values_with_envoy, read(archive, "values.yaml"), MIRROR))
    broken = {broken.message for broken in all_violations(manifest_rules(MIRROR), list(made.objects.values()))}

    check(plain, made)
    assert not [message for message in broken if "registryMirror" in message]
    assert values == MANY or not broken


@every_chart
@pytest.mark.parametrize("own", [{}, ENVOY], ids=["default", "with Envoy"])
def test_every_image_of_the_preflight_is_from_the_mirror(
    helm: Path, charts: Mapping[str, Path], chart: str | Path, own: dict[str, Any]
) -> None:
    archive = archive_of(charts, chart)
    values = preflight_values(spec_of(archive)) | own
    plain = render(helm, archive, values)
    made = render(helm, archive, with_mirror(values, read(archive, "values.yaml"), MIRROR))

    check(plain, made)
    assert own or all_violations(preflight_rules(MIRROR), list(made.objects.values())) == ()


@every_chart
def test_a_release_without_the_mirror_is_refused_with_the_names_of_its_images(
    helm: Path, charts: Mapping[str, Path], chart: str | Path
) -> None:
    archive = archive_of(charts, chart)
    plain = render(helm, archive, helm_values(spec_of(archive)))
    messages = [broken.message for broken in all_violations(manifest_rules(MIRROR), list(plain.objects.values()))]

    named = {message.split('"')[1] for message in messages if "registryMirror" in message}

    assert named == {image.partition("@")[0] for those in images(plain).values() for image in those}
