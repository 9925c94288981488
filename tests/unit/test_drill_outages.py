"""Downtime as a function of acknowledgements."""

import pytest

from steps.drill.outages import OUTAGE_SECONDS, downtime, normal_spacing


def ticks(start: float, end: float, step: float = 0.01) -> list[float]:
    return [round(start + n * step, 6) for n in range(int(round((end - start) / step)) + 1)]


def test_the_longest_stretch_counts_minus_the_normal_spacing() -> None:
    found = downtime([*ticks(0, 5), *ticks(8, 10)], 0.0, 5.0, 10.0)
    assert found.spacing == pytest.approx(0.01)
    assert found.longest == pytest.approx(3.0 - 0.01)
    assert found.worst is not None and (found.worst.start, found.worst.end) == (5.0, 8.0)
    assert [outage.open for outage in found.outages] == [False]
    assert found.total == pytest.approx(found.longest)


def test_a_stretch_that_began_before_the_fault_counts_from_its_last_acknowledgement() -> None:
    found = downtime([*ticks(0, 4.8), *ticks(6, 10)], 0.0, 5.0, 10.0)
    assert found.longest == pytest.approx(1.2 - 0.01)


def test_what_ended_before_the_fault_does_not_count() -> None:
    found = downtime([*ticks(0, 1), *ticks(3, 10)], 0.0, 5.0, 10.0)
    assert found.longest == pytest.approx(0.0, abs=1e-6)
    assert found.outages == ()


def test_an_outage_that_is_still_open_counts_up_to_the_end() -> None:
    found = downtime(ticks(0, 5), 0.0, 4.0, 12.0)
    assert found.longest == pytest.approx(7.0 - 0.01)
    assert found.open and found.outages[-1].end == 12.0


def test_without_any_acknowledgement_everything_is_an_outage() -> None:
    found = downtime([], 1.0, 4.0, 12.0)
    assert found.longest == 11.0 and found.open and found.spacing == 0.0


def test_total_sums_outages_and_leaves_out_what_is_too_short() -> None:
    short = OUTAGE_SECONDS / 2
    times = [*ticks(0, 5), *ticks(6, 7), *ticks(7 + short, 8), *ticks(10, 12)]
    found = downtime(times, 0.0, 5.0, 12.0)
    assert len(found.outages) == 2
    assert found.total == pytest.approx(1.0 + 2.0 - 0.02, abs=1e-6)
    assert found.longest == pytest.approx(2.0 - 0.01)


def test_order_does_not_matter_and_answers_after_the_end_do_not_count() -> None:
    times = [*ticks(0, 5), *ticks(8, 10)]
    assert downtime(reversed(times), 0.0, 5.0, 10.0) == downtime(times, 0.0, 5.0, 10.0)
    assert downtime([*ticks(0, 5), 11.0], 0.0, 5.0, 10.0).open


def test_the_normal_spacing_is_the_median_before_the_fault() -> None:
    assert normal_spacing([0.0, 0.01, 0.02, 0.03, 1.0, 9.0], 1.0) == pytest.approx(0.01)
    assert normal_spacing([0.5], 1.0) == 0.0


def test_a_part_is_never_longer_without_an_acknowledgement_than_the_whole_of_it() -> None:
    times = [*ticks(0, 5, 0.1), *ticks(5, 8), *ticks(9, 12)]
    whole, part = downtime(times, 0.0, 5.0, 12.0), downtime(times, 0.0, 7.0, 12.0, calm_until=5.0)
    assert part == whole
    assert downtime(times, 0.0, 7.0, 12.0).longest > whole.longest, "what is measured in the midst of it is not calm"
