"""How the machine's own modules import each other: facets may know one another, in no circle.

The contracts of import-linter (pyproject.toml) hold the rest of the code. Of these modules they see
nothing: they import each other as `guest.…`, the name on the machine, not as `cloudinit.guest.…`.
"""

from __future__ import annotations

import grimp


def test_no_circle_of_modules() -> None:
    graph = grimp.build_graph("guest", cache_dir=None)
    assert graph.find_modules_directly_imported_by("guest.roster.sync")
    circles = [
        (module, imported)
        for module in sorted(graph.modules)
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.chain_exists(importer=imported, imported=module)
    ]
    assert circles == []
