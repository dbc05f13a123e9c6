"""The classes of adl-mini and how their names compose."""

from ski_data.synthetic.captions import words
from ski_data.synthetic.classes import ACTIONS, SEEN, UNSEEN
from ski_data.synthetic.motions import MOTIONS

LIMBS = {"left", "right", "both"}


def test_counts_and_distinct_names():
    assert len(SEEN) == 20
    assert len(UNSEEN) == 5
    assert len({action.name for action in ACTIONS}) == 25
    assert {action.motion for action in ACTIONS} == set(MOTIONS)


def test_unseen_names_compose_of_seen_words_only():
    known = {word for action in SEEN for word in words(action.name)}
    for action in UNSEEN:
        assert set(words(action.name)) <= known


def test_unseen_verbs_are_seen_with_another_limb_and_unseen_limbs_with_other_verbs():
    for action in UNSEEN:
        same_motion = {seen.side for seen in SEEN if seen.motion == action.motion}
        assert same_motion
        assert action.side not in same_motion
        limb = "foot" if "foot" in action.name else "hand"
        others = [seen for seen in SEEN if seen.side == action.side and limb in seen.name]
        assert others
        assert all(seen.motion != action.motion for seen in others)


def test_side_is_what_the_name_says():
    for action in ACTIONS:
        said = LIMBS & set(words(action.name))
        assert said == ({action.side} & LIMBS) or action.name == "clap hands"
