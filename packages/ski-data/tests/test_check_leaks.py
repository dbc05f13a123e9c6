import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_people import kinds

from ski_data.check_findings import ClipFacts, ClipTable
from ski_data.check_leaks import check_sides, check_split, read_rule
from ski_data.classes import ClassSet
from ski_data.errors import InputError
from ski_data.ntu.names import NtuName, parse_name


def clip(name, **changes):
    number = parse_name(name)
    facts = ClipFacts(
        name,
        label=number.action - 1,
        action=number.action,
        subject=number.subject,
        camera=number.camera,
        setup=number.setup,
        replication=number.replication,
        content=name,
    )
    return replace(facts, **changes)


def table(*names, target="t"):
    return ClipTable(target, tuple(clip(name) for name in names))


A = "S001C001P001R001A001"


def test_clean_sides():
    train = table(A, "S001C001P002R001A002")
    test = table("S001C001P003R001A001", "S001C002P003R001A002")
    for rule in (None, read_rule("cross-subject"), read_rule("ntu60/xsub")):
        findings = check_sides(train, test, rule)
        assert findings.found == []
    assert findings.counts == {"training clips": 2, "test clips": 2}


@pytest.mark.parametrize(
    ("other", "rule", "problems", "remarks"),
    [
        (clip(A), None, {"clip", "content"}, {"subject"}),
        (clip("S001C001P003R001A001", content=A), None, {"content"}, set()),
        (clip("S001C002P001R001A001"), None, {"performance"}, {"subject"}),
        (clip("S001C002P001R001A001"), "cross-view", set(), set()),
        (clip("S001C001P001R002A001"), None, set(), {"subject"}),
        (clip("S001C001P001R002A001"), "cross-subject", {"subject"}, set()),
        (clip("S001C001P002R002A001"), "cross-view", {"camera"}, set()),
        (clip("S001C001P003R001A001"), "cross-setup", {"setup"}, set()),
    ],
)
def test_leaks(other, rule, problems, remarks):
    test = ClipTable("u", (other,))
    findings = check_sides(table(A), test, None if rule is None else read_rule(rule))
    assert {k.removesuffix("-on-both-sides") for k in kinds(findings)} == problems
    assert {k.removesuffix("-on-both-sides") for k in kinds(findings, "remark")} == remarks


def test_protocols_say_which_side():
    train, test = table(A, "S001C001P003R001A001"), table("S001C001P006R001A001")
    findings = check_sides(train, test, read_rule("ntu60/xsub"))
    assert "not-for-train" in kinds(findings)
    assert findings.of("problem")[0].clips == ("S001C001P003R001A001",)
    assert kinds(check_sides(test, table(A), read_rule("ntu60/xsub"))) == {
        "not-for-train",
        "not-for-test",
    }


def test_a_zero_shot_split_keeps_unseen_classes_out():
    rule = read_rule("ntu60/55-5")
    assert rule.zero_shot is not None
    unseen, seen = rule.zero_shot.unseen_actions[0], rule.zero_shot.seen_actions[0]
    good = table(f"S001C001P001R001A{seen:03d}")
    bad = table(f"S001C001P002R001A{unseen:03d}")
    assert check_sides(good, bad, rule).found == []
    findings = check_sides(bad, good, rule)
    assert kinds(findings) == {"unseen-class-in-training"}
    assert kinds(findings, "remark") == {"seen-class-in-test"}
    both = ClipTable("t", good.clips + bad.clips)
    split = check_split(both, rule)
    assert split.counts == {"training clips": 1, "test clips": 1}
    assert kinds(split) == set()
    assert kinds(split, "remark") == {"empty-train-class", "empty-test-class"}
    assert kinds(check_split(good, rule)) == {"no-test"}


def test_classes_by_name(tmp_path):
    file = tmp_path / "split.json"
    content = {"classes": {"a": "sit", "b": "walk"}, "seen": ["a"], "unseen": ["b"]}
    file.write_text(json.dumps({"name": "own/1-1", **content}))
    classes = ClassSet.from_names(["walk", "sit", "run"])
    clips = tuple(ClipFacts(f"c{i}", label=i, content=f"{i}") for i in range(3))
    findings = check_split(ClipTable("t", clips, classes), read_rule(str(file)))
    assert findings.counts == {"training clips": 1, "test clips": 1}
    assert [(f.kind, f.clips) for f in findings.found] == [("outside", ("c2",))]


def test_sides_of_a_list():
    clips = (ClipFacts("a", subject=1, side="train"), ClipFacts("b", subject=1, side="test"))
    findings = check_split(ClipTable("t", clips), read_rule("cross-subject"))
    assert kinds(findings) == {"subject-on-both-sides"}
    unknown = check_split(ClipTable("t", (ClipFacts("a"),)), read_rule("cross-subject"))
    assert kinds(unknown) == {"no-train", "no-test", "outside"}


def test_unknown_splits():
    with pytest.raises(InputError, match=r"'xsub'.*cross-subject.*ntu60/xsub.*ntu60/55-5"):
        read_rule("xsub")


names = st.builds(
    NtuName,
    setup=st.integers(1, 17),
    camera=st.integers(1, 3),
    subject=st.integers(1, 40),
    replication=st.integers(1, 2),
    action=st.integers(1, 60),
).map(str)


@given(st.lists(names, min_size=1, max_size=40, unique=True))
@pytest.mark.parametrize("protocol", ["ntu60/xsub", "ntu60/xview"])
def test_official_protocols_do_not_leak(protocol, listed):
    findings = check_split(table(*listed), read_rule(protocol))
    assert kinds(findings) <= {"no-train", "no-test"}
    assert findings.counts["training clips"] + findings.counts["test clips"] == len(listed)
