//! Row 4: Disks and limits that say no at any step: full, broken, forbidden, read-only, too few file handles.
