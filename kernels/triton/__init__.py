"""Triton twins of the ops in crossgeo.kernels, under the same names; a twin is imported only when `choose` names it, and never alone.

Triton launches on the current GPU, which need not be the tensors' own: a twin launches within `torch.cuda.device_of(tensor)`, which
does nothing on a CPU.
"""
