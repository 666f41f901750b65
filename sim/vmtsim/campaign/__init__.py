"""Campaigns: many seeds, each a run of its own making, and what they all came to.

``plan`` draws a run from a seed, ``injector`` lets faults strike and remembers them, ``play`` runs
one seed, ``runner`` many, on the executors of a ``crew`` (those of a ``cluster`` get a ``parcel``),
``record`` keeps and merges the results, ``reduce`` finds the smallest schedule that still fails,
``postmortem`` and ``story`` tell of it, ``page`` draws it.
"""
