"""`package`: no sentence of the card contradicts what is known of the bundle now."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from auto_config.bundle.documentation import ALWAYS_PREDICTED, NUMBERS_WANTED
from auto_config.commands.package import package
from auto_config.packaging.card import says_accuracy, with_presence

READY = Path(__file__).parents[2] / "bundles" / "brain_mri_afids32_demo"
EARLIER = "A landmark is always predicted, also where it is not in the image."
WRAPPED = "A landmark is always predicted, also where\nit is not in the image."
DECIDED = "decided by what the calibration learnt"


@pytest.fixture
def bundle(tmp_path):
    """A copy of the trained bundle of the repository, whose card has the limits of a new one."""
    copy = Path(shutil.copytree(READY, tmp_path / READY.name))
    card = copy / "docs" / "README.md"
    text, _, after = card.read_text(encoding="utf-8").partition("## Limitations\n")
    decisions = after.partition("## Decisions\n")[2]
    card.write_text(f"{text}## Limitations\nResearch only. {ALWAYS_PREDICTED}\n\n## Decisions\n{decisions}")
    return copy


def card_of(archive):
    with zipfile.ZipFile(archive) as content:
        return content.read(f"{READY.name}/docs/README.md").decode()


@pytest.mark.parametrize("learnt", [True, False])
def test_presence_is_decided_where_the_calibration_learnt_it(bundle, tmp_path, learnt):
    calibration = bundle / "models" / "calibration.json"
    if not learnt:
        calibration.write_text(json.dumps({**json.loads(calibration.read_text()), "presence": None}))
    assert package(bundle, tmp_path / "brain.zip") == 0
    limits = card_of(tmp_path / "brain.zip").partition("## Limitations\n")[2]
    assert ("always predicted" in limits, DECIDED in limits) == (not learnt, learnt)


@pytest.mark.parametrize("sentence", [EARLIER, WRAPPED, ALWAYS_PREDICTED])
def test_the_sentence_is_known_as_it_was_ever_written(sentence):
    text = with_presence(f"Research only. {sentence} More.", {"presence": {"auroc": 1.0}})
    assert "always predicted" not in text and DECIDED in text
    assert text.startswith("Research only. Whether ") and text.endswith("*Reliability*). More.")


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_card_with_numbers_is_not_said_to_have_none(bundle, tmp_path, capsys, by_hand):
    card = bundle / "docs" / "README.md"
    text = card.read_text(encoding="utf-8")
    if not by_hand:
        start, _, rest = text.partition("## Performance\n")
        card.write_text(f"{start}## Performance\n{NUMBERS_WANTED}\n\n## Atlas\n{rest.partition('## Atlas')[2]}")
    assert package(bundle, tmp_path / "brain.zip") == 0
    assert ("says nothing of accuracy" in capsys.readouterr().out) is not by_hand


@pytest.mark.parametrize(
    "text", ["# T\n", "## Performance\n\n## More\n1 mm\n", f"## Performance\n3 {NUMBERS_WANTED} MONAI 1.6 of 2026\n"]
)
def test_a_section_without_numbers_says_nothing_of_accuracy(text):
    assert not says_accuracy(text)


@pytest.mark.parametrize("said", ["1.2 mm on 8 cases", "3px", "within 2 mm: 90 %", "| all | 0.5 |"])
def test_numbers_with_a_unit_or_in_a_table_say_accuracy_also_above_the_line_that_asks_for_them(said):
    assert says_accuracy(f"## Performance\n{said}\n{NUMBERS_WANTED}\n")
