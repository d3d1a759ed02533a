import pytest

from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.rules.supported_minors import MINORS, notes_of


@pytest.mark.parametrize(
    ("version", "word"),
    [
        pytest.param("1.17.0", "protocol", id="1.17"),
        pytest.param("1.18.8-1", "Linux 5.10", id="the kernel of 1.18"),
        pytest.param("1.18.8-1", "operator.tolerations", id="the operator of 1.18"),
        pytest.param("1.19.6-0", "CiliumBGPPeeringPolicy", id="BGP in 1.19"),
        pytest.param("1.19.6-0", "kubeProxyReplacement", id="node ports in 1.19"),
    ],
)
def test_what_to_know_before_a_minor_is_told(version: str, word: str) -> None:
    assert any(word in note for note in notes_of(CiliumVersion.parse(version)))


def test_of_an_unknown_minor_nothing_is_told() -> None:
    assert notes_of(CiliumVersion(1, 99, 0)) == ()


def test_a_note_is_one_short_sentence() -> None:
    notes = [note for minor in MINORS.values() for note in minor.notes]

    assert all(len(note) <= 110 and "\n" not in note and not note.endswith(".") for note in notes)
