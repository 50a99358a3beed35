"""Denoiser -> denoiser, while painting."""
