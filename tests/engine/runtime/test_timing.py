"""engine/runtime/timing.py: calls that are compared take turns."""

from crossgeo.engine.runtime.timing import in_turn


def test_calls_take_turns_after_one_round_that_does_not_count() -> None:
    order: list[str] = []
    seconds = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert "".join(order) == "ababab"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    assert all(second >= 0.0 for times in seconds.values() for second in times)
