from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from made_up_people import kinds

from ski_data.check_findings import ClipFacts, ClipTable, Findings
from ski_data.check_labels import check_labels, ntu_action
from ski_data.classes import ClassSet
from ski_data.splits import dataset_classes

NTU = dataset_classes("ntu60")
OWN = ClassSet.from_names(["sit", "stand", "walk"])


def audit(clips, classes=None, all_classes=False):
    findings = Findings("t", "manifest")
    check_labels(ClipTable("t", tuple(clips), classes), findings, all_classes=all_classes)
    return findings


def ntu(action, label, subject=1):
    name = f"S001C001P{subject:03d}R001A{action:03d}"
    return ClipFacts(name, label=label, action=ntu_action(name), subject=subject)


def test_good_labels():
    findings = audit([ntu(a, a - 1, a % 3) for a in range(1, 61)], NTU)
    assert findings.found == []
    assert findings.counts == {
        "clips without label": 0,
        "classes with clips": 60,
        "subjects": 3,
    }
    assert findings.per_class["drink water"] == 1


def test_range_and_empty_classes():
    clips = [ClipFacts("a", label=0), ClipFacts("b", label=3)]
    findings = audit(clips, OWN)
    assert kinds(findings) == {"label-range"}
    assert kinds(findings, "remark") == {"empty-class"}
    assert "b 3" in str(findings.of("problem")[0])
    assert findings.per_class == {"sit": 1, "3": 1}
    assert kinds(audit(clips, OWN, all_classes=True)) == {"label-range", "empty-class"}


def test_imbalance_and_missing_labels():
    clips = [ClipFacts(f"a{i}", label=0) for i in range(11)] + [ClipFacts("b", label=1)]
    assert kinds(audit(clips), "remark") == {"imbalance"}
    assert kinds(audit(clips[1:]), "remark") == set()
    assert kinds(audit([*clips[5:], ClipFacts("c")])) == {"no-label"}
    assert audit([ClipFacts("c"), ClipFacts("d")]).found == []


def test_names_that_say_another_action():
    findings = audit([ntu(1, 0), ntu(2, 1), ntu(3, 1)], NTU)
    assert "S001C001P001R001A003 is labelled A002" in str(findings.of("problem")[0])
    clips = [ntu(a, a - 1, s) for a in (1, 2, 3) for s in (1, 2, 3)]
    assert audit(clips).found == []
    clips[4] = replace(clips[4], label=0)
    assert str(audit(clips).of("problem")[0]).endswith("A002 is labelled 0")


@given(st.permutations(range(6)))
def test_another_numbering_is_remarked_on_only(order):
    clips = [ntu(a + 1, order[a], s) for a in range(6) for s in (1, 2)]
    findings = audit(clips)
    assert kinds(findings) == set()
    assert ("renumbered" in kinds(findings, "remark")) == (list(order) != sorted(order))
