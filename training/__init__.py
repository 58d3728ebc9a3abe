"""crossgeo.training"""
