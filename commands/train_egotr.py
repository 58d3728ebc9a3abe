"""The runs of `geo train egotr`: on imagery, on a data set of pairs, on a city's photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from crossgeo.commands import console
from crossgeo.commands.train_options import Run
from crossgeo.commands.train_shared import (
    JUDGED,
    heritage,
    imagenet_lite,
    lengths,
    no_epochs,
    published,
    rates,
    say_random,
    say_written,
    steps_of,
)
from crossgeo.errors import UsageError
from crossgeo.models.street import DEFAULT_STREET_FOV_DEG
from crossgeo.models.views import DroneView
from crossgeo.training import distributed
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.recipes import EGOTR, for_length

if TYPE_CHECKING:
    from crossgeo.training.pairs import PairSet
    from crossgeo.training.starting import Start

SHOWN = 5  # of what is left out


def on_imagery(run: Run, start_from: str, recompute: bool) -> None:
    """Train on drone views rendered from orthophotos."""
    from crossgeo.training.render import Cameras
    from crossgeo.training.sampling import SiteSampler, SiteSampling
    from crossgeo.training.starting import start_fresh
    from crossgeo.training.starting import start_from as start

    no_epochs(run)
    begun = start(start_from) if start_from else start_fresh(run.preset or "egotr-s", "university1652", published(run))
    if not isinstance(begun.view, DroneView):
        raise UsageError(f"imagery renders drone views, and {start_from} reads others; give weights of a drone view, or --photos")
    settings = EgoTRTraining() if run.recipe is None else replace(EGOTR[run.recipe.value].training, chunk=0)
    settings = replace(lengths(run, settings), dense=run.recipe != "paper", recompute=recompute)
    settings = replace(settings, device=run.ready(), seed=run.seed, workers=run.workers)
    grounds = run.grounds()
    sampling = SiteSampling() if run.batch is None else replace(SiteSampling(), groups=max(1, round(run.batch / SiteSampling().sites)))
    source = SiteSampler(grounds, begun.view, Cameras(), sampling)
    model = train_egotr(
        rates(run, settings), source, run.out, view=begun.view, model_config=begun.config, stem_state=_stem(run, begun),
        start_from=begun.state, log=run.say(),
    )  # fmt: skip
    _save(run, settings, begun, model, [ground.name for ground in grounds])


def on_pairs(run: Run, start_from: str | None, recompute: bool) -> None:
    """Train on a data set of photos with the aerial pictures of their places."""
    from crossgeo.training.datasets.layouts import read
    from crossgeo.training.pair_input import PairInput
    from crossgeo.training.pair_sampling import PairSource
    from crossgeo.training.pairs import PairSet
    from crossgeo.training.splits import drawn_share
    from crossgeo.training.starting import start_fresh
    from crossgeo.training.starting import start_from as start

    assert run.data is not None
    data = read(run.data, run.layout)
    if not isinstance(data, PairSet):
        raise UsageError(f"{run.data} holds clicked objects; train AttenGeo on it with `geo train attengeo --data`")
    begun = start(start_from).for_pairs(data.layout) if start_from else start_fresh(run.preset or "egotr-b", data.layout, published(run))
    recipe, as_input = EGOTR[run.recipe.value if run.recipe else "strong"], PairInput(begun.view)
    how = replace(recipe.sampling, batch=run.batch or recipe.sampling.batch)
    pairs = drawn_share(data.split(run.split).pairs, run.share, run.seed, how.batch)
    source = PairSource(pairs, as_input, how, run.seed)
    if source.unplaced and (say := run.say()):
        say(f"{source.unplaced} photos say no heading and are left out")
    device = run.ready()
    settings = for_length(
        recipe.training, epochs=run.epochs or recipe.epochs, epoch_steps=steps_of(source), warmup_steps=recipe.warmup_steps,
        steps=run.steps, minutes=run.minutes,
    )  # fmt: skip
    settings = replace(rates(run, settings), device=device, seed=run.seed, workers=run.workers)
    settings = replace(settings, trained="both" if begun.aerial is None else "ground", recompute=recompute)
    model = train_egotr(
        settings, source, run.out, view=as_input, normalise_tiles=as_input.normalise_tiles, model_config=begun.config,
        stem_state=_stem(run, begun), start_from=begun.state, log=run.say(), judge=_judge(run, data, as_input, settings.device),
    )  # fmt: skip
    about = {"set": data.name, "layout": data.layout, "split": run.split, "share": run.share, "pairs": len(source.pairs)}
    _save(run, settings, begun, model, about)


def on_photos(run: Run, photos: Path, start_from: str | None, recompute: bool) -> None:
    """Fine-tune on a city's photos and say what that brought on streets that were held out."""
    from crossgeo.models.egotr import EgoTR
    from crossgeo.models.library import shipped_weights
    from crossgeo.training.city import EPOCHS, FINE_TUNING, city_source, grid_figures, read_city
    from crossgeo.training.pair_input import PairInput
    from crossgeo.training.starting import start_from as start

    name = start_from or next(name for name in ("egotr-s-street", "egotr-s-drone") if name in shipped_weights())
    begun, device = start(name).for_street(), run.ready()
    as_input = PairInput(begun.view)
    with console.Progress("looking at photos", "photos") as looked:
        city = read_city(photos, run.imageries(), as_input.extent_m, seed=run.seed, progress=looked)
    if say := run.say():
        say(f"{len(city.train)} photos to train on, {len(city.held_out)} held out by whole streets, {len(city.left_out)} left out")
        for line in _by_reason(city.left_out):
            say(line)
        unsaid = [pair for pair in (*city.train, *city.held_out) if pair.fov_deg is None]
        if unsaid:
            taken = f"{len(unsaid)}, like {unsaid[0].id}; it is taken for {DEFAULT_STREET_FOV_DEG:g} degrees"
            say(f"photos that do not say their field of view (EXIF FocalLengthIn35mmFilm): {taken}")
    source = city_source(city, as_input, run.batch, run.seed)
    settings = for_length(
        FINE_TUNING, epochs=run.epochs or EPOCHS, epoch_steps=steps_of(source), warmup_steps=50, steps=run.steps, minutes=run.minutes
    )
    settings = replace(rates(run, settings), device=device, seed=run.seed, workers=run.workers, recompute=recompute)
    before = EgoTR(begun.config).eval()
    before.load_state_dict(begun.state or {})
    figures = {}
    with console.Stages() as stages:
        shown = stages if run.say() else None  # of several processes one speaks
        figures["before"] = grid_figures(before.ground.to(device), before.aerial.to(device), as_input, city, device, shown)
    model = train_egotr(
        settings, source, run.out, view=as_input, normalise_tiles=as_input.normalise_tiles, model_config=begun.config,
        start_from=begun.state, log=run.say(),
    )  # fmt: skip
    with console.Stages() as stages:
        shown = stages if run.say() else None
        figures["after"] = grid_figures(model.ground, model.aerial, as_input, city, device, shown)
    said = {when: {name: figure.to_json() for name, figure in own.items()} for when, own in figures.items()}
    about = {
        "photos": photos.name, "trained_on": len(city.train), "held_out": len(city.held_out), "held_out_figures": said,
        "left_out": len(city.left_out),
    }  # fmt: skip
    _save(run, settings, begun, model, about)
    if distributed.rank() == 0:
        console.print_rows([
            (f"held-out photos, {when}", f"{own['within_25_m'].value:.1%} within 25 m, {own['within_5_m'].value:.1%} within 5 m, "
             f"median {own['median_m'].value:.1f} m ({own['median_m'].count} photos)")
            for when, own in figures.items()
        ])  # fmt: skip


def _save(run: Run, settings: EgoTRTraining, begun: Start, model: Any, data: Any) -> None:
    if distributed.rank():
        return
    about = run.about(settings, data)
    about["training"]["started_from"] = heritage(begun.card)
    path = run.out / "weights.safetensors"
    option = "--street-weights" if begun.aerial is not None else "--weights" if isinstance(begun.view, DroneView) else None
    say_written(path, begun.save(path, model, about), option)
    if option is not None:
        whose = "the defaults" if begun.thresholds is None else f"those of {begun.thresholds['taken_from']}, or the defaults where stricter"
        console.say(
            f"its thresholds are not calibrated: they are {whose}, so do not rely on `located` before `geo eval places` shows that you can"
        )


def _stem(run: Run, begun: Start) -> dict[str, Any] | None:
    """Return the ImageNet stem of a small preset that starts anew."""
    if begun.state is not None:
        return None
    if begun.config.stem == "efficientnet-lite0":
        return imagenet_lite(run)
    say_random(run, "the paper's begin with ImageNet's, which --imagenet gives")
    return None


def _judge(run: Run, data: PairSet, as_input: Any, device: str) -> Callable[[nn.Module], dict[str, float]] | None:
    """Return what asks a model about held-out pairs at each checkpoint; None without any."""
    from crossgeo.training.pair_judge import PairJudge, held_out

    others = held_out(data, run.split)
    if others is None:
        return None
    if say := run.say():
        say(f"the log's recall is that of {min(len(others), JUDGED)} pairs of {others.splits[0]}; nothing is chosen by it")
    return PairJudge.of(others, as_input, JUDGED, run.seed, device)


def _by_reason(left_out: Sequence[tuple[str, str]]) -> list[str]:
    """Say how many photos were left out for each kind of reason, most first, with the first of them; numbers and names make no kind."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for photo, reason in left_out:
        kinds.setdefault(" ".join(word for word in reason.split() if word.isalpha()), []).append((photo, reason))
    most = sorted(kinds.values(), key=len, reverse=True)[:SHOWN]
    return [f"left out {len(some)}, like {some[0][0]}: {some[0][1]}" for some in most]
