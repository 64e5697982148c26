"""Measurements. Each compares two things in one run: ratios hold on a noisy computer."""
