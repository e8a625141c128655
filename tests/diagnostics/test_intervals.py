"""Bootstrap, ensembles, calibration: intervals from repeats, and whether intervals hold what they promise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import mollifier as mf
from benchmarks.calibration import standardised
from engine_problems import forced, gridded, small
from made_up_solutions import solution_of
from mollifier.diagnostics.compare import children as keeping
from mollifier.diagnostics.intervals.bootstrap import simulated
from mollifier.diagnostics.intervals.ensemble import spread
from mollifier.errors import ConfigurationError, MollifierError
from mollifier.io.executors import process_pool

SETTINGS = small(
    network={"width": 6}, training={"steps": 150, "warmup_steps": 200}, collocation={"max_nodes": 200}
)


def tracer(noise=0.02, seed=0, nx=48, nt=32):
    """u_t + c*u_x = D*u_xx with three waves, the noise known: c = 0.7, D = 0.05."""
    x, t = 2 * np.pi * np.arange(nx) / nx, np.linspace(0, 1, nt)
    waves = ((1, 1.0), (2, 0.7), (3, 0.5))
    u = sum(a * np.exp(-0.05 * k * k * t) * np.sin(k * (x[:, None] - 0.7 * t) + k) for k, a in waves)
    sd = noise * np.sqrt(np.mean(u**2))
    u = u + sd * np.random.default_rng(seed).standard_normal(u.shape)
    data = xr.Dataset(
        {"u": (("x", "t"), u, {"standard_error": sd})}, {"x": ("x", x, {"periodic": 2 * np.pi}), "t": t}
    )
    return mf.InverseProblem("u_t + c*u_x = D*u_xx", data, {"c": mf.ScalarUnknown(), "D": mf.ScalarUnknown()})


# Bootstrap


@pytest.mark.slow
def test_bootstrap_agrees_with_the_sandwich():
    """The weak engine's covariance is exact for a linear equation and known noise."""
    problem = tracer(nx=32, nt=24)
    solution = mf.solve(problem, "weak")
    found = mf.bootstrap(problem, solution, 20, rng=3)
    notes = found.provenance["intervals"]
    assert (notes["answers"], notes["by"]) == (20, "bootstrap")
    for name, own in solution.estimates.items():
        assert found.estimates[name].value == own.value
        # 20 repeats know a standard error to 16 %.
        assert 0.6 < found.estimates[name].sd / own.sd < 1.6
    assert "bootstrap, 20 repeats" in found.summary()


@pytest.mark.slow
def test_bootstrap_of_a_field_by_the_joint_engine(tmp_path):
    problem, lam = forced()
    solution = mf.solve(problem, "joint")
    found = mf.bootstrap(problem, solution, 4)
    sd = found.dataset["lam_sd"]
    assert sd.dims == ("t",)
    assert bool((sd > 0).all())
    assert "bootstrap" in sd.attrs["long_name"]
    assert 0.3 < float(sd.mean() / solution.dataset["lam_sd"].mean()) < 2
    assert xr.testing.assert_identical(found.dataset["lam"], solution.dataset["lam"]) is None
    assert float(np.mean(np.abs(standardised(found, {"lam": lam})["lam"]) < 3)) > 0.8
    found.save(tmp_path)
    xr.testing.assert_identical(mf.load_solution(tmp_path).dataset, found.dataset)


def test_simulated_data_keep_gaps_replicates_and_the_noise_model():
    data = gridded(lambda x, t: np.sin(3 * x) * np.exp(-t), gaps=0.2, replicates=3, s=lambda x, t: 1 + 0 * x)
    problem = mf.InverseProblem("u_t = D*s*u_xx", data, {"D": mf.ScalarUnknown()})
    solution = mf.solve(problem, "joint", settings={"held_out": 0.0})
    first, again, other = (simulated(problem, solution, 5, i).data for i in (0, 0, 1))
    assert first.digest() == again.digest() != other.digest()
    assert first.replicates == data.replicates
    assert first.noise_source("u") == "given"
    assert np.array_equal(np.isnan(first.dataset["u"]), np.isnan(data.dataset["u"]))
    assert np.array_equal(first.dataset["s"], data.dataset["s"])
    clean = np.sin(3 * data.samples("u").points[:, 0]) * np.exp(-data.samples("u").points[:, 1])
    z = (first.samples("u").values - clean) / data.samples("u").sd
    assert 0.9 < np.sqrt(np.mean(z**2)) < 1.2


def test_simulated_readings_keep_what_is_exact():
    places = {"t": [0.0, 1.5, 3.0]}
    for noise, moved in ((0.0, 0), (0.05, 3)):
        measurements = mf.Observations({"lam": 1 + np.cos(2 * np.array(places["t"]))}, places, noise=noise)
        problem, _ = forced(measurements=measurements)
        solution = mf.solve(problem, "joint")
        found = simulated(problem, solution, 0, 0).measurements["lam"].values
        assert int(np.sum(found != problem.measurements["lam"].values)) == moved


@pytest.mark.slow
def test_an_interrupted_bootstrap_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    problem = tracer(nx=24, nt=16)
    solution = mf.solve(problem, "weak")
    whole = mf.bootstrap(problem, solution, 6)

    def stop(done, total, what):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mf.bootstrap(problem, solution, 6, folder=tmp_path, progress=stop)
    (tmp_path / "001" / "solution.nc").write_bytes(b"what a kill left")
    ran = []
    real = keeping.run_here
    monkeypatch.setattr(
        keeping, "run_here", lambda p, task, f: ran.append(task.folder.name) or real(p, task, f)
    )
    found = mf.bootstrap(problem, solution, 6, folder=tmp_path, resume=True)
    assert ran == ["001", "004", "005"]
    assert found.estimates == whole.estimates
    assert found.provenance["intervals"] == whole.provenance["intervals"]


@pytest.mark.slow
def test_processes_change_nothing():
    problem = tracer(nx=24, nt=16)
    solution = mf.solve(problem, "weak")
    one, two = (mf.bootstrap(problem, solution, 3, processes=n) for n in (1, 2))
    same_numbers(one, two)


def same_numbers(one, two):
    """But for the rounding of sums, which depends on where arrays lie in a process's memory."""
    assert one.estimates.keys() == two.estimates.keys()
    for name, e in one.estimates.items():
        other = two.estimates[name]
        assert (e.value, e.sd) == pytest.approx((other.value, other.sd), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("pool", [ThreadPoolExecutor, process_pool])
def test_a_given_executor_changes_nothing_and_stays_open(pool):
    problem = tracer(nx=24, nt=16)
    solution = mf.solve(problem, "weak")
    with pool(2) as executor:
        given = mf.bootstrap(problem, solution, 3, executor=executor)
        assert executor.submit(abs, -1).result() == 1
    same_numbers(given, mf.bootstrap(problem, solution, 3))


@pytest.mark.slow
def test_threads_of_an_executor_share_no_random_numbers():
    problem, _lam = forced()
    with ThreadPoolExecutor(3) as executor:
        given = mf.ensemble(problem, 3, settings=SETTINGS, executor=executor)
    xr.testing.assert_identical(given.dataset, mf.ensemble(problem, 3, settings=SETTINGS).dataset)


def test_executors_that_cannot_serve_are_refused():
    problem = tracer(nx=24, nt=16)
    solution = mf.solve(problem, "weak")
    with pytest.raises(ConfigurationError, match=r"executor=2 was given; a concurrent\.futures\.Executor"):
        mf.bootstrap(problem, solution, 3, executor=2)
    with ThreadPoolExecutor(1) as executor, pytest.raises(ConfigurationError, match="one of the two"):
        mf.bootstrap(problem, solution, 3, executor=executor, processes=2)


def test_bootstrap_refuses():
    problem = tracer(nx=24, nt=16)
    solution = mf.solve(problem, "weak")
    with pytest.raises(ConfigurationError, match="2 repeats were given; a whole number of 3"):
        mf.bootstrap(problem, solution, 2)
    with pytest.raises(ConfigurationError, match="without a folder"):
        mf.bootstrap(problem, solution, 3, resume=True)
    with pytest.raises(ConfigurationError, match="of the unknowns c; the problem's, D, c"):
        mf.bootstrap(problem, replace(solution, estimates={"c": solution.estimates["c"]}), 3)
    with pytest.raises(ConfigurationError, match="which engine found it"):
        mf.bootstrap(problem, replace(solution, provenance={}), 3)


def test_too_few_answers_are_no_spread():
    problem = tracer(nx=24, nt=16)
    solution = mf.solve(problem, "weak")
    wrong = replace(
        solution, provenance={**solution.provenance, "settings": {"collocation": {"nodes": {"y": 9}}}}
    )
    wrong = replace(wrong, provenance={**wrong.provenance, "engine": "joint"})
    with pytest.raises(MollifierError, match=r"0 of 4 repeats .* names 'y'"):
        mf.bootstrap(problem, wrong, 4)


# Ensembles


def test_an_ensemble_adds_what_members_differ_by():
    members = [solution_of(v, 0.3, [v, 2 * v], [0.3, 0.4]) for v in (1.0, 2.0, 3.0)]
    found = spread(members[0], members)
    assert found["r"] == pytest.approx(np.sqrt(1.0 + 0.09))
    assert found["k"] == pytest.approx(np.sqrt([1.09, 4.16]))
    bare = [solution_of(v, None, [v, v], None) for v in (1.0, 2.0, 3.0)]
    assert spread(bare[0], bare)["r"] == pytest.approx(1.0)


def test_an_ensemble_is_the_mean_of_its_members(tmp_path):
    problem, _lam = forced(60)
    few = {**SETTINGS, "training": {"tolerance": 0.05, "warmup_steps": 100}, "collocation": {"max_nodes": 60}}
    found = mf.ensemble(problem, 3, rng=4, settings=few, folder=tmp_path)
    members = [mf.load_solution(tmp_path / f"{i:03d}") for i in range(3)]
    assert [m.provenance["seed"] for m in members] == [4, 5, 6]
    kept = [m for m in members if m.history["loss"][-1] <= 2 * min(n.history["loss"][-1] for n in members)]
    assert found.provenance["intervals"]["averaged"] == len(kept)
    mean = np.mean([m.dataset["lam"].values for m in kept], axis=0)
    assert found.dataset["lam"].values == pytest.approx(mean)
    own = np.mean([m.dataset["lam_sd"].values ** 2 for m in kept], axis=0)
    assert (found.dataset["lam_sd"].values ** 2 >= own * (1 - 1e-12)).all()
    assert found.misfit["u"]["fitted"] == pytest.approx(1.0, abs=0.35)
    again = mf.ensemble(problem, 3, rng=4, settings=few, folder=tmp_path, resume=True)
    xr.testing.assert_identical(again.dataset, found.dataset)
