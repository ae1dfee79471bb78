"""The Hilbert-Schmidt independence criterion (HSIC) and its estimators, on arrays only."""

from augury.hsic.equations import (
    conditional_hsic,
    cosine_kernel,
    hsic,
    normalised_hsic,
    rbf_kernel,
    unbiased_hsic,
)
from augury.hsic.estimators import CIEstimate, class_rows, paper, released, released_hsic, robust
from augury.hsic.noise import noise_relevance
from augury.hsic.relevance import (
    Association,
    associations,
    robust_with_associations,
)
from augury.hsic.sums import Engine

__all__ = [
    "Association",
    "CIEstimate",
    "Engine",
    "associations",
    "class_rows",
    "conditional_hsic",
    "cosine_kernel",
    "hsic",
    "noise_relevance",
    "normalised_hsic",
    "paper",
    "rbf_kernel",
    "released",
    "released_hsic",
    "robust",
    "robust_with_associations",
    "unbiased_hsic",
]
