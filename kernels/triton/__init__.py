"""Triton twins of the ops in crossgeo.kernels, under the same names; a twin is imported only when `choose` names it, and never alone."""
