"""Two trainings of one bundle: the second is refused, and nothing is left locked."""

import pytest

from auto_config.errors import UserError
from auto_config.training_lock import training_lock


def test_a_second_training_of_a_fold_is_refused_in_one_line(tmp_path):
    with training_lock(tmp_path, [0]):
        expected = r"a training of fold 0 .* is running; wait for its end"
        with pytest.raises(UserError, match=expected) as caught, training_lock(tmp_path, [2, 0]):
            pytest.fail("both trained fold 0")
        assert "\n" not in str(caught.value)
        # Fold 2 was free, and is free again after the refusal.
        with training_lock(tmp_path, [1, 2]):
            pass
    with training_lock(tmp_path, [0]), training_lock(tmp_path, ["none"]):
        pass


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(RuntimeError), training_lock(tmp_path, [0]):
        raise RuntimeError
    with training_lock(tmp_path, [0]):
        pass
