"""indexer/vectors and vector_index.py: exact search by rounded products, inverted lists, and the choice between them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo import processor
from crossgeo.errors import LimitError, StoreError, UsageError
from crossgeo.indexer import vector_index
from crossgeo.indexer.descriptor_store import DescriptorRows, write_descriptors
from crossgeo.indexer.vector_index import VectorIndex, write_vectors
from crossgeo.indexer.vectors import ArrayRows, best, ivf, kmeans, matrix_scan, on_device, projection, tune
from crossgeo.indexer.vectors.on_device import DeviceRows
from crossgeo.indexer.vectors.structure import Budget, choose_structure, lists_for, most_lists

Rows = NDArray[np.float32]
LISTS = Budget(recall=0.95, max_memory_bytes=1e6)  # too little for the 6000 rows as they are


def unit(rows: NDArray[np.floating]) -> Rows:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def drawn(count: int, dim: int = 64, used: int = 24, seed: int = 0) -> Rows:
    """Return neighbours in groups of eight that use some of their dimensions."""
    draw = np.random.default_rng(seed)
    groups = np.repeat(draw.standard_normal((-(-count // 8), used)), 8, axis=0)[:count]
    axes, _ = np.linalg.qr(np.random.default_rng(99).standard_normal((dim, dim)))
    return unit((groups + 0.5 * draw.standard_normal((count, used))) @ axes[:used])


def brute(queries: Rows, rows: Rows, k: int) -> NDArray[np.int64]:
    return np.argsort(-(queries.astype(np.float64) @ rows.T.astype(np.float64)), axis=1, kind="stable")[:, :k]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return drawn(6000)


@pytest.fixture(scope="module")
def asked(rows: Rows) -> Rows:
    return tune.questions(ArrayRows(rows), seed=5)[:100]


@pytest.fixture(scope="module")
def folder(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("lists")
    tiles = np.zeros((len(rows), 2), np.int32)
    write_descriptors(made / "descriptors.h5", [rows[:1000], rows[1000:1001], rows[1001:]], tiles)
    record = write_vectors(made, ArrayRows(rows), LISTS)
    assert record is not None and record.recall_at_1 >= 0.95 and record.recall_at_10 >= 0.91
    yield made


@pytest.mark.parametrize("count", [33, 300, 5000])
@pytest.mark.parametrize("k", [1, 10, 33])
def test_rounded_products_find_what_float32_finds(count: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix_scan, "_CHUNK", 1024)
    monkeypatch.setattr(matrix_scan, "_QUERIES", 7)
    held = drawn(count)
    held[count // 2 :: 7] = unit(held[count // 2] + 1e-4 * np.random.default_rng(1).standard_normal((len(held[count // 2 :: 7]), 64)))
    queries = np.concatenate([tune.questions(ArrayRows(held))[:20], held[count // 2][None]])
    scores, found = matrix_scan.MatrixScan(held).search(queries, k)
    exact = np.take_along_axis(queries @ held.T, brute(queries, held, k), axis=1)
    np.testing.assert_allclose(scores, exact, atol=1e-6)  # rows closer than float32 can tell may change places
    np.testing.assert_allclose(np.take_along_axis(queries @ held.T, found, axis=1), exact, atol=1e-6)
    assert all(len(set(row)) == k for row in found.tolist())


def test_equal_scores_come_in_the_order_of_their_rows() -> None:
    held = np.repeat(drawn(100), 50, axis=0)
    _, found = matrix_scan.MatrixScan(held).search(held[::500].copy(), 40)
    np.testing.assert_array_equal(found[:, 0] % 50, 0)
    np.testing.assert_array_equal(np.diff(found, axis=1), 1)


def test_exact_search_scans_batches_and_asks_faiss_for_one(
    tmp_path: Path, rows: Rows, asked: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossgeo.indexer.vectors import exact

    assert write_vectors(tmp_path, ArrayRows(rows)) is None
    plain = VectorIndex(tmp_path).search(asked, 10)
    monkeypatch.setattr(exact, "_MANY_ROWS", 1)
    monkeypatch.setattr(processor, "multiplies_bfloat16", lambda: True)
    scanned = VectorIndex(tmp_path).search(asked, 10)
    np.testing.assert_array_equal(scanned[1], plain[1])
    np.testing.assert_allclose(scanned[0], plain[0], atol=1e-6)
    np.testing.assert_array_equal(plain[1], brute(asked, rows, 10))


@pytest.mark.parametrize("many", [1, 40])
def test_an_exact_answer_is_the_same_however_rows_are_divided(
    tmp_path: Path, rows: Rows, many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crossgeo.indexer.vectors import exact

    monkeypatch.setattr(exact, "PIECE", 700)
    held = rows[:3000].copy()
    held[100:2900:7] = held[3]  # more equal rows than are asked for
    held[2950:] = unit(held[5] + 1e-7 * np.random.default_rng(2).standard_normal((50, 64)))  # and some that float32 hardly tells apart
    asked = np.concatenate([held[[3, 5]], tune.questions(ArrayRows(rows), seed=9)])[: many + 1]
    chosen = np.arange(1, 3000, 2)
    write_vectors(tmp_path, ArrayRows(held))
    whole = VectorIndex(tmp_path)
    truth = np.stack([(held.astype(np.float64) * query.astype(np.float64)).sum(axis=1) for query in asked]).astype(np.float32)
    for k in (1, 20, 500):
        parts = []
        for first, last in ((0, 5), (5, 1300), (1300, 2999), (2999, 3000)):
            folder = tmp_path / str(first)
            folder.mkdir(exist_ok=True)
            write_vectors(folder, ArrayRows(held[first:last]))
            scores, found = VectorIndex(folder).search(asked, k)
            parts.append((scores, found + first))
        together = best(np.concatenate([p[0] for p in parts], axis=1), np.concatenate([p[1] for p in parts], axis=1), k)
        every = np.lexsort((np.broadcast_to(np.arange(3000), truth.shape), -truth), axis=1)
        order = every[:, :k]
        for found in (whole.search(asked, k), together):
            np.testing.assert_array_equal(found[1], order)
            np.testing.assert_array_equal(found[0], np.take_along_axis(truth, order, 1))
        among = whole.search_among(asked, k, chosen)
        np.testing.assert_array_equal(among[1], [row[np.isin(row, chosen)][:k] for row in every])
        np.testing.assert_array_equal(among[0], np.take_along_axis(truth, among[1], 1))


def test_the_structure_follows_scale_and_budget() -> None:
    assert choose_structure(50_000, 768).kind == "exact"
    million = choose_structure(1_000_000, 768)
    assert (million.kind, million.lists, million.refine) == ("ivf", 4096, "fp16")
    assert choose_structure(1_000_000, 768, Budget(recall=1.0)).kind == "exact"
    assert choose_structure(1_000_000, 768, Budget(max_latency_ms=1000.0)).kind == "exact"
    small = choose_structure(1_000_000, 768, Budget(max_memory_bytes=1e9))
    assert (small.refine, small.memory_bytes <= 1e9) == ("sq8", True)
    assert choose_structure(50_000, 768, Budget(max_memory_bytes=1e8)).kind == "ivf"
    assert choose_structure(10_000_000, 768).lists == 16384 == lists_for(10_000_000)
    assert choose_structure(10_000_000, 768, Budget(max_memory_bytes=8e9)).refine == "sq8"
    assert choose_structure(10_000_000, 768, Budget(max_memory_bytes=8e9), axes=192).refine == "fp16"
    assert most_lists(10_000_000, 192, 16384, Budget()) < 16384 == most_lists(1_000_000, 192, 16384, Budget())
    for rows, budget in ((1_000_000, Budget(max_memory_bytes=1e7)), (1_000_000, Budget(recall=1.0, max_memory_bytes=1e9))):
        with pytest.raises(LimitError, match="allow more"):
            choose_structure(rows, 768, budget)
    for wrong in ({"recall": 0.2}, {"recall": 1.5}, {"max_memory_bytes": 0.0}, {"max_latency_ms": float("nan")}):
        with pytest.raises(UsageError):
            Budget(**wrong)


def test_axes_are_as_many_as_rows_use(rows: Rows) -> None:
    axes = projection.fit_axes(rows)
    assert axes.shape == (32, 64)
    np.testing.assert_allclose(axes @ axes.T, np.eye(32), atol=1e-5)
    np.testing.assert_allclose((rows[:50] @ axes.T) @ (rows @ axes.T).T, rows[:50] @ rows.T, atol=1e-5)
    assert projection.fit_axes(drawn(500, used=64)).shape == (64, 64)


def test_a_sample_is_runs_from_all_rows(rows: Rows) -> None:
    some = projection.sample(ArrayRows(rows), 1024)
    assert 768 <= len(some) <= 1024  # the last run is short
    np.testing.assert_array_equal(some[:256], rows[:256])
    np.testing.assert_array_equal(projection.sample(ArrayRows(rows), 10_000), rows)


def test_every_list_has_a_centre_of_its_own_and_rows_are_nearest_to_theirs(rows: Rows) -> None:
    lists = kmeans.train(np.repeat(rows[:40], 20, axis=0), 32)  # few different rows: lists run empty on the way
    assert len(np.unique(lists.centres.round(4), axis=0)) == 32
    np.testing.assert_allclose(np.linalg.norm(lists.centres, axis=1), 1.0, atol=1e-5)
    mine, scores = lists.nearest(rows), rows @ lists.centres.T
    assert (scores.max(axis=1) - scores[np.arange(len(rows)), mine]).max() < 2e-2  # bfloat16 may take the second of two that are alike


def test_lists_find_about_what_exact_search_finds(folder: Path, rows: Rows, asked: Rows) -> None:
    index = VectorIndex(folder)
    assert (len(index), index.dim, index.is_exact) == (6000, 64, False)
    scores, found = index.search(asked, 10)
    first, tenth = tune.recall(found, brute(asked, rows, 10))
    assert first >= 0.9 and tenth >= 0.85
    np.testing.assert_allclose(scores, np.take_along_axis(asked @ rows.T, found, axis=1), atol=2e-3)
    assert (np.diff(scores, axis=1) <= 0).all()
    everything = index.search(asked[:3], 10_000)
    np.testing.assert_array_equal(np.sort(everything[1], axis=1), np.tile(np.arange(6000), (3, 1)))


def test_wider_searches_find_more(folder: Path, rows: Rows, asked: Rows) -> None:
    search = ivf.InvertedLists(folder)
    truth = brute(asked, rows, 10)
    found = [tune.recall(search.search(asked, 10, ivf.Width(lists, 32.0))[1], truth)[1] for lists in (1, 8, search.lists)]
    assert found[0] < found[1] < found[2] and found[2] > 0.99


@pytest.mark.parametrize("count", [1, 30, 3000])
@pytest.mark.parametrize("compared", [0, 100_000])
def test_a_selection_is_all_that_is_found(
    folder: Path, rows: Rows, asked: Rows, count: int, compared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ivf, "_EXACT_ROWS", compared)
    monkeypatch.setattr(vector_index, "_FEW_ROWS", 30)
    chosen = np.sort(np.random.default_rng(3).choice(len(rows), count, replace=False))
    scores, found = VectorIndex(folder).search_among(asked, 10, chosen)
    truth = chosen[brute(asked, rows[chosen], min(10, count))]
    assert found.shape == truth.shape
    assert np.isin(found[np.isfinite(scores)], chosen).all()
    least = 1.0 if count <= 30 else 0.98 if compared else 0.9
    assert (found[:, 0] == truth[:, 0]).mean() >= least


def test_descriptors_come_back_as_they_were_written(folder: Path, rows: Rows) -> None:
    wanted = np.asarray([5999, 0, 256, 255, 256, 4000])
    np.testing.assert_array_equal(VectorIndex(folder).vectors(wanted), rows[wanted])
    with DescriptorRows(folder / "descriptors.h5") as stored:
        np.testing.assert_array_equal(stored.read(900, 1100), rows[900:1100])


def test_equal_rows_give_equal_files(folder: Path, rows: Rows, tmp_path: Path) -> None:
    write_vectors(tmp_path, ArrayRows(rows), LISTS)
    for name in ivf.FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_file_of_other_rows_is_noticed(folder: Path, rows: Rows, tmp_path: Path) -> None:
    VectorIndex(folder).check(ArrayRows(rows))
    with pytest.raises(StoreError, match="does not hold the vectors"):
        VectorIndex(folder).check(ArrayRows(rows[::-1]))
    with pytest.raises(StoreError, match="does not hold the vectors"):
        VectorIndex(folder).check(ArrayRows(rows[:-1]))
    write_vectors(tmp_path, ArrayRows(rows[:100]))
    with pytest.raises(StoreError, match="does not hold the vectors"):
        VectorIndex(tmp_path).check(ArrayRows(rows[1:101]))


@pytest.mark.parametrize("name", ["axes.npy", "refine.faiss", "search.json", "ann.faiss"])
def test_files_that_do_not_go_together_are_refused(folder: Path, name: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_vectors(other, ArrayRows(drawn(4000, dim=96, used=70)), LISTS)
    for path in folder.iterdir():
        source = other / name if path.name == name else path
        data = b"{}" if name == "search.json" == path.name else source.read_bytes()
        (tmp_path / path.name).write_bytes(data)
    with pytest.raises(StoreError):
        VectorIndex(tmp_path)


def test_more_lists_are_not_searched_than_time_allows_or_than_find_more(folder: Path, rows: Rows) -> None:
    search, asked = ivf.InvertedLists(folder), tune.questions(ArrayRows(rows))
    truth = brute(asked, rows, 10)
    wide, most_found = tune.narrowest(search, asked, truth, 1.0, search.lists)
    assert wide.lists < search.lists  # nothing finds all, and from some width on nothing more is found
    assert most_found[0] >= tune.recall(search.search(asked, 10, ivf.Width(search.lists, 32.0))[1], truth)[0] - 0.02
    narrow, found = tune.narrowest(search, asked, truth, 0.99, 3)
    assert narrow.lists <= 3 and 0.0 < found[0] < most_found[0]
    one, _ = tune.narrowest(search, asked, truth, 0.5, search.lists)
    assert one.lists < wide.lists


def test_eight_bits_re_rank_nearly_as_well(rows: Rows, asked: Rows, tmp_path: Path) -> None:
    record = write_vectors(tmp_path, ArrayRows(rows), Budget(recall=0.95, max_memory_bytes=4e5))
    assert record is not None and "sq8" in record.structure and record.recall_at_1 >= 0.9
    assert (VectorIndex(tmp_path).search(asked, 10)[1][:, 0] == brute(asked, rows, 1)[:, 0]).mean() >= 0.9


@pytest.mark.parametrize(("dtype", "err"), [(torch.float16, 1e-3), (torch.int8, 5e-3), (torch.float8_e4m3fn, 2e-2)])  # of 64 numbers
def test_rows_on_a_device_are_all_searched(
    folder: Path, rows: Rows, asked: Rows, dtype: torch.dtype, err: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex(folder)
    assert not index.to("cpu")
    monkeypatch.setattr(on_device, "type_that_fits", lambda *_: dtype)
    monkeypatch.setattr(on_device, "DeviceRows", lambda held, device, dtype: DeviceRows(held, "cpu", dtype))
    assert index.to("cuda") and index.is_exact
    held = DeviceRows(ArrayRows(rows), "cpu", dtype)
    for found_by in (index.search(asked, 10), held.search(asked, 10)):
        scores, found = found_by
        exact = np.take_along_axis(asked @ rows.T, brute(asked, rows, 10), axis=1)
        np.testing.assert_allclose(scores, exact, atol=err)
        np.testing.assert_allclose(np.take_along_axis(asked @ rows.T, found, axis=1), exact, atol=2 * err)
    chosen = np.arange(5, 6000, 7)
    scores, found = index.search_among(asked, 10, chosen)
    assert np.isin(found, chosen).all()
    np.testing.assert_allclose(scores, np.sort(asked @ rows[chosen].T, axis=1)[:, :-11:-1], atol=err)
    np.testing.assert_allclose(np.take_along_axis(asked @ rows.T, found, axis=1), scores, atol=err)


def test_a_row_of_nothing_is_held_and_found_last(rows: Rows) -> None:
    given = np.concatenate([rows[:9], np.zeros((1, rows.shape[1]), np.float32)])
    for dtype in (torch.float16, torch.int8, torch.float8_e4m3fn):
        scores, found = DeviceRows(ArrayRows(given), "cpu", dtype).search(rows[:1], 10)
        assert scores[0, found[0] == 9].tolist() == [0.0]


def test_rows_are_halved_before_a_gpu_goes_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 * 10**9, 80 * 10**9))
    held = [on_device.type_that_fits(millions * 10**6, 768, "cuda") for millions in (1, 41, 42, 82, 83)]
    assert held == [torch.float16, torch.float16, torch.int8, torch.int8, None]


def test_what_another_budget_left_behind_does_not_say_how_it_is_searched(rows: Rows, tmp_path: Path) -> None:
    write_vectors(tmp_path, ArrayRows(rows), LISTS)
    assert write_vectors(tmp_path, ArrayRows(rows)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["ann.faiss"]
    assert VectorIndex(tmp_path).is_exact
