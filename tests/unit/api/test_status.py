from cilium_hybrid.api.crd import custom_resource_definition
from cilium_hybrid.api.status import Status, parse_status


def test_the_default_status_of_the_crd_is_a_status_without_observations() -> None:
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    assert parse_status(schema["properties"]["status"]["default"]) == Status(observed_generation=-1)


def test_a_status_of_another_version_of_the_operator_is_not_parsed() -> None:
    assert parse_status({"phase": "Unheard"}) is None


def test_unknown_fields_of_a_newer_operator_are_ignored() -> None:
    assert parse_status({"observedGeneration": 1, "weather": "fine"}) == Status(observed_generation=1)
