"""Root may write what is read-only. A child that is to meet read-only files gives that right up."""

from __future__ import annotations

import ctypes
import os
import sys

_VERSION_3 = 0x20080522
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


def respect_file_modes() -> None:
    """Drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of this thread and those that it starts. Only root has them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    capabilities = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the low halves, then the high ones
    if libc.capget(header, capabilities) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for half in (0, 1):
        capabilities[half] &= ~(1 << _DAC_OVERRIDE | 1 << _DAC_READ_SEARCH)
    if libc.capset(header, capabilities) != 0:
        raise OSError(ctypes.get_errno(), "capset")
