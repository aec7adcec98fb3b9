"""OpenVINO, kept from reporting to an analytics service.

On import it reports over the network if it finds the package `openvino_telemetry`. Without that it
uses a stub that sends nothing.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino as ov  # noqa: E402
from openvino import opset13 as op  # noqa: E402

__all__ = ["op", "ov"]
