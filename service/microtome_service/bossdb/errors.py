"""What can go wrong in the BossDB API alone, beside `microtome_core.errors`.

::

    InputError
    ├── TypeMismatch          voxels of a type that is not the channel's, or that BossDB lacks
    └── ExtentMismatch        voxels that do not fill the region they are for
"""

from microtome_core.errors import InputError


class TypeMismatch(InputError):
    """Voxels of another type than the channel's, or of one that BossDB has no word for."""


class ExtentMismatch(InputError):
    """Voxels of other extents than the region that they are for."""
