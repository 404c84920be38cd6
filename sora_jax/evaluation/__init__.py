"""Evaluation: scores of models, and calibration of the oracles (measurements of clips) that score
them.
"""
