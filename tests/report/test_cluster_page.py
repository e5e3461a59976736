from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_records import cluster_use, node, search_result
from written_pages import check_page, written

from probe.report.search.cluster_page import cluster_blocks, slots_line, use_text
from probe.report.search.page import search_page
from probe.report.store import load_result
from probe.search.records.cluster import SlotUse

USE = SlotUse(num_slots=16, num_nodes=3, utilization=0.966, num_retries=0)
SHORT = search_result(num_trials=3)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (USE, "3 nodes, 16 slots, 97 % utilization"),
        (replace(USE, num_nodes=1, utilization=None, num_retries=1), "1 node, 16 slots, 1 retry"),
        (replace(USE, num_nodes=None, num_slots=2, num_retries=2), "2 slots, 97 % utilization, 2 retries"),
        (replace(USE, num_nodes=1, num_slots=1), "1 node, 1 slot, 97 % utilization"),
        (replace(USE, num_nodes=None, num_slots=1, num_retries=1), "1 slot, 97 % utilization, 1 retry"),
        (replace(USE, num_nodes=None, num_slots=1), None),  # nothing that is not known
    ],
)
def test_a_line_says_how_slots_are_used_where_that_tells_something(use: SlotUse, text: str | None) -> None:
    assert use_text(use) == text


def test_an_impossible_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, not 1\.5"):
        replace(USE, utilization=1.5)


def test_a_cluster_search_says_where_it_ran(tmp_path: Path) -> None:
    result = replace(SHORT, cluster=cluster_use(), slots=USE)
    text = written(result, tmp_path)
    check_page(text, tmp_path)
    assert load_result(tmp_path) == result
    section = text.split("## Cluster\n\n")[1].split("\n\n## ")[0]
    assert "`192.0.2.1:6379`" in section
    assert section.splitlines()[2:7] == [
        "| node | CPUs | GPUs | PyTorch | CUDA | driver | Python |",
        "| --- | ---: | --- | --- | --- | --- | --- |",
        "| gpu-01 | 32 | 2 × NVIDIA H200 | 2.15.0 | 12.9 | 575.51 | 3.11.9 |",
        "| gpu-02 | 32 | 2 × NVIDIA H200 | 2.15.0 | 12.9 | 575.51 | 3.11.9 |",
        r"| cpu\_3 | 32 | none | 2.15.0 | not used | not used | 3.11.9 |",
    ]
    facts = ("16 slots", "97 % utilization", "no rung was run again", "4 CPUs", "0.25 of a GPU", "`/mnt/shared/mnist`")
    assert all(fact in section for fact in facts)


def test_a_lost_node_of_two_with_one_name_is_told_by_its_id() -> None:
    twins = (node(1), node(1, node_id="ffee001122334455"))
    use = cluster_use(address="local:2", nodes=twins, lost_nodes=(twins[1].node_id,), storage=None, gpus_per_job=None)
    assert use.num_alive == 1
    text = "\n".join(cluster_blocks(replace(SHORT, cluster=use, slots=replace(USE, num_retries=2), num_resumes=2)))
    assert "The last of 3 sessions" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| gpu-01")]
    assert [(row[0], row[-1]) for row in rows] == [("gpu-01 (9e3779b9)", "all the time"), ("gpu-01 (ffee0011)", "lost")]
    assert "2 rungs were run again because a worker died. Each job had 4 CPUs. Checkpoints" in text


def test_a_node_may_be_called_lost_by_its_name() -> None:
    use = cluster_use(lost_nodes=("gpu-02",))
    assert [use.is_lost(each) for each in use.nodes] == [False, True, False]


@pytest.mark.parametrize(
    ("num_gpus", "names", "cell"),
    [
        (1.0, ("NVIDIA T4",), "1 × NVIDIA T4"),
        (3.0, ("A", "B", "A"), "2 × A, 1 × B"),
        (4.0, ("A",), "4 (A)"),
        (2.0, (), "2"),
    ],
)
def test_gpus_are_counted_by_model(num_gpus: float, names: tuple[str, ...], cell: str) -> None:
    use = cluster_use(nodes=(node(1, num_gpus=num_gpus, gpu_names=names),))
    assert f"| gpu-01 | 32 | {cell} | 2.15.0 |" in "\n".join(cluster_blocks(replace(SHORT, cluster=use)))


def test_whole_gpus_are_no_shares() -> None:
    told = [cluster_blocks(replace(SHORT, cluster=cluster_use(gpus_per_job=share)))[-1] for share in (1.0, 2.0)]
    assert [text.split(". ")[0] for text in told] == [
        "Each job had 4 CPUs and 1 GPU",
        "Each job had 4 CPUs and 2 GPUs",
    ]


def test_workers_of_one_machine_are_told_with_what_it_cost() -> None:
    local = replace(SHORT, slots=replace(USE, num_slots=2, num_nodes=None))
    cost = search_page(local, []).split("## Cost")[1].split("## Reproduce")[0]
    assert "Trials ran on 2 slots with 97 % utilization; no rung was run again" in cost
    assert cluster_blocks(local) == []
    assert slots_line(replace(local, slots=replace(USE, num_slots=1, num_nodes=None))) is None
    assert slots_line(replace(local, slots=None)) is None
