"""The report's page: complete, safe, light; and in a real browser it draws, moves, and stays readable."""

import json
import re
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import chromium
from made_up_solutions import make_solution
from mollifier.cli.app import app
from mollifier.diagnostics.validation.validate import Validation
from mollifier.problem.estimate import Estimate
from mollifier.reporting.mathml import mathml
from mollifier.reporting.page.build import report

LARGEST = 10_000_000
RIGHT = "\ue014"  # the arrow key, as WebDriver names it

ROW = {
    "test": "forward solution", "field": "u", "count": 450, "ratio": 1.02, "low": 0.9, "high": 1.17,
    "coherent": 0.11, "p": 0.4, "p_white": 0.2, "verdict": "holds",
}  # fmt: skip


def reported(dims=("x", "t"), over=("x",), **said):
    """A made-up solution with a provenance as engines write it, and a validation of it."""
    solution, _ = make_solution(dims, over)
    provenance = {
        "equation": ["u_t = div(k*grad(u)) + r*u"],
        "fields": ["u"],
        "unknowns": {
            "k": "FieldUnknown(over=('x',), lower=0.0, upper=None)",
            "r": "ScalarUnknown(unit='1/h')",
        },
        "constants": {"K": 1.7e-3},
        "versions": {"mollifier": "0.1.0"},
        "engine": "joint",
        "seed": 3,
        "data": "0123abcd",
        "settings": {"held_out": 0.1},
    }
    solution = replace(
        solution, estimates={"r": Estimate("r", 0.04812, 0.00123, "1/h")}, provenance={**provenance, **said}
    )
    forward = solution.dataset[["u"]] * 1.01
    found = Validation(
        "doubtful", ("neighbouring errors are <alike>",), ("on 61 x 61 nodes",), (ROW,), forward
    )
    return solution, found


def page(tmp_path, *args, **said):
    solution, found = reported(*args, **said)
    command = "mollifier solve problem.yaml --out out"
    return report(solution, tmp_path / "report.html", found, "equation: u_t = 1 # </script>", command)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The text of a page with all its parts."""
    return page(tmp_path_factory.mktemp("page")).read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without their drawings, which take most of the time."""
    monkeypatch.setattr("mollifier.reporting.page.build.drawing", lambda *_: "")


def test_the_page_says_all_and_needs_nothing(whole):
    text = whole
    assert len(text.encode()) < LARGEST
    for expected in (
        "<math", "∇", "0.0481 ± 0.0012 1/h", "0.045709 to 0.050531", "doubtful", "&lt;alike&gt;",
        "forward solution", "mollifier solve problem.yaml", "equation: u_t = 1 # &lt;/script&gt;", "0123abcd",
        "prefers-color-scheme: dark", "@media print",
    ):  # fmt: skip
        assert expected in text, expected
    assert text.count("</script>") == 2
    outside = re.findall(r"""(?:src|href)=["'](?!#|data:)([^"']+)""", text)
    assert not outside, outside
    assert not re.search(r"@import|url\((?!#)", text)
    for kind in ("input", "output"):
        assert text.count(f"<{kind} ") == text.count('<label for="panel-') > 0
    labelled = re.findall(r"<svg [^>]*>", text)
    assert all("aria-label" in tag or "class=" in tag for tag in labelled)


def test_ids_are_its_own(whole):
    ids = re.findall(r'\sid="([^"]+)"', whole)
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("undrawn")
def test_names_cannot_carry_markup(tmp_path):
    text = page(tmp_path, equation=["u_t = <img src=x onerror=alert(1)>"], engine="<b>x</b>").read_text()
    assert "<img" not in text
    assert "<b>x" not in text


HOSTILE = "<!--<script>\x07\x00"


def hostile_page(tmp_path):
    solution, found = reported()
    for array in (solution.dataset["u"], solution.dataset["k"], solution.dataset["x"], solution.fit["u"]):
        array.attrs["units"] = HOSTILE
    return report(solution, tmp_path / "report.html", found, HOSTILE, HOSTILE)


def test_units_cannot_break_the_page(tmp_path):
    """A comment that opens a script hides the end of the page's own; HTML holds no control characters."""
    text = hostile_page(tmp_path).read_text(encoding="utf-8")
    assert "<!--" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f]", text)
    content = json.loads(re.search(r'id="content">(.*?)</script>', text, re.DOTALL)[1])
    assert HOSTILE in {p["unit"] for p in content["panels"]}
    assert "&lt;!--&lt;script&gt;\ufffd\ufffd" in text


def test_templates_and_style_are_found_as_resources_of_the_package():
    folder = resources.files("mollifier.reporting")
    assert {p.name for p in (folder / "templates").iterdir()} >= {"page.html.j2", "page.css", "page.js"}
    assert (folder / "mollifier.mplstyle").is_file()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("dims", "over"), [(("x",), ("x",)), (("x", "y"), ("x", "y")), (("x", "y", "t"), ("x", "y"))]
)
def test_every_number_of_coordinates(dims, over, tmp_path):
    text = page(tmp_path, dims, over).read_text(encoding="utf-8")
    content = json.loads(re.search(r'id="content">(.*?)</script>', text, re.DOTALL)[1])
    by_title = {p["title"]: p for p in content["panels"]}
    assert {"u, fitted", "k, estimated", "u: forward solution less fit"} <= set(by_title)
    state = by_title["u, fitted"]
    assert (state["slider"] or {}).get("name") == {1: None, 2: "y", 3: "t"}[len(dims)]
    assert len(text) < LARGEST


@pytest.mark.usefixtures("undrawn")
def test_large_fields_are_thinned(tmp_path):
    solution, found = reported()
    x, t = np.linspace(0, 1, 900), np.linspace(0, 2, 700)
    u = xr.DataArray(np.sin(9 * x[:, None] - t), {"x": x, "t": t}, name="u")
    large = replace(solution, dataset=xr.Dataset({"u": u, "residual": u.where(u > 0)}))
    written = report(large, tmp_path / "large.html", replace(found, forward=xr.Dataset({"u": u})))
    assert written.stat().st_size < LARGEST


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u_t = D*u_xx", "<msub><mi>u</mi><mi>xx</mi></msub>"),
        (
            "0 = a/(b + c)",
            "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi><mo>+</mo><mi>c</mi></mrow></mfrac>",
        ),
        ("u_t = (a + b)*u", "<mrow><mo>(</mo><mi>a</mi><mo>+</mo><mi>b</mi><mo>)</mo></mrow>"),
        ("u_t = -1.7e-3*u**2", "<msup><mn>10</mn><mn>-3</mn></msup>"),
        ("u_t = div(k*grad(u))", "<mo>∇</mo><mo>·</mo>"),
        ("u_t = dx(k*u_x) + sqrt(lam)", "<msqrt><mi>λ</mi></msqrt>"),
        ("u_t = <script>", "<code>u_t = &lt;script&gt;</code>"),
    ],
)
def test_equations_are_typeset(text, expected):
    assert expected in mathml(text)


@pytest.mark.usefixtures("undrawn")
def test_the_command_and_the_method(tmp_path):
    solution, found = reported(equation=["u_xt = k*u + r"])
    solution.save(tmp_path)
    (tmp_path / "problem.json").write_text('{"equation": "u_xt = k*u + r", "seed": 3}')
    ran = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(tmp_path / "a.html"), "--json"])
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)
    assert said["validation"]["status"] in ("doubtful", "refuted")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "equation: u_xt = k*u + r\nseed: 3" in text
    assert "mixes t with another coordinate" in text
    ran = CliRunner().invoke(app, ["report", str(tmp_path), "--no-validation"])
    assert ran.exit_code == 0, ran.output
    assert 'id="validation"' not in (tmp_path / "report.html").read_text(encoding="utf-8")
    written = report(solution, tmp_path / "b.html", validation=found)
    assert "on 61 x 61 nodes" in written.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser():
    if chromium.missing():
        pytest.skip(chromium.missing())
    with chromium.Chromium() as opened:
        yield opened


MAP = "return document.querySelector('#panel-0 svg.map image').getAttribute('href')"
CURVE = "return document.querySelector('#panel-0 svg.profile polyline').getAttribute('points')"


def test_the_page_draws_and_its_sliders_move_it(browser, tmp_path):
    browser.media()
    browser.open(page(tmp_path))
    assert browser.run("return document.querySelectorAll('figure.panel').length") >= 4
    before, text = browser.run(CURVE), "return document.querySelector('#panel-0 output').textContent"
    first = browser.run(text)
    picture = browser.picture()
    browser.press("#panel-0 input", RIGHT * 9)
    assert browser.run(CURVE) != before
    assert browser.run(text) != first
    assert browser.picture() != picture
    label = browser.run("return document.querySelector('#panel-0 svg.map').getAttribute('aria-label')")
    assert browser.run(text) in label
    assert browser.run("return document.querySelector('#panel-0 input').getAttribute('aria-valuetext')")
    assert not browser.log()


def test_a_page_with_hostile_units_draws(browser, tmp_path):
    browser.open(hostile_page(tmp_path))
    assert browser.run(CURVE)
    assert not browser.log()


def test_a_slider_over_time_changes_the_map(browser, tmp_path):
    browser.open(page(tmp_path, ("x", "y", "t"), ("x", "y")))
    before = browser.run(MAP)
    browser.press("#panel-0 input", RIGHT * 5)
    assert browser.run(MAP) != before
    assert not browser.log()


# Contrast by WCAG 2 between what is written and the page, for all text that is shown.
CONTRAST = """
const light = (c) => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map((v) => { v /= 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };
let least = 99;
const written = 'h1, h2, h3, p, li, td, th, caption, a, pre, span.badge, output, label, svg text';
for (const e of document.querySelectorAll(written))
  { const style = getComputedStyle(e);
    const ink = e instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(e))].sort((p, q) => q - p);
    least = Math.min(least, (a + 0.05) / (b + 0.05)); }
return least;
"""


@pytest.mark.parametrize(
    ("kind", "scheme"), [("", "light"), ("", "dark"), ("print", "light"), ("print", "dark")]
)
def test_it_can_be_read_in_light_dark_and_print(browser, tmp_path, kind, scheme):
    browser.media(kind, scheme)
    browser.open(page(tmp_path))
    ground = browser.run("return getComputedStyle(document.body).backgroundColor")
    dark = kind == "" and scheme == "dark"
    assert (ground == "rgb(255, 255, 255)") is not dark
    assert browser.run(CONTRAST) >= 4.5
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.run(wide) <= 0
    browser.media()


def test_it_prints_to_pages(browser, tmp_path):
    browser.open(page(tmp_path))
    document = browser.printed()
    assert document.startswith(b"%PDF")
    assert len(document) > 20_000
    assert not browser.log()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("status", ["holds", "doubtful", "refuted", "undetermined"])
def test_every_verdict_has_its_sentence(tmp_path, status):
    """A page is written whatever the validation says."""
    solution, found = reported()
    text = report(solution, tmp_path / "report.html", replace(found, status=status)).read_text(
        encoding="utf-8"
    )
    assert f">{status}<" in text
