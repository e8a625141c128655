"""Names of derivatives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mollifier.errors import GridError
from mollifier.mollify.orders import Derivative, Jet, parse_orders


@given(st.dictionaries(st.sampled_from(["x", "y", "t", "time"]), st.integers(0, 6)))
def test_derivative_name_round_trip(orders):
    """A name reads back as itself."""
    d = Derivative.of("phi_d", orders)
    assert Derivative.parse(d.name, ["x", "y", "t", "time"]).total == d.total
    if "time" not in orders:  # t before i is time's, and no other way fits
        assert Derivative.parse(d.name, ["x", "y", "t"]) == d


def test_derivative_order_of_coordinates():
    """The order of coordinates does not matter."""
    assert (
        Derivative.parse("u_xyx", "xy")
        == Derivative.parse("u_xxy", "xy")
        == Derivative.of("u", {"x": 2, "y": 1})
    )


def test_derivative_differentiate():
    d = Derivative.parse("u_x", "xt").differentiate("t").differentiate("x", 2)
    assert (d.name, d.total, d.along("x"), d.along("q")) == ("u_txxx", 4, 3, 0)


def test_parse_orders_forms():
    """Orders by name multi index and derivative are one."""
    parsed = parse_orders(["u_xxy", {"x": 2, "y": 1}, Derivative.of("u", {"x": 2, "y": 1})], ("x", "y"))
    assert [d.name for d in parsed] == ["u_xxy"]
    assert parse_orders({}, ("x",))[0].name == "u"


@pytest.mark.parametrize(
    ("order", "says"),
    [
        ("u_zz", "no derivative along the coordinates x, y"),
        ("u_xt", "no derivative along"),
        ({"z": 1}, "names 'z', not a coordinate"),
        ({"x": -1}, "counted 0, 1, 2"),
        ({"x": 1.5}, "counted 0, 1, 2"),
        ([], "name at least one"),
    ],
)
def test_parse_orders_refusals(order, says):
    """Orders that no grid carries are refused."""
    with pytest.raises(GridError, match=says):
        parse_orders(order, ("x", "y"))


def test_parse_orders_field_with_underscore():
    """A field name may hold an underscore."""
    assert [d.name for d in parse_orders(["k_eff", "phi_d", "phi_d_x"], ("x",))] == [
        "k_eff",
        "phi_d",
        "phi_d_x",
    ]


def test_jet_unknown_key():
    """A jet is a mapping that names the nearest key."""
    jet = Jet({d: i for i, d in enumerate(parse_orders(["u", "u_xy"], ("x", "y")))}, ("x", "y"))
    assert dict(jet) == {"u": 0, "u_xy": 1}
    assert jet["u_yx"] == 1
    assert len(jet) == 2
    assert "u_xx" not in jet
    with pytest.raises(KeyError, match="does not hold 'u_xx'"):
        jet["u_xx"]
