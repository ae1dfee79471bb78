"""The kernel measure of dependence (HSIC) and everything that estimates it, on arrays alone."""

from augury.hsic.estimators import (
    Dependence,
    Ingredient,
    classes,
    conditional_hsic,
    cosine_kernel,
    hsic,
    ingredients,
    noise_relevance,
    paper,
    released,
    robust,
    robust_with_ingredients,
    unbiased_hsic,
)

__all__ = [
    "Dependence",
    "Ingredient",
    "classes",
    "conditional_hsic",
    "cosine_kernel",
    "hsic",
    "ingredients",
    "noise_relevance",
    "paper",
    "released",
    "robust",
    "robust_with_ingredients",
    "unbiased_hsic",
]
