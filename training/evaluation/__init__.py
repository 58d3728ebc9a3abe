"""Judging models by the published protocols and in metres: what was asked, how it was answered, how sure the figures are."""
