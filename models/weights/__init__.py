"""crossgeo.models.weights"""
