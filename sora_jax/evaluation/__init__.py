"""Evaluation: scores of models, and calibration of the oracles that score them."""
