"""Campaigns: many seeds, each with a run drawn from it, and their combined result.

``plan`` draws a run from a seed, ``injector`` injects faults and records them, ``player`` runs one
seed, ``runner`` runs many, on the executors of ``workers`` (those of a ``cluster`` get the module
as a ``bundle``), ``record`` keeps and merges the results, ``reduce`` finds the smallest schedule
that still fails, ``investigate`` reports it.
"""
