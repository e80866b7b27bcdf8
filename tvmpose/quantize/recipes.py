"""The recipes of `tvmpose quantize`, a sentence each."""

from dataclasses import dataclass
from enum import Enum

from tvmpose.errors import InputError
from tvmpose.quantize.ranges import RangeMethod


@dataclass(frozen=True)
class Steps:
    """ranges: of activations. least_error_weights: cut off outliers among the weights of a channel too."""

    ranges: RangeMethod
    equalize: bool = False
    correct_bias: bool = False
    least_error_weights: bool = False


class Recipe(Enum):
    """How a network is quantized."""

    # As minmax, after channels have been balanced between layers and biases corrected: the default, and for all nets.
    BALANCED = Steps(RangeMethod.MINMAX, equalize=True, correct_bias=True, least_error_weights=True)
    # Ranges reach from the smallest to the largest number seen: the plainest, and the reference for the others.
    MINMAX = Steps(RangeMethod.MINMAX)
    # Balanced, but ranges leave out one number in ten thousand at each end: for pictures with rare outliers.
    PERCENTILE = Steps(RangeMethod.PERCENTILE, equalize=True, correct_bias=True, least_error_weights=True)
    # Balanced, but ranges have the least squared error.
    MSE = Steps(RangeMethod.MSE, equalize=True, correct_bias=True, least_error_weights=True)
    # Balanced, but ranges lose the least information (Kullback-Leibler).
    ENTROPY = Steps(RangeMethod.ENTROPY, equalize=True, correct_bias=True, least_error_weights=True)

    @property
    def option(self) -> str:
        """As it is called on the command line."""
        return self.name.lower()


def recipe_called(name: str) -> Recipe:
    """Raises InputError, which lists them."""
    for recipe in Recipe:
        if recipe.option == name:
            return recipe
    raise InputError(f"--recipe {name}: there are {', '.join(recipe.option for recipe in Recipe)}")
