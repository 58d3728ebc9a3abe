"""crossgeo.indexer"""
