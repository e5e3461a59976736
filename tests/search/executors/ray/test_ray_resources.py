"""Addresses of clusters, and how their cores and GPUs become slots."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.errors import DeviceError, UsageError
from probe.search.executors.ray.resources import NodeSize, SlotPlan, gpu_fraction, parse_ray_address, plan_slots

NODES = st.lists(st.builds(NodeSize, num_cpus=st.integers(1, 64).map(float)), min_size=1, max_size=6)
GPU_NODES = st.lists(
    st.builds(NodeSize, num_cpus=st.integers(1, 64).map(float), num_gpus=st.integers(1, 8).map(float)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(
    ("text", "local", "place"),
    [
        ("auto", None, None),
        ("local:3", 3, None),
        ("10.0.0.7:6379", None, ("10.0.0.7", 6379)),
        ("head.example:10001", None, ("head.example", 10001)),
        ("[::1]:6379", None, ("::1", 6379)),
    ],
)
def test_addresses(text: str, local: int | None, place: tuple[str, int] | None) -> None:
    found = parse_ray_address(text)
    assert (found.text, found.num_local, found.host_and_port) == (text, local, place)


@pytest.mark.parametrize(
    "text", ["", "local:0", "local:x", "local", "head", "head:", "head:99999", "a b:1", "http://h:1"]
)
def test_what_is_no_address_is_told_the_forms(text: str) -> None:
    with pytest.raises(UsageError, match="--ray") as caught:
        parse_ray_address(text)
    assert "local:N" in (caught.value.hint or "")


@given(NODES, st.integers(1, 40))
def test_every_planned_job_finds_its_cores(nodes: list[NodeSize], num_workers: int) -> None:
    cores = sum(int(node.num_cpus) for node in nodes)
    if num_workers > cores:
        with pytest.raises(UsageError, match=f"--workers {num_workers}: the Ray cluster has {cores} CPU cores"):
            plan_slots(nodes, num_workers=num_workers, on_gpu=False)
        return
    plan = plan_slots(nodes, num_workers=num_workers, on_gpu=False)
    capacity = sum(int(node.num_cpus) // plan.cpus_per_job for node in nodes)
    assert plan.num_slots == num_workers <= capacity
    assert (
        sum(int(node.num_cpus) // (plan.cpus_per_job + 1) for node in nodes) < num_workers
    )  # as many cores as there are
    assert plan.slots_on(nodes) == num_workers


@given(NODES)
def test_alike_nodes_have_four_jobs_at_most_and_use_their_cores(nodes: list[NodeSize]) -> None:
    alike = [nodes[0]] * len(nodes)
    plan = plan_slots(alike, num_workers=None, on_gpu=False)
    cores = int(nodes[0].num_cpus)
    assert plan.num_slots == len(alike) * (cores // plan.cpus_per_job)
    assert plan.cpus_per_job == max(1, cores // min(cores, 4))
    assert plan.slots_on(alike[:-1]) == plan.num_slots - cores // plan.cpus_per_job


@given(GPU_NODES, st.none() | st.integers(1, 8))
def test_on_gpus_a_slot_is_a_gpu_unless_more_are_asked_for(nodes: list[NodeSize], num_workers: int | None) -> None:
    if num_workers is not None and num_workers > sum(int(node.num_cpus) for node in nodes):
        return
    plan = plan_slots(nodes, num_workers=num_workers, on_gpu=True)
    gpus = sum(int(min(node.num_gpus, node.num_cpus)) for node in nodes)
    assert plan.num_slots == (num_workers or gpus)
    assert sum(int(node.num_cpus) // plan.cpus_per_job for node in nodes) >= plan.num_slots
    assert plan.slots_on([]) == 0


@pytest.mark.parametrize(("on_gpu", "said"), [(False, "a CPU core"), (True, "a GPU and a CPU core")])
def test_a_cluster_that_has_nothing_to_offer(on_gpu: bool, said: str) -> None:
    with pytest.raises(DeviceError, match=f"No node of the Ray cluster offers {said}: 0.5 CPUs and 0 GPUs"):
        plan_slots([NodeSize(num_cpus=0.5)], num_workers=None, on_gpu=on_gpu)


@given(st.none() | st.integers(1, 2**40), st.none() | st.integers(1, 2**37), st.integers(1, 16), st.integers(1, 8))
def test_a_fraction_of_a_gpu_is_its_jobs_with_a_margin(
    peak: int | None, gpu: int | None, num_slots: int, num_gpus: int
) -> None:
    plan = SlotPlan(num_slots=num_slots, cpus_per_job=1, on_gpu=True)
    fraction = gpu_fraction(peak, gpu_bytes=gpu, plan=plan, num_gpus=num_gpus)
    if peak is None or gpu is None or num_slots <= num_gpus:
        assert fraction == 1.0
        return
    assert 1e-4 <= fraction <= 1
    assert fraction == 1.0 or fraction * gpu >= 1.2 * peak * (1 - 1e-9)
    assert math.isclose(fraction * 1e4, round(fraction * 1e4), abs_tol=1e-6)
