import pytest
from hypothesis import given
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.ntu.names import NtuName, parse_name

number = st.integers(0, 999)


@given(number, number, number, number, number)
def test_round_trip(setup, camera, subject, replication, action):
    name = NtuName(setup, camera, subject, replication, action)
    assert parse_name(str(name)) == name
    assert parse_name(f"a/b/{name}_rgb.avi") == name


@pytest.mark.parametrize(
    "name", ["", "S001C002P003R002", "s001c002p003r002a013", "S001C002P003R002A0134", "x.skeleton"]
)
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="SsssCcccPpppRrrrAaaa"):
        parse_name(name)
