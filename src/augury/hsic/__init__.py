"""The kernel measure of dependence (HSIC) and everything that estimates it, on arrays alone."""

from augury.hsic.estimators import (
    Association,
    CIEstimate,
    associations,
    class_rows,
    conditional_hsic,
    cosine_kernel,
    hsic,
    noise_relevance,
    paper,
    released,
    robust,
    robust_with_associations,
    unbiased_hsic,
)

__all__ = [
    "Association",
    "CIEstimate",
    "associations",
    "class_rows",
    "conditional_hsic",
    "cosine_kernel",
    "hsic",
    "noise_relevance",
    "paper",
    "released",
    "robust",
    "robust_with_associations",
    "unbiased_hsic",
]
