//! Deletion vectors as the kernel writes them, from rows that are known as a set already.

use std::ops::Range;

use bytes::Bytes;
use delta_kernel::actions::deletion_vector_writer::DeletionVector;
use delta_kernel::{KernelError, KernelResult};
use roaring::{RoaringTreemap, treemap};

/// The deleted rows of one file. The kernel's own kind is filled row by row; of a large file, whose vector every batch
/// makes anew, that was half of what staging a small batch took.
pub struct Deleted<'a>(pub &'a RoaringTreemap);

impl<'a> DeletionVector for Deleted<'a> {
    type IndexIterator = treemap::Iter<'a>;

    fn into_iter(self) -> Self::IndexIterator {
        self.0.iter()
    }

    fn cardinality(&self) -> u64 {
        self.0.len()
    }

    /// What a vector is in a file, by the Delta protocol: the 64-bit Roaring bitmap in its portable form.
    fn serialize(self) -> KernelResult<Bytes> {
        let mut bytes = Vec::with_capacity(self.0.serialized_size());
        self.0.serialize_into(&mut bytes).map_err(KernelError::generic_err)?;
        Ok(Bytes::from(bytes))
    }
}

/// Adds a range of rows; returns how many of them were not there. Row by row: what `insert_range` makes are runs, which for
/// rows that lie scattered take more room than anything else, and stay.
pub fn insert(deleted: &mut RoaringTreemap, rows: Range<u64>) -> u64 {
    rows.map(|row| u64::from(deleted.insert(row))).sum()
}

#[cfg(test)]
mod tests {
    use delta_kernel::actions::deletion_vector_writer::KernelDeletionVector;

    use super::*;

    #[test]
    fn the_bytes_are_the_kernels() {
        let mut ranges = RoaringTreemap::new();
        assert_eq!(insert(&mut ranges, 0..7_000), 7_000);
        assert_eq!(insert(&mut ranges, 65_000..66_000), 1_000);
        assert_eq!(insert(&mut ranges, 65_500..66_001), 1);
        let mut grown: RoaringTreemap = (0..200_000).step_by(3).collect();
        insert(&mut grown, 150_000..160_000);
        let far: RoaringTreemap = [1, 1 << 33, (1 << 33) + 1].into();
        for rows in [RoaringTreemap::new(), [5].into(), ranges, grown, far] {
            let mut kernel = KernelDeletionVector::new();
            kernel.add_deleted_row_indexes(rows.iter());
            let (ours, theirs) = (Deleted(&rows), &kernel);
            assert_eq!(ours.cardinality(), theirs.cardinality());
            let bytes = Deleted(&rows).serialize().unwrap();
            assert_eq!(bytes, kernel.serialize().unwrap());
            assert_eq!(RoaringTreemap::deserialize_from(&*bytes).unwrap(), rows);
            assert!(ours.into_iter().eq(rows.iter()));
        }
    }
}
