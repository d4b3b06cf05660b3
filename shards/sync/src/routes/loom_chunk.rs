//! Memory for records in the proofs. Loom's atomics cannot be made of zeroes.

/// What a chunk can hold.
///
/// # Safety
///
/// None here. See the real one.
pub(super) unsafe trait Record: Default {}

/// Some records that stay where they are.
pub(super) struct Chunk<T: Record> {
    records: Box<[T]>,
}

impl<T: Record> Chunk<T> {
    pub(super) fn new(count: usize, _huge: bool) -> Self {
        let records = std::iter::repeat_with(T::default).take(count);
        Self {
            records: records.collect(),
        }
    }

    pub(super) fn records(&self) -> &[T] {
        &self.records
    }
}
