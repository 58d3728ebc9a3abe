"""The look of a town, drawn from its seed: colours of roofs, walls, soils and plants, widths of streets, what is built."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Rgb = tuple[float, float, float]
Palette = tuple[Rgb, ...]


@dataclass(frozen=True)
class Style:
    """One region's habits; colours are sRGB 0..255 in full summer light, shares are 0..1."""

    name: str
    pitched_rgb: Palette  # tiles, shingles or slates
    metal_rgb: Palette  # sheet roofs
    flat_rgb: Palette
    wall_rgb: Palette
    soil_rgb: Rgb
    grass_rgb: Rgb
    dry_rgb: Rgb  # what grass turns to in patches
    leaf_rgb: Palette
    crop_rgb: Palette
    road_rgb: Rgb
    lane_rgb: Rgb  # the small streets, often unpaved
    paving_rgb: Rgb
    water_rgb: Rgb
    flat_share: float  # of the houses
    metal_share: float  # of the pitched roofs
    dryness: float  # 0 lush, 1 arid
    trees: float  # trees per 100 m2 of green
    conifers: float  # share
    palms: float  # share
    sidewalk_m: float
    street_m: tuple[float, float]  # width of the common street
    house_m: tuple[float, float]  # frontage of a detached house
    floors: tuple[int, int]  # of dense blocks
    pools: float
    walled: float  # share of plots with walls rather than hedges
    informal: float  # share of dense land built without plan


_TEMPERATE = Style(
    name="temperate",
    pitched_rgb=((158, 84, 62), (140, 70, 54), (176, 104, 78), (104, 88, 82), (86, 84, 86), (124, 92, 74)),
    metal_rgb=((120, 126, 130), (92, 104, 98)),
    flat_rgb=((142, 140, 134), (112, 110, 108), (168, 164, 156), (96, 98, 92)),
    wall_rgb=((214, 206, 190), (186, 150, 126), (228, 226, 220), (160, 104, 84), (206, 188, 150)),
    soil_rgb=(132, 112, 88), grass_rgb=(88, 112, 58), dry_rgb=(132, 134, 82),
    leaf_rgb=((54, 80, 36), (66, 94, 42), (78, 98, 50), (50, 72, 44)),
    crop_rgb=((124, 140, 62), (176, 162, 98), (92, 122, 52), (196, 184, 124), (140, 118, 90)),
    road_rgb=(112, 112, 114), lane_rgb=(128, 124, 118), paving_rgb=(168, 162, 152), water_rgb=(54, 74, 72),
    flat_share=0.12, metal_share=0.06, dryness=0.15, trees=0.8, conifers=0.15, palms=0.0, sidewalk_m=1.9, street_m=(6.0, 7.5),
    house_m=(8.5, 13.0), floors=(2, 5), pools=0.05, walled=0.2, informal=0.0,
)  # fmt: skip
_STYLES = (
    _TEMPERATE,
    replace(
        _TEMPERATE, name="mediterranean",
        pitched_rgb=((186, 122, 88), (200, 138, 102), (170, 104, 76), (190, 148, 116), (160, 112, 90)),
        flat_rgb=((206, 196, 180), (182, 172, 158), (190, 150, 128), (222, 216, 204)),
        wall_rgb=((232, 220, 196), (224, 196, 156), (238, 234, 224), (214, 170, 130)),
        soil_rgb=(176, 150, 116), grass_rgb=(124, 126, 78), dry_rgb=(178, 160, 112),
        leaf_rgb=((76, 88, 50), (92, 100, 64), (60, 76, 42), (104, 110, 78)),
        crop_rgb=((170, 150, 96), (190, 166, 118), (120, 124, 70), (150, 120, 88)),
        road_rgb=(130, 126, 122), lane_rgb=(164, 150, 132), paving_rgb=(192, 180, 162), water_rgb=(62, 92, 92),
        flat_share=0.3, dryness=0.6, trees=0.55, conifers=0.25, palms=0.05, sidewalk_m=1.4, street_m=(5.0, 6.5), pools=0.28, walled=0.7,
    ),
    replace(
        _TEMPERATE, name="suburb",
        pitched_rgb=((98, 94, 92), (122, 110, 100), (84, 78, 78), (140, 128, 114), (110, 84, 72), (74, 80, 86)),
        flat_rgb=((214, 212, 206), (150, 148, 144), (188, 184, 176)),
        wall_rgb=((226, 222, 212), (196, 186, 168), (160, 168, 176), (178, 150, 128)),
        grass_rgb=(94, 124, 60), dry_rgb=(150, 146, 92), road_rgb=(122, 122, 124), lane_rgb=(136, 134, 132), paving_rgb=(196, 192, 184),
        flat_share=0.03, metal_share=0.04, dryness=0.25, trees=0.7, sidewalk_m=1.5, street_m=(7.5, 9.0), house_m=(12.0, 19.0),
        floors=(1, 3), pools=0.2,
        walled=0.1,
    ),
    replace(
        _TEMPERATE, name="valley",
        pitched_rgb=((150, 96, 74), (128, 96, 80)),
        metal_rgb=((70, 104, 150), (152, 156, 158), (88, 128, 106), (150, 72, 58), (178, 178, 176)),
        flat_rgb=((158, 152, 144), (136, 130, 124), (178, 166, 150), (122, 118, 116), (150, 118, 100)),
        wall_rgb=((186, 110, 80), (212, 190, 160), (200, 160, 170), (168, 190, 180), (226, 214, 180)),
        soil_rgb=(158, 132, 102), grass_rgb=(104, 122, 66), dry_rgb=(152, 140, 94), leaf_rgb=((58, 84, 42), (74, 96, 48), (46, 70, 40)),
        crop_rgb=((146, 148, 74), (110, 132, 60), (186, 168, 112), (158, 128, 96), (84, 116, 56)),
        road_rgb=(120, 116, 112), lane_rgb=(170, 146, 118), paving_rgb=(164, 144, 122), water_rgb=(84, 92, 70),
        flat_share=0.68, metal_share=0.75, dryness=0.4, trees=0.6, conifers=0.1, sidewalk_m=0.6, street_m=(4.0, 6.0), house_m=(7.0, 11.5),
        floors=(2, 5),
        pools=0.0, walled=0.4, informal=0.45,
    ),
    replace(
        _TEMPERATE, name="tropical",
        pitched_rgb=((150, 92, 66), (120, 80, 64)),
        metal_rgb=((150, 108, 84), (176, 172, 166), (128, 84, 64), (192, 190, 186), (92, 108, 128), (140, 124, 108)),
        flat_rgb=((176, 170, 160), (150, 144, 136)), wall_rgb=((220, 204, 176), (190, 160, 130), (226, 224, 216), (140, 170, 180)),
        soil_rgb=(178, 122, 84), grass_rgb=(96, 118, 54), dry_rgb=(164, 138, 84),
        leaf_rgb=((48, 84, 36), (66, 104, 44), (84, 116, 56), (42, 70, 34)),
        crop_rgb=((100, 128, 54), (128, 144, 66), (168, 120, 84), (84, 112, 50)),
        road_rgb=(124, 116, 110), lane_rgb=(190, 138, 98), paving_rgb=(188, 150, 116), water_rgb=(90, 92, 66),
        flat_share=0.06, metal_share=0.94, dryness=0.35, trees=0.8, conifers=0.0, palms=0.4, sidewalk_m=0.4, street_m=(4.5, 6.5),
        house_m=(7.0, 12.0),
        floors=(1, 3), pools=0.02, walled=0.3, informal=0.75,
    ),
    replace(
        _TEMPERATE, name="desert",
        pitched_rgb=((176, 132, 104), (190, 160, 130)), metal_rgb=((190, 188, 182), (150, 146, 140)),
        flat_rgb=((214, 198, 172), (226, 218, 204), (190, 170, 142), (200, 182, 156), (236, 232, 224)),
        wall_rgb=((222, 200, 168), (206, 180, 144), (234, 226, 212)),
        soil_rgb=(204, 178, 140), grass_rgb=(150, 146, 96), dry_rgb=(206, 184, 146), leaf_rgb=((78, 94, 52), (96, 106, 66), (64, 82, 46)),
        crop_rgb=((118, 136, 72), (146, 146, 86), (190, 164, 122), (96, 122, 62)),
        road_rgb=(138, 132, 126), lane_rgb=(206, 182, 148), paving_rgb=(208, 190, 162), water_rgb=(74, 110, 108),
        flat_share=0.94, metal_share=0.4, dryness=0.95, trees=0.28, conifers=0.05, palms=0.45, sidewalk_m=1.0, street_m=(5.5, 8.0),
        house_m=(9.0, 15.0),
        floors=(1, 4), pools=0.12, walled=0.95, informal=0.2,
    ),
    replace(
        _TEMPERATE, name="nordic",
        pitched_rgb=((66, 66, 70), (84, 78, 76), (120, 62, 52), (98, 92, 90), (72, 60, 58)),
        metal_rgb=((88, 94, 100), (120, 58, 48), (62, 78, 72), (150, 154, 158)),
        flat_rgb=((92, 92, 94), (120, 118, 116), (78, 82, 78)), wall_rgb=((150, 58, 46), (232, 230, 224), (206, 170, 92), (110, 124, 132)),
        soil_rgb=(116, 102, 88), grass_rgb=(90, 112, 60), dry_rgb=(126, 124, 82), leaf_rgb=((52, 76, 42), (84, 104, 54), (38, 58, 40)),
        road_rgb=(104, 104, 108), lane_rgb=(146, 138, 128), paving_rgb=(150, 146, 142), water_rgb=(44, 58, 66),
        flat_share=0.12, metal_share=0.35, dryness=0.1, trees=1.0, conifers=0.55, sidewalk_m=1.5, street_m=(6.0, 7.5), pools=0.01,
        walled=0.05,
    ),
)  # fmt: skip


def draw_style(rng: np.random.Generator) -> Style:
    """Draw one region and move its colours and habits a little, so that two towns of one region differ too."""
    style = _STYLES[int(rng.integers(len(_STYLES)))]
    cast = rng.normal(1.0, 0.014, 3) * rng.uniform(0.92, 1.07)

    def tint(rgb: Rgb, spread: float = 0.05) -> Rgb:
        moved = np.clip(np.asarray(rgb) * cast * rng.normal(1.0, spread) * rng.normal(1.0, 0.4 * spread, 3), 8.0, 245.0)
        return float(moved[0]), float(moved[1]), float(moved[2])

    def tints(palette: Palette) -> Palette:
        kept = rng.permutation(len(palette))[: max(2, int(rng.integers(2, len(palette) + 1)))]
        return tuple(tint(palette[i]) for i in kept)

    return replace(
        style,
        pitched_rgb=tints(style.pitched_rgb), metal_rgb=tints(style.metal_rgb), flat_rgb=tints(style.flat_rgb),
        wall_rgb=tints(style.wall_rgb),
        soil_rgb=tint(style.soil_rgb), grass_rgb=tint(style.grass_rgb), dry_rgb=tint(style.dry_rgb), leaf_rgb=tints(style.leaf_rgb),
        crop_rgb=tints(style.crop_rgb), road_rgb=tint(style.road_rgb, 0.02), lane_rgb=tint(style.lane_rgb, 0.03),
        paving_rgb=tint(style.paving_rgb, 0.03),
        water_rgb=tint(style.water_rgb), trees=style.trees * float(rng.uniform(0.6, 1.5)),
        flat_share=min(1.0, style.flat_share * float(rng.uniform(0.5, 1.4))),
        street_m=(style.street_m[0], style.street_m[1] + float(rng.uniform(0.0, 1.0))),
        walled=min(1.0, style.walled * float(rng.uniform(0.5, 1.4))),
    )  # fmt: skip
