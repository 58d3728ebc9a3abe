"""How models are to run, as several commands are told: `--runtime`, `--precision`, `--device`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from crossgeo.commands import console, devices

if TYPE_CHECKING:
    from crossgeo.engine.runtime.choose import RuntimeOptions

RUNNING = "How models run"
RUNTIMES = "auto, torch, torch-compile, openvino, onnxruntime, tensorrt, tensorrt-rtx"


@dataclass(frozen=True)
class Running:
    """What `geo query`, `geo batch`, `geo index build` and `geo engine` ask alike."""

    runtime: Annotated[str, typer.Option(envvar="GEO_RUNTIME", help=f"One of {RUNTIMES}.", rich_help_panel=RUNNING)] = "auto"
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16, fp8 or int8, as the runtime has it.", rich_help_panel=RUNNING)] = (
        "auto"
    )
    device: Annotated[str, typer.Option(help=devices.HELP, rich_help_panel=RUNNING)] = "auto"

    def options(self, build: bool) -> RuntimeOptions:
        """Return it as the engine takes it; with `build`, engines that are not there are built where that is `auto`'s to decide.

        Raises UsageError for a device that is not to be had.
        """
        from crossgeo.engine.runtime.choose import RuntimeOptions

        return RuntimeOptions(self.runtime, self.precision, devices.device_of(self.device), build=build, say=console.say)

    def elsewhere(self) -> RuntimeOptions:
        """Return it for other machines, which may have GPUs where this one has none: only `auto` is looked up here."""
        if self.device == "auto":
            return self.options(build=True)
        from crossgeo.engine.runtime.choose import RuntimeOptions

        return RuntimeOptions(self.runtime, self.precision, self.device, build=True, say=console.say)
