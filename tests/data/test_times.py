"""Times and dates in text tables as loggers and plate readers write them, and which coordinate is time."""

from pathlib import Path

import numpy as np
import pytest

from mollifier import InverseProblem, Observations, ScalarUnknown, read
from mollifier.errors import DataError


def written(folder: Path, times: list[str], header: str = "time,u") -> Path:
    """A table of a logger with these cells of time."""
    path = folder / "log.csv"
    path.write_text("\n".join([header, *(f'"{t}",{i}' for i, t in enumerate(times))]))
    return path


@pytest.mark.parametrize(
    "times",
    [
        ["0:00:00", "0:30:00", "9:30:00", "25:00:00"],
        ["28.02.2026 08:00", "28.02.2026 08:30", "28.02.2026 17:30", "01.03.2026 09:00"],
        ["02/28/2026 8:00 AM", "02/28/2026 8:30 AM", "02/28/2026 5:30 PM", "03/01/2026 9:00 AM"],
        ["2026-02-28T08:00", "2026-02-28T08:30", "2026-02-28T17:30", "2026-03-01T09:00"],
    ],
)
def test_times_are_seconds(tmp_path: Path, times: list[str]) -> None:
    data = read(written(tmp_path, times), noise=0.01)
    assert data.samples("u").points[:, 0].tolist() == [0, 1800, 34200, 90000]
    assert data.units["time"] == "s"


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (["0:00", "0:30", "1:00"], "hours and minutes or minutes and seconds"),
        (["02/03/2026", "03/03/2026", "04/03/2026"], "day and month cannot be distinguished"),
        (["28/02/2026", "01/03/2026", "03/14/2026"], "'03/14/2026', which is no date as the others are"),
        (["31.02.2026", "01.03.2026", "02.03.2026"], "'31.02.2026', which is no date as the others are"),
    ],
)
def test_ambiguous_times_are_refused(tmp_path: Path, times: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(written(tmp_path, times))


@pytest.mark.parametrize(("time", "unit"), [("Time", ""), ("Zeit", "min"), ("date", "")])
def test_laplacian_leaves_time_out(tmp_path: Path, time: str, unit: str) -> None:
    """Time in capitals, in another language, or as dates is no coordinate of space."""
    cells = ["2026-02-28", "2026-03-01"] if time == "date" else ["0", "1"]
    header = f"x,{time} [{unit}],u" if unit else f"x,{time},u"
    rows = [f"{x},{t},{x + i}" for x in range(4) for i, t in enumerate(cells)]
    (tmp_path / "u.csv").write_text("\n".join([header, *rows]))
    data = read(tmp_path / "u.csv", "u", coordinates=["x", time])
    problem = InverseProblem(f"u_{time} = D*lap(u)", data, {"D": ScalarUnknown()})
    assert problem.system.names.spatial == ("x",)
    assert problem.system.order_along(time) == 1


def test_capital_beside_its_small_letter_is_a_variable(tmp_path: Path) -> None:
    """Temperatures T at times t."""
    (tmp_path / "u.csv").write_text(
        "x,t,T\n" + "\n".join(f"{x},{t},{x * t}" for x in range(3) for t in range(3))
    )
    data = read(tmp_path / "u.csv")
    assert (data.coordinates, data.variables) == (("x", "t"), ("T",))


def test_temperature_as_coordinate_beside_time() -> None:
    """A coordinate T beside t is no time: residuals of sensors and frames are tested all the same."""
    import mollifier as mf

    rng = np.random.default_rng(0)
    T, t = (
        a.ravel() for a in np.meshgrid([300.0, 310.0, 320.0, 330.0], np.linspace(0, 10, 15), indexing="ij")
    )
    c = np.exp(-0.3 * np.exp(-6000 * (1 / T - 1 / 320)) * t) + 0.01 * rng.normal(size=t.size)
    problem = InverseProblem(
        "c_t = -k*exp(-E*(1/T - 1/320))*c",
        Observations({"c": c}, {"T": T, "t": t}),
        {"k": ScalarUnknown(lower=0), "E": ScalarUnknown(initial=4000)},
    )
    solution = mf.solve(problem)
    assert solution.status.name == "converged"
    for name, true in {"k": 0.3, "E": 6000}.items():
        estimate = solution.estimates[name]
        assert estimate.sd is not None
        assert abs(estimate.value - true) < 3 * estimate.sd
