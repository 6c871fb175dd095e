//! Row 3: Power cuts: an ext4 whose unsynced writes are dropped, and every legal state after a recorded history.
