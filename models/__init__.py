"""crossgeo.models"""
