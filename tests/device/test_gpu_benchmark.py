"""The benchmark for a GPU runs its whole logic on a CPU, counts right, and a part that fails is a row."""

import contextlib
import importlib
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from emulated_gpu import GPU, emulated_gpu
from torch.autograd import DeviceType

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def part():
    """Imports a module of the benchmark."""
    before = list(sys.path)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] in ("gpu", "on_gpu", "costing")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def card(part):
    return part("on_gpu.card").Card(torch.device("cpu"))


@pytest.mark.slow
def test_each_kind_of_row_runs_on_a_cpu(part, tmp_path, capsys):
    assert part("gpu").main([str(tmp_path / "out.json"), "--device", "cpu", "--quick"]) == 0
    rows = {row["part"]: row for row in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["parts"]}
    both = ["tiny, default", "plain, nnlandmark", "resenc_m, default"]
    assert list(rows) == [
        "loss, fused, naive and floor",
        *[f"{kind}: {name}" for name in both for kind in ("training", "prediction")],
        "prediction: plain, one stage, 32^3",
        *[f"{kind}: tiny, 96 x 120" for kind in ("training", "prediction")],
        *[f"ways: {name}" for name in both],
    ]
    assert all("error" not in row for row in rows.values()), rows
    for name, row in rows.items():
        if name.startswith("training"):
            assert row["steps"] >= 1 and row["loss_to_floor"] > 0
        if name.startswith("prediction"):
            assert row["network_calls"] > 0 and row["predict_s"] > 0 and row["find_s"] > 0
        if name.startswith("ways"):
            assert row["channels_last_ratio"] > 0 and row["compile_ratio"] > 0
            # What a CPU cannot is said in its place.
            assert row["cuda_graph_ratio"].startswith("error: ")
    assert rows["prediction: plain, one stage, 32^3"]["whole_maps_s"] > 0
    assert "says nothing about a GPU" in capsys.readouterr().out


@pytest.mark.slow
def test_each_kind_of_row_keeps_to_one_device(part, tmp_path, monkeypatch):
    """On an emulated GPU, with what CUDA alone can say made up."""
    made_up = ("synchronize", "empty_cache", "reset_peak_memory_stats", "set_sync_debug_mode")
    for name in made_up:
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    for name in ("max_memory_reserved", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: 2e9)
    profile = contextlib.nullcontext(SimpleNamespace(events=lambda: [event(DeviceType.CUDA, 0, 1)]))
    monkeypatch.setattr(part("on_gpu.card"), "profile", lambda activities: profile)
    # A graph and a compiler would need kernels.
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda call, *_, **__: call)
    monkeypatch.setattr(torch, "compile", lambda call, **_: call)
    card, made_data = part("on_gpu.card").Card(GPU), part("on_gpu.made")
    data = made_data.volumes(tmp_path / "data", 32, 4)
    options = {"network": "tiny", "method": "default", "patch_size": [16] * 3}
    made = made_data.Made(card, data, tmp_path / "bundle", quick=True, **options)
    loss, training, prediction, ways = {}, {}, {}, {}
    with emulated_gpu():
        part("on_gpu.losses").loss_ratio(card, loss, 12, 1)
        part("on_gpu.training").steps(made, training, warm_up=1, count=2, seconds=60)
        part("on_gpu.prediction").prediction(made, prediction, made_data.first_image(data), whole=True)
        part("on_gpu.ways").ways(made, ways)
    assert (
        loss["fused_peak_gb"] == training["peak_gb"] == prediction["peak_gb"] == prediction["whole_maps_peak_gb"] == 2
    )
    assert 0 < training["gpu_share_of_a_step"] < 1 and training["syncs_a_step"] == prediction["syncs_a_call"] == 0
    assert all(isinstance(value, float) for value in ways.values()), ways


def event(kind, start, end, annotation=False, **more):
    return SimpleNamespace(
        device_type=kind, time_range=SimpleNamespace(start=start, end=end), is_user_annotation=annotation, **more
    )


def test_the_gpu_works_while_its_own_kernels_run(part):
    cuda, cpu = DeviceType.CUDA, DeviceType.CPU
    events = [
        # The host's event has the time of its kernel once more.
        event(cpu, 0, 900, self_device_time_total=300),
        event(cuda, 100, 400, self_device_time_total=300),
        # An optimizer's step, as the host and as the device see it.
        event(cpu, 0, 2000, annotation=True),
        event(cuda, 0, 2000, annotation=True),
        # Two streams at a time, one within the other, and one that begins as the other ends.
        event(cuda, 500, 800),
        event(cuda, 600, 1000),
        event(cuda, 650, 700),
        event(cuda, 1000, 1100),
    ]
    assert part("on_gpu.card").busy_seconds(events, cuda) == pytest.approx(900e-6)
    assert part("on_gpu.card").busy_seconds([], cuda) == 0


def test_a_profile_of_torch_is_what_is_counted(part, card):
    """On a CPU with the CPU's events, which tells whether a new torch names them otherwise."""
    assert card.busy_share(lambda: torch.ones(8).sum()) is None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        with torch.profiler.record_function("a step"):
            time.sleep(0.2)
        torch.randn(100, 100) @ torch.randn(100, 100)
    busy = part("on_gpu.card").busy_seconds(seen.events(), DeviceType.CPU)
    assert 0 < busy < 0.15


class Seen(torch.nn.Module):
    """Remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = torch.nn.Conv3d(1, 2, 3, padding=1), []

    def forward(self, image):
        self.calls.append((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled(), image.is_contiguous()))
        return self.layer(image)


class Planned:
    """What `ways` asks of a bundle."""

    quick = True

    def __init__(self, card, stage):
        self.card, self.stage = card, stage

    def decided(self, name):
        return {"stages": [{"patch_size": [4, 4, 4], "batch_size": 2}], "channels": 1}[name]

    def training(self):
        network = torch.nn.Module()
        network.stages = torch.nn.ModuleDict({"fine": self.stage})
        return SimpleNamespace(get_parsed_content=lambda _: network)


def test_each_way_has_a_network_of_its_own_and_half_precision(part, card, monkeypatch):
    stage, given = Seen(), {}

    def record(call, images, **_):
        given["graph"] = call
        call(*images)
        # As the real one: the module itself, with another forward.
        call.forward = call.forward
        return call

    def compiled(call, **_):
        given["compile"] = call
        return call

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    monkeypatch.setattr(torch, "compile", compiled)
    found = {}
    part("on_gpu.ways").ways(Planned(card, stage), found)
    assert list(found) == ["pass_s", "channels_last_ratio", "cuda_graph_ratio", "compiling_s", "compile_ratio"]
    assert all(isinstance(value, float) for value in found.values())
    copies = {id(stage), id(given["graph"]), id(given["compile"])}
    assert len(copies) == 3 and "forward" not in vars(stage) and "forward" not in vars(given["compile"])
    assert len({x.layer.weight.data_ptr() for x in (stage, given["graph"], given["compile"])}) == 3
    assert stage.layer.weight.is_contiguous()
    # The recording and the calls: half precision, of which nothing is kept. Copies begin with the calls of the first.
    for one in (stage, *given.values()):
        assert len(one.calls) > 1 and all(half and not kept and plain for half, kept, plain in one.calls)


def test_ratios_that_were_found_stay_when_the_time_ends(part, card, monkeypatch):
    rows = part("on_gpu.rows")

    def slow(call, **_):
        with contextlib.suppress(Exception):  # as torch's compiler does
            time.sleep(20)
        return call

    monkeypatch.setattr(torch, "compile", slow)
    row = rows.attempt("ways", 2.0, lambda found: part("on_gpu.ways").ways(Planned(card, Seen()), found))
    assert row["channels_last_ratio"] > 0 and "compile_ratio" not in row
    assert row["error"].startswith("OutOfTimeError") and row["took_s"] < 10


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_end_that_is_lost_where_nothing_can_be_raised_is_told_again(part):
    """As in a callback of the garbage collector, of which others have some."""
    rows = part("on_gpu.rows")

    class Lost:
        def __del__(self):
            time.sleep(0.4)

    def work(found):
        Lost()
        time.sleep(20)

    row = rows.attempt("lost", 0.1, work)
    assert row["error"].startswith("OutOfTimeError") and row["took_s"] < 10


def test_a_part_that_fails_or_takes_too_long_is_a_row(part):
    rows = part("on_gpu.rows")

    def fails(found):
        found["x"] = 1.0
        raise RuntimeError("CUDA out of memory\nand more")

    def late(_):
        time.sleep(5)

    row = rows.attempt("a", 5.0, fails)
    assert row["error"] == "RuntimeError: CUDA out of memory" and row["x"] == 1.0
    row = rows.attempt("b", 0.05, late)
    assert row["error"].startswith("OutOfTimeError") and row["took_s"] < 4
    assert rows.attempt("c", 5.0, lambda found: found.update(x=1.0))["x"] == 1.0
    over = list(rows.rows_of([("d", late)], time.perf_counter() - 1))
    assert over == [{"part": "d", "error": "not begun: the time is over"}]


def test_nothing_of_a_part_is_held_while_the_next_one_runs(part, monkeypatch):
    """Tensors in a circle, such as that of an engine and its handlers, would count among the next part's peak."""
    import weakref

    class Engine:
        pass

    held, emptied = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(held[-1]() is None))

    def circle(fails):
        def work(_):
            engine = Engine()
            engine.handler = lambda: engine
            held.append(weakref.ref(engine))
            if fails:
                raise RuntimeError

        return work

    parts = [("a", circle(False)), ("b", circle(True))]
    assert len(list(part("on_gpu.rows").rows_of(parts, time.perf_counter() + 60))) == 2
    assert emptied == [True, True]


def test_a_loss_is_compared_with_reading_and_writing_once(part, card):
    found = {}
    part("on_gpu.losses").loss_ratio(card, found, 12, 1)
    assert found["fused_to_floor"] == pytest.approx(found["fused_s"] / found["floor_s"])
    maps, seen = [torch.ones(2, 3), torch.full((4,), 2.0)], []
    counting = SimpleNamespace(seconds=lambda work, times: seen.append((work(), times)) or 0.5)
    assert part("on_gpu.losses").floor_seconds(counting, maps, 2) == 0.5 and seen == [(None, 8)]
    assert maps[0].eq(1).all()


def test_without_a_gpu_it_says_so_in_one_line(part, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert part("gpu").main([str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not (tmp_path / "out.json").exists()
