"""Rectified flow of video and audio latents: process, noise levels, conditioning, loss, guidance
and samplers.
"""
