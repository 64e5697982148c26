"""A GPU that no computer here has."""

from __future__ import annotations

APPEAR = """
mkdir -p /run/pci/0000:00:1e.0
echo 0x10de >/run/pci/0000:00:1e.0/vendor
echo 0x030200 >/run/pci/0000:00:1e.0/class
mount --bind /run/pci /sys/bus/pci/devices
"""
"""What the PCI bus of a machine would say of one, as a script; nothing else of ours asks it."""
