"""What was published for the public data sets, to stand beside ours: R@1, R@5, R@10 and R@1 %, and accu@0.25 and accu@0.5, in percent."""

from __future__ import annotations

from dataclasses import dataclass

EGOTR = "Yang, Lu and Zhu 2021, Cross-view Geo-localization with Evolving Transformer"
SAFA = "Shi et al. 2019, Spatial-Aware Feature Aggregation (as quoted by Yang, Lu and Zhu 2021)"
SAMPLE4GEO = "Deuser, Habel and Oswald 2023, Sample4Geo"
PANORAMA_BEV = "Ye et al. 2024, Panorama-BEV"
ATTENGEO = "Improving Cross-View Object Geo-Localization: A Dual Attention Approach (AttenGeo)"
DETGEO = "Sun et al. 2023, Cross-view Object Geo-localization in a Local Region (DetGeo)"
TROGEO = "TROGeo, ICCV 2025"


@dataclass(frozen=True)
class Retrieval:
    """One line of a paper's table; None is what it does not give."""

    method: str
    layout: str
    split: str
    protocol: str
    recalls: tuple[float, float | None, float | None, float | None]  # at 1, 5, 10 and 1 %
    source: str


@dataclass(frozen=True)
class Boxes:
    """One line of a paper's table of boxes."""

    method: str
    layout: str
    split: str
    accu: tuple[float, float]  # at IoU 0.25 and 0.5
    source: str


RETRIEVAL = (
    Retrieval("SAFA", "cvusa", "val", "id", (81.15, None, None, None), SAFA),
    Retrieval("EgoTR", "cvusa", "val", "id", (91.99, 97.68, 98.65, 99.75), EGOTR),
    Retrieval("Polar-EgoTR", "cvusa", "val", "id", (94.05, 98.27, 98.99, 99.67), EGOTR),
    Retrieval("Polar-EgoTR, plain self-attention", "cvusa", "val", "id", (93.26, 97.91, 98.78, 99.68), EGOTR),
    Retrieval("Polar-EgoTR, no position embedding", "cvusa", "val", "id", (90.90, 97.48, 98.40, 99.62), EGOTR),
    Retrieval("EgoTR, no position embedding", "cvusa", "val", "id", (89.04, 96.88, 98.44, 99.61), EGOTR),
    Retrieval("Polar-EgoTR, trained on CVACT", "cvusa", "val", "id", (33.00, None, None, None), EGOTR),
    Retrieval("few-shot, 20 % of the pairs", "cvusa", "val", "id", (76.01, None, None, None), EGOTR),
    Retrieval("few-shot, 40 % of the pairs", "cvusa", "val", "id", (86.06, None, None, None), EGOTR),
    Retrieval("few-shot, 60 % of the pairs", "cvusa", "val", "id", (90.30, None, None, None), EGOTR),
    Retrieval("Sample4Geo", "cvusa", "val", "id", (98.68, None, None, None), SAMPLE4GEO),
    Retrieval("Panorama-BEV", "cvusa", "val", "id", (98.71, None, None, None), PANORAMA_BEV),
    Retrieval("SAFA", "cvact", "val", "id", (78.28, None, None, None), SAFA),
    Retrieval("EgoTR", "cvact", "val", "id", (83.14, 93.84, 95.51, 98.40), EGOTR),
    Retrieval("Polar-EgoTR", "cvact", "val", "id", (84.89, 94.59, 95.96, 98.37), EGOTR),
    Retrieval("Polar-EgoTR, trained on CVUSA", "cvact", "val", "id", (47.55, None, None, None), EGOTR),
    Retrieval("Sample4Geo", "cvact", "val", "id", (90.81, None, None, None), SAMPLE4GEO),
    Retrieval("Panorama-BEV", "cvact", "val", "id", (91.90, None, None, None), PANORAMA_BEV),
    Retrieval("EgoTR", "cvact", "test", "5m", (58.33, 84.23, 88.60, 95.83), EGOTR),
    Retrieval("Polar-EgoTR", "cvact", "test", "5m", (60.72, 85.85, 89.88, 96.12), EGOTR),
    Retrieval("Sample4Geo", "cvact", "test", "id", (71.51, None, None, None), SAMPLE4GEO),
)

BOXES = (
    Boxes("DetGeo", "cvogl-street", "test", (45.43, 42.24), DETGEO),
    Boxes("DetGeo + CVCAM", "cvogl-street", "test", (48.92, 44.91), ATTENGEO),
    Boxes("DetGeo + MHSAM", "cvogl-street", "test", (46.76, 43.58), ATTENGEO),
    Boxes("AttenGeo baseline", "cvogl-street", "test", (44.56, 39.93), ATTENGEO),
    Boxes("AttenGeo baseline + CVCAM", "cvogl-street", "test", (47.58, 40.08), ATTENGEO),
    Boxes("AttenGeo", "cvogl-street", "test", (50.57, 46.15), ATTENGEO),
    Boxes("TROGeo", "cvogl-street", "test", (51.08, 46.56), TROGEO),
    Boxes("DetGeo", "cvogl-drone", "test", (61.97, 57.66), DETGEO),
    Boxes("DetGeo + CVCAM", "cvogl-drone", "test", (56.22, 50.98), ATTENGEO),
    Boxes("DetGeo + MHSAM", "cvogl-drone", "test", (62.12, 57.98), ATTENGEO),
    Boxes("AttenGeo baseline", "cvogl-drone", "test", (49.43, 44.19), ATTENGEO),
    Boxes("AttenGeo baseline + CVCAM", "cvogl-drone", "test", (64.44, 53.03), ATTENGEO),
    Boxes("AttenGeo", "cvogl-drone", "test", (70.71, 62.08), ATTENGEO),
    Boxes("TROGeo", "cvogl-drone", "test", (76.16, 68.96), TROGEO),
    Boxes("DetGeo", "g2d", "test", (77.03, 72.97), ATTENGEO),
    Boxes("DetGeo + CVCAM", "g2d", "test", (77.03, 73.78), ATTENGEO),
    Boxes("DetGeo + MHSAM", "g2d", "test", (78.65, 75.14), ATTENGEO),
    Boxes("AttenGeo baseline", "g2d", "test", (74.59, 68.92), ATTENGEO),
    Boxes("AttenGeo baseline + CVCAM", "g2d", "test", (75.95, 70.00), ATTENGEO),
    Boxes("AttenGeo", "g2d", "test", (77.30, 74.59), ATTENGEO),
    Boxes("AttenGeo", "cvogl-street", "val", (49.19, 44.10), ATTENGEO),
    Boxes("AttenGeo", "cvogl-drone", "val", (68.69, 61.86), ATTENGEO),
    Boxes("AttenGeo", "g2d", "val", (75.00, 70.60), ATTENGEO),
)


def published_retrieval(layout: str, split: str, protocol: str) -> tuple[Retrieval, ...]:
    """Return what was published for a split by a protocol."""
    return tuple(line for line in RETRIEVAL if (line.layout, line.split, line.protocol) == (layout, split, protocol))


def published_boxes(layout: str, split: str) -> tuple[Boxes, ...]:
    """Return what was published for a split of clicked objects."""
    return tuple(line for line in BOXES if (line.layout, line.split) == (layout, split))
