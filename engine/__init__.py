"""crossgeo.engine"""
