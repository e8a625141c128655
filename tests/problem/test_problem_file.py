"""Problem files: what is read, what is refused, and what the message says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from mollifier.engines.joint.settings import JointSettings
from mollifier.engines.network.settings import NetworkSettings
from mollifier.engines.settings import load_problem as load
from mollifier.engines.weak.settings import WeakSettings
from mollifier.errors import ConfigurationError, DataError
from mollifier.problem.entries import ConditionEntry, Entries, UnknownEntry
from mollifier.problem.problem_file import parse_yaml
from mollifier.problem.settings import keys_of
from mollifier.problem.unknowns import FieldUnknown, ScalarUnknown

WHOLE = """\
equation: "u_t = div(k*grad(u)) - r*u/K"
data: {file: u.csv, noise: {u: 0.01}, select: {run: 2}}
constants: {K: 1e-3}
unknowns:
  r:
  k: {over: x, lower: 0.0, smoothness: 0.01, unit: m^2/s}
collocation: {nodes: {x: 41}}
training: {steps: 10}
seed: 4
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    x, t = np.meshgrid(np.linspace(0, 1, 12), np.linspace(0, 1, 9), indexing="ij")
    lines = ["x,t,u,run"]
    for run in (1, 2):
        lines += [
            f"{a},{b},{run * np.sin(3 * a) * np.exp(-b)},{run}" for a, b in zip(x.flat, t.flat, strict=True)
        ]
    (tmp_path / "u.csv").write_text("\n".join(lines))
    path = tmp_path / "problem.yaml"
    path.write_text(WHOLE)
    return path


def refused(path: Path, text: str, *overrides: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        load(path, overrides)
    assert str(path) in str(error.value)
    return str(error.value)


def test_a_whole_file(file: Path):
    read = load(file)
    problem = read.problem()
    assert problem.fields == ("u",)
    assert problem.data.grid().shape == (12, 9)
    assert problem.data.noise_source("u") == "given"
    assert problem.unknowns["r"] == ScalarUnknown()
    assert problem.unknowns["k"] == FieldUnknown(over=("x",), lower=0.0, smoothness=0.01, unit="m^2/s")
    assert problem.constants == {"K": 1e-3}
    assert read.settings == {"collocation": {"nodes": {"x": 41}}, "training": {"steps": 10}}
    assert (read.seed, read.engine) == (4, "auto")
    assert read.to_dict()["unknowns"]["k"]["over"] == "x"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("scalar", ScalarUnknown()),
        ("field", FieldUnknown()),
        ("{over: all, lower: 0}", FieldUnknown(lower=0.0)),
        ("{over: [x, t]}", FieldUnknown(over=("x", "t"))),
        ("{initial: 2e1}", ScalarUnknown(initial=20.0)),
        ("{smoothness: 0}", FieldUnknown(smoothness=0.0)),
    ],
)
def test_shorthands_of_unknowns(file: Path, entry: str, expected: object):
    assert load(file, [f"unknowns.k={entry}"]).unknowns["k"] == expected


def test_overrides_replace_and_create(file: Path):
    read = load(
        file,
        [
            "training.steps=20",
            "network.width=7",
            "unknowns.r.lower=-1",
            "data.select.run=1",
            "engine=network",
        ],
    )
    assert (read.settings["training"]["steps"], read.settings["network"]["width"]) == (20, 7)
    assert read.unknowns["r"] == ScalarUnknown(lower=-1.0)
    assert read.entries.data.select == {"run": 1}
    assert read.engine == "network"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.step=2", "Unknown key 'training.step'. Did you mean 'steps'?"),
        ("trainin.steps=2", "Unknown key 'trainin'. Did you mean 'training'?"),
        ("steps", "key=value was expected"),
        ("=3", "key=value was expected"),
        ("seed.a=1", "'seed' is 4, which holds no 'a'"),
        ("training.steps=many", "'training.steps' was given as 'many'"),
        ("seed=[1", "line 1"),
        ("unknowns.k.lowr=0", "Unknown key 'unknowns.k.lowr'. Did you mean 'lower'?"),
        ("unknowns.k.over=[]", "varies over nothing"),
        ("unknowns.k.upper=-1", "'unknowns.k': Bounds 0.0 and -1.0"),
        ("unknowns.k=fild", "Did you mean 'field'?"),
        ("unknowns.k=3", "belongs under constants"),
        ("data.fil=a", "Unknown key 'data.fil'. Did you mean 'file'?"),
        ("data=u.csv", "a mapping was expected"),
        ("equation=null", "The key 'equation' was expected"),
        ("data.file=null", "The key 'data.file' was expected"),
        ("data.file=[a.csv, b.csv]", "Put the rows of several into one table"),
        ("unknowns=[k]", "input should be a mapping"),
        ("seed=[1,\n\t2]", "Indent with spaces, not with tabs."),
        ("held_out=1.5", "'held_out' was given as 1.5"),
    ],
)
def test_overrides_that_are_refused(file: Path, override: str, message: str):
    assert message in refused(file, WHOLE, override)


def test_a_misspelt_key_is_named_before_the_one_that_lacks(file: Path):
    assert "Unknown key 'equatoin'. Did you mean 'equation'?" in refused(
        file, WHOLE.replace("equation", "equatoin")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1, 2\nb: 3", "line 2"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' is given twice"),
        ("{a: {b: 1, b: 2}}", "the key 'b' is given twice"),
        ("a: &x [1]\nb: *x", "line 2, column 4: aliases (*name) are not read"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]", "aliases"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("[" * 50 + "]" * 50, "more than 20 levels"),
        ("[" * 20_000, "more than 20 levels"),
        ("? [a]\n: 1", "a list or mapping is no name"),
        ("1: 2", "the key '1' is no name"),
        ("a: " + "9" * 10_000, "no YAML"),
        ("a: \x00", "line 1, column 4: the character U+0000"),
        ("a: 1\n--- \nb: 2", "line 2"),
    ],
)
def test_yaml_that_is_refused(file: Path, text: str, message: str):
    assert message in refused(file, text)


def test_files_that_are_no_problem_files(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="missing"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigurationError, match="a folder"):
        load(tmp_path)
    path = tmp_path / "p.yaml"
    assert "a mapping with equation" in refused(path, "")
    assert "a mapping with equation" in refused(path, "- 1")
    assert "1,000,000 at most" in refused(path, "# " + "x" * 1_000_000)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load(path)
    with pytest.raises(ConfigurationError, match=r"Did you mean 'p.yaml'"):
        load(tmp_path / "q.yaml")


NUMBERS = {
    "1e-3": 1e-3,
    "2E5": 2e5,
    "1.5e3": 1500.0,
    "-.5": -0.5,
    "3": 3,
    "1_000": 1000,
    ".inf": np.inf,
    "1.": 1.0,
}
TEXTS = ("no", "yes", "on", "1:30", "2020-01-01", "e3", "x")


@pytest.mark.parametrize(
    ("text", "value"), [*NUMBERS.items(), *zip(TEXTS, TEXTS, strict=True), ("true", True)]
)
def test_plain_values(text: str, value: object):
    assert parse_yaml(text) == value
    assert type(parse_yaml(text)) is type(value)


def test_values_of_a_column(file: Path):
    read = load(file)
    assert read.values_of("run") == [1, 2]
    assert load(file, ["data.select.run=[2]"]).values_of("run") == [2]
    with pytest.raises(ConfigurationError, match="Did you mean 'run'"):
        read.values_of("runs")
    one = read.selecting("run", 1).problem().data
    two = read.problem().data
    assert np.isclose(2 * one.rms("u"), two.rms("u"))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "examples").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_examples_are_problem_files(path: Path):
    assert load(path).unknowns


@pytest.mark.parametrize(
    "model", [Entries, UnknownEntry, ConditionEntry, NetworkSettings, JointSettings, WeakSettings]
)
def test_descriptions_of_keys_are_complete(model: type[BaseModel]):
    """The reference page is written from them."""
    for name, field in model.model_fields.items():
        assert field.description, f"{model.__name__}.{name}"
    for section in keys_of(model).values():
        if section is not None and issubclass(section, BaseModel):
            test_descriptions_of_keys_are_complete(section)


def test_trusted_data(file: Path):
    obs = load(file, ["data.trusted={t: 0, x: [0, 1]}"]).observations()
    assert np.sum(obs.samples("u").sd < 0.5 * obs.noise_sd("u")) == 2
    with pytest.raises(DataError, match=r"no coordinate 'tt' to trust\. Did you mean 't'"):
        load(file, ["data.trusted={tt: 0}"]).observations()
    with pytest.raises(ConfigurationError, match=r"data\.trusted"):
        load(file, ["data.trusted={t: start}"])
