"""crossgeo.engine.runtime"""
