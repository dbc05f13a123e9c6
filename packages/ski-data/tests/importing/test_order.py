import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ski_data.errors import InputError
from ski_data.importing.order import parse_order, to_mtv, to_mtvc


@settings(deadline=None, max_examples=60)
@given(order=st.permutations("MTVC").map("".join))
def test_any_order_of_single_axes(order):
    clip = np.random.default_rng(0).random((2, 5, 7, 3))
    array = clip.transpose(["MTVC".index(letter) for letter in order])
    back = to_mtvc(array, order, joints=None, bodies=2, what="a")
    np.testing.assert_array_equal(back, clip)
    values = clip[..., 0].transpose(["MTV".index(letter) for letter in order.replace("C", "")])
    np.testing.assert_array_equal(to_mtv(values, order, (2, 5, 7), "a"), clip[..., 0])


@pytest.mark.parametrize("order", ["T(MVC)", "T(VCM)", "(TV)CM", "M(CT)V"])
def test_axes_in_one(order):
    clip = np.random.default_rng(0).random((2, 5, 7, 3))
    letters = order.replace("(", "").replace(")", "")
    axes = parse_order(order)
    sizes = dict(zip("MTVC", clip.shape, strict=True))
    array = clip.transpose(["MTVC".index(letter) for letter in letters]).reshape(
        [np.prod([sizes[letter] for letter in axis]) for axis in axes]
    )
    back = to_mtvc(array, order, joints=7, bodies=2, what="a")
    np.testing.assert_array_equal(back, clip)


def test_defaults_by_dimensions():
    clip = np.random.default_rng(0).random((5, 7, 3))
    for array in (clip, clip.reshape(5, 21), clip[None]):
        back = to_mtvc(array, None, joints=7, bodies=1, what="a")
        np.testing.assert_array_equal(back, clip[None])
    values = clip[..., 0]
    for array in (values, values[None]):
        np.testing.assert_array_equal(to_mtv(array, None, (1, 5, 7), "a"), values[None])
    per_frame = to_mtv(values[:, 0], None, (1, 5, 7), "a")
    np.testing.assert_array_equal(per_frame, np.repeat(values[:, :1], 7, axis=1)[None])


@pytest.mark.parametrize(
    ("shape", "order", "words"),
    [
        ((5,), None, r"1 dimensions \(5,\), expected T\(VC\) or TVC or MTVC"),
        ((5, 7, 3), "MTVC", "3 dimensions .*expected MTVC"),
        ((5, 20), None, "20 values is not V=7 x C=3"),
        ((5, 20), "T(MVC)", "20 values is not M=1 x V=7 x C=3"),
    ],
)
def test_shapes_that_do_not_fit(shape, order, words):
    with pytest.raises(InputError, match=words):
        to_mtvc(np.ones(shape), order, joints=7, bodies=1, what="array 'a'")


@pytest.mark.parametrize("shape", [(5, 8), (4,), (2, 2, 5, 7)])
def test_values_that_do_not_fit(shape):
    with pytest.raises(InputError, match="one value per frame"):
        to_mtv(np.ones(shape), None, (1, 5, 7), "a")
