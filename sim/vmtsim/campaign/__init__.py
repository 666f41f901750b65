"""Campaigns: many seeds, each a run of its own making, and what they all came to.

``plan`` draws a run from a seed, ``injector`` lets faults strike and remembers them, ``play`` runs
one seed, ``runner`` many, ``record`` keeps and merges the results, ``reduce`` finds the smallest
schedule that still fails, ``postmortem`` tells the story, ``page`` draws it.
"""
