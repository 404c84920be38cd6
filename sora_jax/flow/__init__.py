"""Rectified flow over a pytree of modalities: process, noise levels, conditioning, loss, guidance,
samplers.
"""
