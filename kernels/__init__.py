"""crossgeo.kernels"""
