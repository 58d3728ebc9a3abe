"""What kernels are run in: the interpreter multiplies bfloat16 wrongly, so that it is run on a GPU alone."""

import os

import torch

RUN_TYPES = (torch.float32, torch.float16, *((torch.bfloat16,) if os.environ["TRITON_INTERPRET"] == "0" else ()))
HALVES = RUN_TYPES[1:]
