from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from probe.seeds import derive_seed


@given(st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=4), st.integers(0, 9))
def test_seeds_are_63_bits_and_tell_purposes_apart(parts: list[int | str], number: int) -> None:
    seed = derive_seed(*parts)
    assert 0 <= seed < 2**63
    assert seed == derive_seed(*parts)
    assert seed != derive_seed(*parts, number)
    assert derive_seed(*parts, number) != derive_seed(*parts, str(number))


def test_seeds_are_the_same_in_every_process() -> None:
    program = "from probe.seeds import derive_seed; print(derive_seed(0, 7, 'weights'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) == derive_seed(0, 7, "weights")
