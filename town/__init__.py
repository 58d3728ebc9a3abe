"""crossgeo.town"""
