"""The adapter to PyTorch Lightning, against the real package, imported only where a test runs."""

import pytest
import torch

from heat import GRID, TRUE, equation, heat, needs, network, places
from mollifier.errors import ConfigurationError, DataError, GridError

pytestmark = needs("lightning")


def module(radius=0.3, **options):
    from mollifier.adapters.lightning import MollifiedModule

    options = {"data": heat(GRID.coords()).reshape(GRID.shape), "positive": ["k"]} | options
    return MollifiedModule(network(), equation(radius), unknowns={"k": 1.0}, **options)


def trainer(**options):
    import lightning

    shown = ["enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"]
    return lightning.Trainer(accelerator="cpu", **dict.fromkeys(shown, False), **options)


@pytest.mark.slow
@pytest.mark.parametrize("scattered", [False, True])
def test_lightning_recovers_the_conductivity(scattered):
    """Heat, half of the grid missing or scattered places: k within 5 %; the callback kept its way."""
    from mollifier.adapters.lightning import LogEstimates

    data = heat(GRID.coords()).reshape(GRID.shape)
    data[::2] = float("nan")
    options = {"data": heat(places()), "points": places()} if scattered else {"data": data}
    fitted, log = module(**options, steps=250, weight=0.1, rate=3e-2), LogEstimates()
    trainer(max_epochs=4, callbacks=[log]).fit(fitted)
    assert fitted.estimates["k"] == pytest.approx(TRUE, rel=0.05)
    assert len(log.history) == 4
    assert log.history[-1] == fitted.estimates


def test_lightning_mixed_precision_changes_nothing():
    """Under bf16-mixed the network and the layer still run in full: the losses are equal."""
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        fitted = module(steps=3)
        trainer(max_epochs=1, precision=precision).fit(fitted)
        losses.append([float(v) for v in fitted.losses()])
    assert losses[0] == losses[1]


def test_lightning_checkpoint_refuses_another_layer(tmp_path):
    """A checkpoint gives the estimates back, and is refused by a module whose layer differs."""
    fitted = module(steps=3)
    fit = trainer(max_epochs=1)
    fit.fit(fitted)
    fit.save_checkpoint(tmp_path / "heat.ckpt")
    state = torch.load(tmp_path / "heat.ckpt", weights_only=True)["state_dict"]
    again = module()
    again.load_state_dict(state)
    assert again.estimates == fitted.estimates
    with pytest.raises(GridError, match="radius"):
        module(radius=0.4).load_state_dict(state)


def test_lightning_refuses_what_does_not_fit():
    """Unknowns that are not the equation's, and data of another shape."""
    with pytest.raises(ConfigurationError, match="unknowns"):
        module(positive=["q"])
    with pytest.raises(DataError, match="shape"):
        module(data=torch.zeros(3, 4))
    with pytest.raises(DataError, match="finite"):
        module(data=torch.full(GRID.shape, torch.nan))
