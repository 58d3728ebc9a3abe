"""One index served by many processes: its rows lie in areas, each held by some replicas that are asked until a deadline."""
